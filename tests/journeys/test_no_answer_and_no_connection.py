"""The upstream takes a submit and never answers, or is not there: only the first may be paid twice, by policy."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.journeys.harness import stack
from tests.journeys.oracle import Story, eventually

SLOTS = 4
PHOTOS = 12
HANGS = {"where": "submit", "what": "hang", "after": True, "nth": [3]}


@pytest.mark.chaos(18)
@pytest.mark.long
def test_a_submit_without_an_answer_is_sent_again_once(tmp_path: Path, photos: list[Path]) -> None:
    with stack(tmp_path / "data", slots=SLOTS, fast=True) as running:
        story = Story(running, "18: a read timeout after the body was sent")
        running.faults(HANGS)
        story.upload(photos[:PHOTOS])
        figures = story.end()

    assert figures.succeeded == PHOTOS
    assert figures.paid == PHOTOS + 1


@pytest.mark.chaos(18)
@pytest.mark.long
def test_a_connection_that_was_refused_is_tried_again_and_paid_once(tmp_path: Path, photos: list[Path]) -> None:
    with stack(tmp_path / "data", slots=SLOTS, fast=True) as running:
        story = Story(running, "18: connections refused")
        with _away(story):
            story.upload(photos[:PHOTOS])
            eventually(lambda: "no connection" in " ".join(story.reasons()))
        figures = story.end()

    assert figures.succeeded == figures.paid == PHOTOS


@contextmanager
def _away(story: Story) -> Iterator[None]:
    """Kill the simulator and keep it from starting again; what it was paid for it remembers."""
    state = story.stack.running.data_dir / "simulator"
    away = state.rename(state.with_name("simulator.away"))
    state.touch()
    assert story.kill("simulator")
    try:
        yield
    finally:
        state.unlink()
        away.rename(state)
        story.disturb()
