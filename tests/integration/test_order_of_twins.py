"""Whoever follows a twin does not come later for it, and nobody else does either."""

from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as often
from hypothesis import strategies as st
from sqlalchemy import delete, select

from cleanplate import db, ids, jobs, order, reuse
from cleanplate.jobs import Change
from cleanplate.models import Base, Batch, Job
from cleanplate.reuse import Newcomer
from cleanplate.states import State
from tests import rows
from worker import twins

pytestmark = pytest.mark.usefixtures("database")

PAGE = 50


def come(prints: Sequence[str], batch_id: str | None = None) -> list[str]:
    """Bring jobs to the queue as the intake does, page by page; return their ids."""
    made = [ids.new(ids.Kind.JOB) for _ in prints]
    for start in range(0, len(prints), PAGE):
        page = [Newcomer(*one, reuse=True) for one in zip(made, prints, strict=True)][start : start + PAGE]
        with db.transaction() as tx:
            rows.tenant(tx)
            batch = tx.get_one(Batch, batch_id, with_for_update={"key_share": True}) if batch_id else None
            for one, place in zip(page, reuse.places(tx, rows.TENANT, batch, page), strict=True):
                stands = {"tag": place.tag, "due_at": place.due_at, "fingerprint": one.fingerprint}
                rows.job(tx, place.state, id=one.id, batch_id=batch_id, **stands)
    return made


def come_in_batch(prints: Sequence[str], priority: int = 5) -> list[str]:
    with db.transaction() as tx:
        batch_id = rows.batch(tx, len(prints), priority=priority)
    return come(prints, batch_id)


def named(first: int, last: int) -> list[str]:
    return [f"print-{number}" for number in range(first, last)]


def line() -> list[str]:
    with db.transaction() as tx:
        return list(tx.scalars(select(Job.id).where(Job.state == State.QUEUED).order_by(Job.tag, Job.id)))


def tags() -> list[int]:
    with db.transaction() as tx:
        return list(tx.scalars(select(Job.tag).where(Job.state == State.QUEUED).order_by(Job.tag, Job.id)))


def place(job_id: str) -> int:
    return line().index(job_id)


def test_a_single_job_whose_twin_stands_at_the_end_of_a_batch_is_next() -> None:
    leaders = come_in_batch(named(0, 300))
    assert place(leaders[290]) == 290
    come(named(290, 291))
    assert place(leaders[290]) <= 1


def test_followers_of_a_batch_of_more_urgency_bring_their_twins_forward_by_its_share() -> None:
    leaders = come_in_batch(named(0, 300), priority=0)
    come_in_batch(named(290, 300), priority=9)
    assert sorted(map(place, leaders[290:])) == list(range(10))
    assert [place(one) for one in leaders[:3]] != [0, 1, 2]


def test_twins_that_come_sooner_anyway_stay_where_they_are() -> None:
    come_in_batch(named(0, 200))
    before = line()
    come_in_batch(named(0, 200))
    assert line() == before


def test_what_twins_gain_is_of_the_share_of_those_who_follow() -> None:
    leaders = come_in_batch(named(0, 300))
    come_in_batch(named(200, 300))
    gained = [place(one) for one in leaders[200:]]
    assert all(where <= 2 * number + 2 for number, where in enumerate(gained))
    assert sum(where < 100 for where in gained) == pytest.approx(50, abs=2)


def test_new_jobs_stand_after_the_twins_that_their_batch_has_brought_forward() -> None:
    come_in_batch(named(0, 300))
    new = come_in_batch([*named(250, 300), *named(300, 310)])[-10:]
    assert min(map(place, new)) >= 50


def test_twins_that_were_brought_forward_are_not_put_back_by_the_next_that_are() -> None:
    leaders = come_in_batch(named(0, 300))
    come_in_batch(list(reversed(named(0, 300))))
    assert all(place(leaders[-1 - number]) <= 2 * number + 2 for number in range(100))


def test_whoever_has_a_twin_locked_is_not_waited_for_and_it_stays_where_it_is() -> None:
    leaders = come_in_batch(named(0, 100))
    with db.transaction() as claiming:
        claiming.scalars(select(Job.id).where(Job.id == leaders[90]).with_for_update()).one()
        come(named(90, 91))
    assert line() == leaders


@pytest.mark.parametrize("state", [State.CLAIMED, State.INFLIGHT])
def test_a_twin_that_is_not_in_line_any_more_changes_nothing(state: State) -> None:
    leaders = come_in_batch(named(0, 10))
    with db.transaction() as tx:
        for step in (State.CLAIMED, State.SENDING, State.INFLIGHT)[: 1 if state is State.CLAIMED else 3]:
            before = frozenset({State(tx.get_one(Job, leaders[9], populate_existing=True).state)})
            assert jobs.apply(tx, [Change(leaders[9], before, step, "test", values={"owner": rows.WORKER})])
    come(named(9, 10))
    assert line() == leaders[:9]


def test_when_a_twin_has_no_result_that_of_its_followers_goes_that_comes_soonest() -> None:
    first = come(named(0, 1))[0]
    late = come_in_batch(named(0, 200))[0]
    soon = come_in_batch(named(0, 1))[0]
    with db.transaction() as tx:
        rows.carry(tx, first, State.FAILED)
        rows.due_now(tx)
    twins._promote(named(0, 1)[0], missing=())
    with db.transaction() as tx:
        assert rows.states(tx, [late, soon]) == {late: State.FOLLOWING, soon: State.QUEUED}
    assert place(soon) <= 4


counts = st.integers(1, 40)
priorities = st.integers(0, 9)


@given(st.lists(st.tuples(counts, priorities), min_size=1, max_size=3), st.data())
@often(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_the_tags_of_a_line_stay_what_they_are_and_no_twin_comes_later(
    batches: list[tuple[int, int]], data: st.DataObject
) -> None:
    with db.transaction() as tx:
        for table in reversed(Base.metadata.sorted_tables):
            tx.execute(delete(table))
    total = 0
    for count, priority in batches:
        come_in_batch(named(total, total := total + count), priority)
    before, standing = tags(), line()
    followed = data.draw(st.lists(st.sampled_from(standing), min_size=1, max_size=50))
    with db.transaction() as tx:
        follower = tx.get_one(Batch, rows.batch(tx, priority=data.draw(priorities)))
        order.bring_forward(tx, rows.TENANT, follower, followed)
    after = line()
    assert tags() == before
    assert sorted(after) == sorted(standing)
    assert all(after.index(one) <= standing.index(one) for one in followed)
