"""Every slot is done at once, and finalizers die over it, or one picture kills whoever touches it."""

from pathlib import Path

import pytest

from tests.journeys.oracle import Begin

SLOTS = 24


@pytest.mark.chaos(14)
def test_all_are_stored_within_a_minute(begin: Begin, photos: list[Path]) -> None:
    story = begin("24 results at once, finalizers die", latency=2.0, spread=0.0)
    with story.deaths_in("downloaded", "put", "before-succeeded"):
        story.upload(photos[:SLOTS])
    story.kill("finalizer")
    figures = story.end(60)
    assert figures.succeeded == figures.paid == SLOTS


@pytest.mark.chaos(4)
@pytest.mark.long
def test_a_picture_that_kills_its_worker_fails_alone(begin: Begin, photos: list[Path]) -> None:
    story = begin("a picture that kills its worker")
    poisoned = photos[5].stem
    (story.stack.traps / f"poison-{poisoned}").touch()
    story.upload(photos[:SLOTS])
    figures = story.end(60)
    (failed,) = (job for job in story.jobs() if job.status == "failed")
    assert failed.error
    assert (failed.custom_id, failed.error.code) == (poisoned, "worker_crashed")
    assert figures.succeeded == SLOTS - 1
    assert figures.paid == SLOTS
