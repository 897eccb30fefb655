"""Slots and the account's row, which every conveyor shares."""

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from cleanplate import db, jobs
from cleanplate.models import Account, Attempt, Job
from cleanplate.outcomes import ErrorCode, Rejected
from cleanplate.states import HOLDS_SLOT, State
from tests import rows
from tests.slots import account, claimed, named, take, with_account
from tests.threads import at_once
from worker import capacity, meaning
from worker.latencies import Learned

pytestmark = pytest.mark.usefixtures("database")


def used(tx: Session) -> int:
    return tx.scalar(jobs.slots_held(rows.ACCOUNT)) or 0


def test_the_account_is_made_once_and_follows_the_setting() -> None:
    for cap, allowed in ((24, 24), (24, 7), (48, 48), (12, 12)):
        with db.transaction() as tx:
            capacity.ensure(tx, named(default=cap))
        if allowed == 7:
            with db.transaction() as tx:
                tx.execute(update(Account).values(allowed=7))
                capacity.ensure(tx, named(default=cap))
        assert (account().cap, account().allowed) == (cap, allowed)


def test_the_latency_is_learned_for_the_next_start() -> None:
    with_account()
    with db.transaction() as tx:
        assert capacity.learned(tx) == {}
        capacity.keep_up(tx, {rows.ACCOUNT: Learned(4.25, {"20": 4.0})})
    with db.transaction() as tx:
        capacity.keep_up(tx, {rows.ACCOUNT: Learned(4.5, {"22": 9.0})})
    with db.transaction() as tx:
        assert capacity.learned(tx) == {rows.ACCOUNT: Learned(4.5, {"20": 4.0, "22": 9.0})}


def test_slots_go_to_the_first_in_line_and_each_has_its_row_in_the_ledger_before_anything_is_sent() -> None:
    with_account(cap=3)
    ids = claimed(5)
    order = [ids[4], ids[0], ids[3], ids[1]]
    assert take(order) == ({ids[4], ids[0], ids[3]}, set())
    with db.transaction() as tx:
        for id_ in order[:3]:
            (attempt,) = rows.attempts(tx, id_)
            assert (attempt.number, attempt.outcome, attempt.account) == (1, "sending", rows.ACCOUNT)
            assert (attempt.worker, attempt.answered_at) == (rows.WORKER, None)
            job = tx.get_one(Job, id_)
            assert (job.state, job.attempts, job.account) == ("sending", 1, rows.ACCOUNT)
            assert job.started_at is not None
        assert rows.attempts(tx, ids[1]) == []
    assert take([ids[1]]) == (set(), set())


def test_every_state_that_holds_a_slot_counts_and_no_other() -> None:
    with_account(cap=20)
    with db.transaction() as tx:
        for state in State:
            rows.job(tx, state)
    granted, _ = take(claimed(25))
    assert len(granted) == 20 - len(HOLDS_SLOT)


def test_what_is_no_longer_the_workers_is_told_to_be_lost_and_pays_nothing() -> None:
    with_account()
    mine, (others,) = claimed(1), claimed(1, "w2")
    with db.transaction() as tx:
        gone = rows.job(tx, State.CANCELLED)
    assert take([others, gone, *mine]) == (set(mine), {others, gone})
    with db.transaction() as tx:
        assert tx.scalar(select(func.count()).select_from(Attempt)) == 1


def test_a_second_submit_is_a_second_row_and_the_start_stays_the_first() -> None:
    with_account()
    (id_,) = claimed(1)
    take([id_])
    with db.transaction() as tx:
        first = tx.get_one(Job, id_).started_at
        back = jobs.Change(id_, frozenset({State.SENDING}), State.CLAIMED, "429", values={"owner": rows.WORKER})
        jobs.apply(tx, [back])
    take([id_])
    with db.transaction() as tx:
        assert [attempt.number for attempt in rows.attempts(tx, id_)] == [1, 2]
        assert tx.get_one(Job, id_).started_at == first


def test_eight_conveyors_at_once_fill_the_slots_to_the_last_and_never_one_more() -> None:
    with_account(cap=10)
    shares = [claimed(20, f"w{number}") for number in range(8)]
    seen: list[int] = []

    def work(worker: str, ids: list[str]) -> None:
        for _ in range(6):
            with db.transaction() as tx:
                moved, _ = rows.seats(tx, worker, ids)
                seen.append(used(tx))
            over = [
                jobs.Change(id_, frozenset({State.SENDING}), State.FAILED, "x", values={"error_code": "upstream_error"})
                for id_ in sorted(moved)[:2]
            ]
            with db.transaction() as tx:
                jobs.apply(tx, over)
            ids = [id_ for id_ in ids if id_ not in moved]
        with db.transaction() as tx:
            rows.seats(tx, worker, ids)

    at_once([lambda name=f"w{number}", ids=share: work(name, ids) for number, share in enumerate(shares)])
    assert max(seen) <= 10
    with db.transaction() as tx:
        assert used(tx) == 10
    with db.transaction() as tx:
        assert tx.scalar(select(func.count()).select_from(Attempt)) == tx.scalar(select(func.sum(Job.attempts)))


def test_a_slot_that_becomes_free_is_given_on_in_the_same_transaction() -> None:
    with_account(cap=1)
    first, second = claimed(2)
    take([first])
    refused = meaning.of_submit(first, 1, Rejected(ErrorCode.UPSTREAM_REJECTED, "422"), rows.WORKER, 30.0)
    with db.transaction() as tx:
        assert capacity.turn(tx, rows.WORKER, {rows.ACCOUNT}, [refused], [], {second: None}) == capacity.Turn(
            {first}, {second: capacity.Seat(rows.ACCOUNT, 1)}, set()
        )
        assert used(tx) == 1
