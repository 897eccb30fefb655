"""What is held: nothing claims it, and it goes when its batch is released, however large, or is cancelled."""

from collections.abc import Callable

import pytest
from sqlalchemy import select

from cleanplate import batches, cancel, db, holding, jobs
from cleanplate.models import Batch, Job, JobEvent
from cleanplate.states import Hold, InFlight, State
from tests import rows
from tests.threads import at_once

pytestmark = pytest.mark.usefixtures("database")


def canary(held: int, queued: int = 1, **columns: object) -> str:
    """Make a batch that is released as far as ``queued`` jobs."""
    with db.transaction() as tx:
        options = {"canary": queued}
        batch_id = rows.batch(tx, held + queued, **{"hold": Hold.CANARY, "options": options, **columns})
        rows.jobs(tx, queued, State.QUEUED, batch_id=batch_id)
        rows.jobs(tx, held, State.HELD, batch_id=batch_id)
        return batch_id


def ask(batch_id: str, budget_credits: float | None = None) -> None:
    with db.transaction() as tx:
        holding.ask(tx, tx.scalars(holding.locked(batch_id)).one(), budget_credits)


def claim(limit: int = 1000) -> list[str]:
    with db.transaction() as tx:
        return [job.id for job in jobs.claim(tx, rows.WORKER, limit)]


def batch(batch_id: str) -> Batch:
    with db.transaction() as tx:
        return tx.get_one(Batch, batch_id)


def states() -> list[State]:
    with db.transaction() as tx:
        return sorted(rows.states(tx).values())


def test_what_is_held_is_not_claimed_and_counts_as_waiting() -> None:
    batch_id = canary(held=3)
    assert len(claim()) == 1
    with db.transaction() as tx:
        told = batches.resource(tx, tx.get_one(Batch, batch_id))
    assert (told.held, told.counts.queued, told.counts.processing) == ("canary", 3, 1)


def test_all_that_is_released_is_claimed_in_the_order_in_which_it_came() -> None:
    batch_id = canary(held=holding.PAGE + 5)
    (first,) = claim()
    ask(batch_id)
    holding.carry_on(batch_id, 60.0)
    assert batch(batch_id).hold is None
    with db.transaction() as tx:
        came = list(tx.scalars(select(Job.id).where(Job.id != first).order_by(Job.id)))
        assert rows.events(tx, came[0]) == [("queued", "released", None)]
    assert claim() == came


def test_a_release_that_is_interrupted_is_found_and_carried_on() -> None:
    batch_id = canary(held=holding.PAGE + 1)
    ask(batch_id)
    holding.carry_on(batch_id, 0.0)
    with db.transaction() as tx:
        assert tx.execute(holding.pending()).all() == [(batch_id, Hold.RELEASE)]
    holding.carry_on(batch_id, 60.0)
    with db.transaction() as tx:
        assert tx.execute(holding.pending()).all() == []
    assert set(states()) == {State.QUEUED}


def test_a_canary_is_not_released_by_the_sweep_and_what_is_not_asked_for_stays() -> None:
    batch_id = canary(held=2)
    with db.transaction() as tx:
        assert tx.execute(holding.pending()).all() == []
    holding.carry_on(batch_id, 60.0)
    assert states() == [State.HELD, State.HELD, State.QUEUED]


def test_a_release_twice_at_once_gives_every_job_one_place() -> None:
    batch_id = canary(held=2 * holding.PAGE)
    ask(batch_id)
    at_once([lambda: holding.carry_on(batch_id, 60.0)] * 4)
    holding.carry_on(batch_id, 60.0)
    with db.transaction() as tx:
        released = select(Job.tag).join(JobEvent, JobEvent.job_id == Job.id).where(JobEvent.reason == "released")
        tags = list(tx.scalars(released))
    assert len(set(tags)) == len(tags) == 2 * holding.PAGE
    assert len(claim()) == 2 * holding.PAGE + 1


@pytest.mark.parametrize("released", [False, True])
def test_what_is_held_is_cancelled_with_its_batch(*, released: bool) -> None:
    batch_id = canary(held=holding.PAGE + 1)
    if released:
        ask(batch_id)
    with db.transaction() as tx:
        assert cancel.ask(tx, tx.scalars(holding.locked(batch_id)).one(), InFlight.FINISH)
    cancel.carry_on(batch_id, 60.0)
    holding.carry_on(batch_id, 60.0)
    assert set(states()) == {State.CANCELLED}
    assert batch(batch_id).finished_at is not None


def test_a_cancellation_and_a_release_at_once_end_with_every_job_cancelled() -> None:
    batch_id = canary(held=3 * holding.PAGE)
    ask(batch_id)

    def stop() -> None:
        with db.transaction() as tx:
            cancel.ask(tx, tx.scalars(holding.locked(batch_id)).one(), InFlight.FINISH)
        cancel.carry_on(batch_id, 60.0)

    calls: list[Callable[[], None]] = [lambda: holding.carry_on(batch_id, 60.0), stop]
    at_once(calls)
    cancel.carry_on(batch_id, 60.0)
    assert set(states()) == {State.CANCELLED}


@pytest.mark.parametrize(("failed", "succeeded", "told"), [(2, 0, "canary_failed"), (1, 1, "canary"), (1, 0, "canary")])
def test_a_canary_all_of_which_failed_is_told(failed: int, succeeded: int, told: str) -> None:
    batch_id = canary(held=3, queued=2, failed=failed, succeeded=succeeded)
    with db.transaction() as tx:
        assert batches.held(tx.get_one(Batch, batch_id)) == told


def test_of_a_canary_only_what_is_beyond_it_is_held_whenever_it_comes() -> None:
    row = Batch(options={"canary": 3}, hold=Hold.CANARY, total=2)
    assert [holding.going(row, count) for count in (0, 1, 2, 9)] == [0, 1, 1, 1]
    row.total = 5
    assert holding.going(row, 4) == 0
    row.hold = Hold.RELEASE
    assert holding.going(row, 4) == 0
    row.hold = None
    assert holding.going(row, 4) == 4
    assert holding.going(None, 1) == 1
