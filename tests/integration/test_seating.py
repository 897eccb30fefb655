"""Who takes a slot: single jobs before their turn, a conveyor that came late, and else by turn."""

import pytest
from sqlalchemy import func, select, update

from cleanplate import db, jobs
from cleanplate.models import Account, Job
from cleanplate.states import State
from tests import rows
from tests.threads import at_once
from worker import seating

pytestmark = pytest.mark.usefixtures("database")

CAP = 24


@pytest.fixture(autouse=True)
def batch(database: object) -> str:
    """An account of 24 slots, two of them the reserve, and a batch."""
    assert database
    with db.transaction() as tx:
        rows.account(tx, CAP)
        return rows.batch(tx, 1000)


def put(count: int, state: State, batch_id: str | None = None, **columns: object) -> list[str]:
    with db.transaction() as tx:
        return rows.jobs(tx, count, state, batch_id=batch_id, **columns)


def seat(line: list[str], worker: str = rows.WORKER) -> list[str]:
    with db.transaction() as tx:
        seated, lost = rows.seats(tx, worker, line)
        assert not lost
        return sorted(seated)


def free(slots: int, batch_id: str) -> None:
    put(CAP - slots, State.INFLIGHT, batch_id, owner=rows.WORKER)


@pytest.mark.parametrize(("slots", "size"), [(1, 1), (11, 1), (24, 2), (500, 41), (2000, 166)])
def test_the_reserve_is_a_twelfth_and_at_least_one(slots: int, size: int) -> None:
    assert seating.reserve(slots) == size


def test_single_jobs_go_first_as_far_as_the_reserve_goes_and_then_in_turn(batch: str) -> None:
    free(4, batch)
    many = put(6, State.CLAIMED, batch)
    single = put(4, State.CLAIMED)
    assert seat([*many, *single]) == [*many[:2], *single[:2]]


def test_who_holds_the_reserve_already_counts(batch: str) -> None:
    free(3, batch)
    put(1, State.UNCONFIRMED)
    many = put(6, State.CLAIMED, batch)
    single = put(4, State.CLAIMED)
    put(5, State.READY)
    assert seat([*many, *single]) == sorted([*many[:1], *single[:1]])


def test_single_jobs_whose_turn_it_is_take_any_slot(batch: str) -> None:
    single = put(30, State.CLAIMED)
    many = put(6, State.CLAIMED, batch)
    assert seat([*single, *many]) == single[:CAP]


def test_without_single_jobs_batches_have_every_slot(batch: str) -> None:
    many = put(30, State.CLAIMED, batch)
    assert seat(many) == many[:CAP]


def test_a_single_job_of_another_conveyor_has_the_next_slot_whoever_frees_it(batch: str) -> None:
    free(1, batch)
    mine = put(3, State.CLAIMED, batch)
    (theirs,) = put(1, State.CLAIMED, owner="w2")
    assert seat(mine) == []
    assert seat([theirs], "w2") == [theirs]


def test_a_single_job_that_loads_keeps_no_slot_from_the_line_of_its_own_conveyor(batch: str) -> None:
    free(1, batch)
    mine = put(3, State.CLAIMED, batch)
    put(1, State.CLAIMED)
    assert seat(mine) == mine[:1]


def test_a_probe_of_a_paused_account_is_not_left_to_others(batch: str) -> None:
    with db.transaction() as tx:
        tx.execute(update(Account).values(paused_reason="credits", gate_until=func.now()))
    mine = put(3, State.CLAIMED, batch)
    put(1, State.CLAIMED, owner="w2")
    assert seat(mine) == mine[:1]


def test_conveyors_at_once_give_single_jobs_the_reserve_and_not_more_before_their_turn(batch: str) -> None:
    free(12, batch)
    lines = [
        (name, [*put(10, State.CLAIMED, batch, owner=name), *put(3, State.CLAIMED, owner=name)])
        for name in ("w1", "w2", "w3", "w4")
    ]
    at_once([lambda name=name, line=line: seat(line, name) for name, line in lines])
    for name, line in lines:
        seat(line, name)
    with db.transaction() as tx:
        sending = tx.scalars(select(Job).where(Job.state == State.SENDING)).all()
    assert len(sending) == 12
    assert sum(job.batch_id is None for job in sending) == seating.reserve(CAP)


# -- several conveyors -------------------------------------------------------------------------------------------------


def alive(*names: str) -> None:
    with db.transaction() as tx:
        for name in names:
            rows.worker(tx, name)


def test_a_conveyor_that_waits_with_less_than_half_its_part_is_left_one_slot_at_a_time(batch: str) -> None:
    alive(rows.WORKER, "w2")
    free(3, batch)
    mine = put(5, State.CLAIMED, batch)
    put(5, State.CLAIMED, batch, owner="w2")
    assert seat(mine) == mine[:2]
    assert seat(mine[2:]) == []


def test_of_two_conveyors_that_both_have_few_slots_none_leaves_one_to_the_other(batch: str) -> None:
    alive(rows.WORKER, "w2", "w3")
    put(CAP - 1, State.INFLIGHT, batch, owner="w3")
    put(3, State.CLAIMED, batch, owner="w2")
    mine = put(3, State.CLAIMED, batch)
    assert seat(mine) == mine[:1]


def test_nothing_is_left_to_who_has_its_part_or_nobody_in_line_or_is_dead(batch: str) -> None:
    alive(rows.WORKER, "w2", "w3")
    with db.transaction() as tx:
        rows.worker(tx, "w4", lease_seconds=-1)
    free(12, batch)
    put(4, State.INFLIGHT, batch, owner="w2")
    put(3, State.CLAIMED, batch, owner="w2")
    put(3, State.CLAIMED, batch, owner="w4")
    mine = put(25, State.CLAIMED, batch)
    assert seat(mine) == mine[:8]


def test_a_probe_of_a_paused_account_is_not_left_to_a_conveyor_that_waits(batch: str) -> None:
    alive(rows.WORKER, "w2")
    free(10, batch)
    with db.transaction() as tx:
        tx.execute(update(Account).values(paused_reason="credits", gate_until=func.now()))
    mine = put(3, State.CLAIMED, batch)
    put(3, State.CLAIMED, batch, owner="w2")
    assert seat(mine) == mine[:1]


# -- the claim ---------------------------------------------------------------------------------------------------------


def test_single_jobs_are_claimed_before_their_turn_and_no_more_of_them_than_asked_for(batch: str) -> None:
    many = put(5, State.QUEUED, batch, tag=1)
    single = put(5, State.QUEUED, tag=9)
    with db.transaction() as tx:
        assert [job.id for job in jobs.claim(tx, "w1", 2, singles=2)] == [*many[:2], *single[:2]]
    with db.transaction() as tx:
        assert [job.id for job in jobs.claim(tx, "w1", 0, singles=1)] == single[2:3]
    with db.transaction() as tx:
        assert [job.id for job in jobs.claim(tx, "w1", 9)] == [*many[2:], *single[3:]]


def test_a_single_job_whose_turn_it_is_is_claimed_once(batch: str) -> None:
    single = put(2, State.QUEUED, tag=1)
    put(2, State.QUEUED, batch, tag=2)
    with db.transaction() as tx:
        assert [job.id for job in jobs.claim(tx, "w1", 2, singles=2)] == single
