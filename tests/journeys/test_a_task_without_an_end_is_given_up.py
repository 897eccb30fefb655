"""One task is pending for ever and one is not known any more: both jobs fail in time, and the others go on."""

from pathlib import Path

import pytest

from tests.journeys.harness import stack
from tests.journeys.oracle import Story, eventually

SLOTS = 4
PHOTOS = 12
TIMEOUT_SECONDS = 40.0
GRACE_SECONDS = 30.0

TOOK = """
    SELECT j.error_code, extract(epoch FROM j.finished_at - a.answered_at)::float
    FROM jobs j JOIN attempts a ON a.job_id = j.id WHERE j.state = 'failed'
"""


@pytest.mark.chaos(19)
@pytest.mark.long
def test_it_fails_with_its_reason_and_its_slot_is_free(tmp_path: Path, photos: list[Path]) -> None:
    limits = {"CLEANPLATE_UPSTREAM_TIMEOUT_SECONDS": TIMEOUT_SECONDS}
    with stack(tmp_path / "data", slots=SLOTS, fast=True, **limits) as running:
        story = Story(running, "19: one task without an end, one not found")
        running.faults({"where": "submit", "what": "never_ready", "nth": [1]})
        story.upload(photos[:PHOTOS])
        eventually(lambda: running.paid() > SLOTS)
        gone = running.simulator("GET", "ledger")["data"][-1]["id"]
        running.simulator("POST", "faults", [{"where": "poll", "what": "not_found", "task": gone}])
        figures = story.end(TIMEOUT_SECONDS + 60)
        took = dict(running.rows(TOOK))

    assert figures.succeeded == PHOTOS - 2
    assert figures.paid == PHOTOS
    assert took.keys() == {"upstream_timeout", "task_not_found"}
    assert took["upstream_timeout"] >= TIMEOUT_SECONDS
    assert took["task_not_found"] >= GRACE_SECONDS
