"""A batch with a canary and a budget: each holds what it is to hold, and the upstream's ledger says what was paid."""

from pathlib import Path

from cleanplate.client import Client
from cleanplate.resources import BatchOptions
from tests.journeys.harness import chunks, stack
from tests.journeys.oracle import eventually

PRICE = 5.0
CANARY, AFFORDED = 2, 6


def test_a_canary_then_a_budget_then_all_of_it(tmp_path: Path, photos: list[Path]) -> None:
    with stack(tmp_path / "data", slots=4, latency=0.3, fast=True) as running, running.client() as client:
        given = photos[:12]
        options = BatchOptions(seal=False, canary=CANARY, budget_credits=AFFORDED * PRICE + 1)
        batch_id = client.create_batch(options).id
        for some in chunks(given):
            client.add_items(batch_id, some)
        client.seal(batch_id)
        eventually(lambda: succeeded(client, batch_id) == CANARY)
        assert client.batch(batch_id).held == "canary"
        assert running.paid() == CANARY

        client.release(batch_id)
        eventually(lambda: client.batch(batch_id).held == "budget" and succeeded(client, batch_id) == AFFORDED)
        assert running.paid() == AFFORDED
        assert client.batch(batch_id).finished_at is None

        client.release(batch_id, len(given) * PRICE)
        eventually(lambda: client.batch(batch_id).finished_at)
        batch = client.batch(batch_id)
        assert running.paid() == batch.counts.succeeded == len(given)
        assert (batch.held, batch.cost_credits) == (None, len(given) * PRICE)


def succeeded(client: Client, batch_id: str) -> int:
    return client.batch(batch_id).counts.succeeded
