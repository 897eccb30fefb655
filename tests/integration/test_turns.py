"""Whose turn it is, who may hold on to what, and who lets go."""

from datetime import timedelta

import pytest
from sqlalchemy import select, text

from cleanplate import db, jobs, leases
from cleanplate.jobs import Change
from cleanplate.models import Worker
from cleanplate.states import HOLDS_SLOT, LEASED, State
from tests import rows
from tests.seen import passing, row
from tests.threads import at_once

pytestmark = pytest.mark.usefixtures("database")

QUEUED = frozenset({State.QUEUED})


# -- whose turn it is --------------------------------------------------------------------------------------------------


def test_the_turn_is_by_tag_and_then_by_age() -> None:
    with db.transaction() as tx:
        last, late = rows.job(tx, tag=3), rows.job(tx, tag=2)
        early, first = rows.job(tx, tag=1), rows.job(tx, tag=1)
        rows.job(tx, State.READY, tag=0)
        claimed = jobs.claim(tx, "w1", 3)
    assert [job.id for job in claimed] == [early, first, late]
    assert {(row(job.id).state, row(job.id).owner) for job in claimed} == {("claimed", "w1")}
    assert row(last).state == State.QUEUED


def test_a_claim_passes_what_others_are_claiming_instead_of_waiting() -> None:
    with db.transaction() as tx:
        ids = rows.jobs(tx, 5)
    with db.transaction() as tx:
        mine = jobs.claim(tx, "w1", 3)
        with db.transaction() as other:
            other.execute(text("SET LOCAL lock_timeout = '100ms'"))
            theirs = jobs.claim(other, "w2", 3)
    assert [job.id for job in mine] == ids[:3]
    assert [job.id for job in theirs] == ids[3:]


def test_eight_claimers_at_once_share_the_queue_without_a_job_twice_or_left() -> None:
    with db.transaction() as tx:
        ids = rows.jobs(tx, 100)

    def claim(worker: str) -> list[str]:
        found: list[str] = []
        while len(found) < 100:
            with db.transaction() as tx:
                some = jobs.claim(tx, worker, 7)
            if not some:
                break
            found += [job.id for job in some]
        return found

    shares = at_once([lambda name=f"w{number}": claim(name) for number in range(8)])
    assert sorted(id_ for share in shares for id_ in share) == ids


def test_of_a_claim_and_a_cancellation_at_once_one_wins_and_the_other_hears_of_it() -> None:
    def cancel() -> set[str]:
        with db.transaction() as tx:
            return jobs.apply(tx, [Change(id_, QUEUED, State.CANCELLED, "asked for") for id_ in ids])

    def claim() -> set[str]:
        with db.transaction() as tx:
            return {job.id for job in jobs.claim(tx, "w1", 20)}

    for _ in range(5):
        with db.transaction() as tx:
            ids = rows.jobs(tx, 20)
        claimed, cancelled = at_once([claim, cancel])
        assert not claimed & cancelled
        assert claimed | cancelled == set(ids)
        with db.transaction() as tx:
            now = rows.states(tx, ids)
        assert {id_ for id_, state in now.items() if state is State.CANCELLED} == cancelled


def test_a_job_that_is_cancelled_while_it_loads_is_no_longer_its_conveyors() -> None:
    claimed = frozenset({State.CLAIMED})
    with db.transaction() as tx:
        job_id = rows.job(tx, State.CLAIMED)
        assert jobs.apply(tx, [Change(job_id, claimed, State.CANCELLED, "asked for")]) == {job_id}
        assert jobs.apply(tx, [Change(job_id, claimed, State.SENDING, "sending", rows.WORKER)]) == set()


# -- leases ------------------------------------------------------------------------------------------------------------


def test_a_heartbeat_makes_and_renews_the_lease() -> None:
    for ttl in (1.0, 60.0):
        with passing() as span, db.transaction() as tx:
            leases.heartbeat(tx, "w1", ttl)
        with db.transaction() as tx:
            assert tx.get_one(Worker, "w1").expires_at - timedelta(seconds=ttl) in span


def test_a_worker_that_stops_lets_go_of_all_that_others_can_go_on_with() -> None:
    with db.transaction() as tx:
        rows.worker(tx)
        mine = {state: rows.job(tx, state) for state in State}
        others = {state: rows.job(tx, state, owner="w2") for state in LEASED}
        leases.hand_over(tx, rows.WORKER)
    expected = {state: state for state in State} | {State.CLAIMED: State.QUEUED}
    assert {state: State(row(id_).state) for state, id_ in mine.items()} == expected
    assert row(mine[State.INFLIGHT]).owner is None
    assert row(mine[State.SENDING]).owner == rows.WORKER
    assert {state: (row(id_).state, row(id_).owner) for state, id_ in others.items()} == {
        state: (state, "w2") for state in LEASED
    }
    with db.transaction() as tx:
        assert tx.scalars(select(Worker.id)).all() == []
        assert rows.events(tx, mine[State.CLAIMED]) == [("queued", "worker stopped", rows.WORKER)]


def test_the_slots_in_use_are_those_of_the_account() -> None:
    with db.transaction() as tx:
        for state in State:
            rows.job(tx, state)
        rows.job(tx, State.INFLIGHT, account="other")
        assert tx.scalar(jobs.slots_held(rows.ACCOUNT)) == len(HOLDS_SLOT)
