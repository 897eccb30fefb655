"""kill -9 of any worker at any moment: its jobs move on, and only what was on the wire may be paid twice."""

import random
import time
from pathlib import Path

import pytest

from tests.journeys.oracle import WORKERS, Begin

SEED = 20
MOVING_AGAIN_SECONDS = 5.0


@pytest.mark.chaos(1)
def test_all_is_stored_and_only_a_submit_on_the_wire_is_paid_twice(
    begin: Begin, photos: list[Path], long: bool
) -> None:
    draw = random.Random(SEED)
    story = begin(f"killed at random moments (seed {SEED})", latency=4.0)
    story.upload(photos)
    left = 20 if long else 4
    while left:
        time.sleep(draw.uniform(0.2, 3.0 if long else 1.0))  # the moment is to be any, so nothing is waited for
        left -= story.kill(draw.choice(WORKERS))
    figures = story.end()
    assert figures.succeeded == len(photos)
    assert figures.paid <= len(photos) + story.reasons()["the worker died while the submit was on the wire"]
    assert figures.refused == 0
    if long:  # the short form is told on machines that have other tests to run meanwhile
        assert figures.moving_again_seconds <= MOVING_AGAIN_SECONDS
