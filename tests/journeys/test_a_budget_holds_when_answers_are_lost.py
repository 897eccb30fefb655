"""Submits that are paid and never answered count against the budget: the upstream's ledger never passes it."""

from pathlib import Path

from cleanplate.resources import BatchOptions
from tests.journeys.harness import chunks, stack
from tests.journeys.oracle import eventually

PRICE = 5.0
AFFORDED = 6
LOST = [2, 4]


def test_what_was_paid_for_nothing_is_part_of_the_budget(tmp_path: Path, photos: list[Path]) -> None:
    with stack(tmp_path / "data", slots=2, latency=0.3, fast=True) as running, running.client() as client:
        running.faults({"where": "submit", "what": "drop_after", "nth": LOST})
        batch_id = client.create_batch(BatchOptions(seal=False, budget_credits=AFFORDED * PRICE)).id
        for some in chunks(photos[:12]):
            client.add_items(batch_id, some)
        client.seal(batch_id)
        eventually(lambda: client.batch(batch_id).counts.succeeded == AFFORDED - len(LOST))
        eventually(lambda: client.batch(batch_id).held == "budget" and running.in_flight() == 0)
        under_way = "SELECT count(*) FROM jobs WHERE state IN ('sending', 'unconfirmed', 'inflight')"
        eventually(lambda: running.rows(under_way) == [(0,)])
        assert running.paid() == AFFORDED
