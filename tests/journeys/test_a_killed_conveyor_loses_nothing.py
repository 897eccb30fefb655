"""kill -9 of the conveyor in mid-batch: its jobs move on, and only a submit on the wire may be paid twice."""

import os
import signal
from pathlib import Path

import psycopg
import pytest

from tests.journeys.harness import finish, pairs, stack, stored, wait_until

PHOTOS = 40
SLOTS = 8


@pytest.mark.chaos
def test_all_is_stored_and_what_was_in_flight_is_adopted_not_paid_again(tmp_path: Path) -> None:
    photos, out = pairs(tmp_path / "photos", PHOTOS), tmp_path / "out"
    with stack(tmp_path / "data", slots=SLOTS) as running:
        erase = running.erase(photos, out)
        for paid in (SLOTS, 3 * SLOTS):
            wait_until(lambda paid=paid: running.paid() >= paid and running.in_flight() >= SLOTS // 2, 60)
            os.kill(running.pid("conveyor"), signal.SIGKILL)
        finish(erase)
        stats = running.stats()
        events = _reasons(running.running.environment["DATABASE_URL"])

    assert len(stored(out)) == PHOTOS
    on_the_wire = events.get("the worker died while the submit was on the wire", 0)
    assert PHOTOS <= stats["paid"] <= PHOTOS + on_the_wire
    assert stats["submits"].get("429", 0) == 0, "slots are counted where a dead worker cannot forget them"


def _reasons(url: str) -> dict[str, int]:
    with psycopg.connect(url) as connection:
        return dict(connection.execute("SELECT reason, count(*) FROM job_events GROUP BY reason").fetchall())
