"""kill -9 between the upstream's 200 and our commit: callbacks tell which tasks there are, and those are adopted."""

import os
import signal
from pathlib import Path

import pytest

from tests.journeys.harness import finish, pairs, stack, stored, wait_until

PHOTOS = 24
SLOTS = 8
UNANSWERED = 4
REASONS = "SELECT reason, count(*) FROM job_events GROUP BY reason"


@pytest.mark.chaos(2)
def test_what_was_on_the_wire_is_adopted_by_its_callback(tmp_path: Path) -> None:
    photos, out = pairs(tmp_path / "photos", PHOTOS), tmp_path / "out"
    hold = {"CLEANPLATE_UNCONFIRMED_HOLD_SECONDS": 60}
    with stack(tmp_path / "data", slots=SLOTS, latency=8.0, fast=True, called_back=True, **hold) as running:
        running.faults({"where": "submit", "what": "hang", "after": True, "times": UNANSWERED})
        erase = running.erase(photos, out)
        wait_until(lambda: running.paid() >= SLOTS)
        os.kill(running.pid("conveyor"), signal.SIGKILL)
        finish(erase)
        paid, reasons = running.paid(), dict(running.rows(REASONS))

    assert len(stored(out)) == PHOTOS
    assert reasons["the worker died while the submit was on the wire"] >= UNANSWERED
    assert reasons["the upstream called back: adopted"] >= UNANSWERED
    assert paid == PHOTOS
