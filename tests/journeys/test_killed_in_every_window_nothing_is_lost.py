"""kill -9 in every window of a job's journey: before and after each commit, after a download, after a put."""

from pathlib import Path

import pytest

from tests.journeys.oracle import Begin
from tests.journeys.sabotage import CONVEYOR, STORING


@pytest.mark.chaos(2, 3)
def test_each_window_kills_a_worker_and_all_is_stored(begin: Begin, photos: list[Path], long: bool) -> None:
    story = begin("killed in every window")
    rounds = 4 if long else 1
    for number in range(rounds):
        some = photos[number::rounds]
        with story.deaths_in(*STORING):
            story.upload(some[::2])
        with story.deaths_in(*CONVEYOR):
            story.upload(some[1::2])
    figures = story.end()
    assert figures.succeeded == len(photos), story.errors()
    assert figures.refused == 0, "slots are counted where a dead worker cannot forget them"
