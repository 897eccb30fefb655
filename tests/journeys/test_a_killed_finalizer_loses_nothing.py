"""kill -9 of the finalizer and all its processes in mid-batch: every paid result is stored, none is paid again."""

import os
import signal
from pathlib import Path

import pytest

from tests.journeys.harness import finish, pairs, stack, stored, wait_until

PHOTOS = 30


@pytest.mark.chaos
def test_results_that_were_being_stored_are_stored_by_the_next(tmp_path: Path) -> None:
    photos, out = pairs(tmp_path / "photos", PHOTOS), tmp_path / "out"
    with stack(tmp_path / "data") as running:
        erase = running.erase(photos, out)
        for downloads in (2, 12):
            wait_until(lambda count=downloads: running.stats()["downloads"] >= count, 60)
            os.killpg(running.pid("finalizer"), signal.SIGKILL)
        finish(erase)
        assert running.paid() == PHOTOS

    assert len(stored(out)) == PHOTOS
