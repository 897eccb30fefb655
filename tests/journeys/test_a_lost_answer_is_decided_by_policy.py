"""kill -9 while the upstream has a submit and we have no answer: by the policy `fail`, nothing is ever paid twice."""

from pathlib import Path

import pytest

from tests.journeys.harness import stack
from tests.journeys.oracle import Story, eventually

PHOTOS = 12
SLOTS = 4
HANGS = {"where": "submit", "what": "hang", "after": True, "times": 1}


@pytest.mark.chaos(2)
@pytest.mark.long
def test_what_was_on_the_wire_fails_and_the_rest_is_paid_once(tmp_path: Path, photos: list[Path]) -> None:
    with stack(tmp_path / "data", slots=SLOTS, fast=True, trapped=True, CLEANPLATE_UNCONFIRMED="fail") as running:
        story = Story(running, "2: killed on the wire, policy `fail`")
        with story.deaths_in("before-inflight"):  # the answer is there, our commit is not
            story.upload(photos[:PHOTOS])
        running.simulator("POST", "faults", [HANGS])
        eventually(lambda: running.simulator("GET", "faults")["data"][0]["struck"])
        story.kill("conveyor")  # the upstream has charged, the answer is not there
        figures = story.end()
        errors = story.errors()

    assert errors.keys() == {"submit_unconfirmed"}
    assert 2 <= errors.total() <= 2 * SLOTS
    assert figures.succeeded == PHOTOS - errors.total()
    assert figures.paid <= PHOTOS
