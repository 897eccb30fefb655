"""Those that follow a twin, whatever happens to it and to them, one after the other and all at once."""

import json
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import Engine, delete, func, select, update

from cleanplate import cancel, db, deletion, ids, jobs, reuse
from cleanplate.ids import Kind
from cleanplate.jobs import Change
from cleanplate.models import Attempt, Base, Delivery, Job
from cleanplate.reuse import Newcomer
from cleanplate.states import GOING, TERMINAL, InFlight, State
from cleanplate.storage import StoreUnavailable
from tests import rows
from tests.threads import at_once
from worker import purge, twins
from worker.store import _open, store
from worker.sweep import Sweeper

PRINTS = ("print-1", "print-2")
QUEUED, HELD = frozenset({State.QUEUED}), frozenset({State.HELD})

numbers = st.integers(0, 50)


@pytest.fixture(autouse=True)
def _store(database: Engine, tmp_path: Path, configure: Callable[..., None]) -> Iterator[None]:
    assert database
    configure(STORAGE_URL=(tmp_path / "objects").as_uri())
    _open.cache_clear()
    store().prepare()
    with db.transaction() as tx:
        rows.tenant(tx)
    yield
    _open.cache_clear()


def come(print_: str = PRINTS[0], *, wanted: bool = True, **columns: Any) -> str:
    """Bring a new job to the queue as the intake does."""
    job_id = ids.new(Kind.JOB)
    with db.transaction() as tx:
        (place,) = reuse.places(tx, rows.TENANT, None, [Newcomer(job_id, print_, wanted)])
        stands = {"tag": place.tag, "due_at": place.due_at, "fingerprint": print_, "reuse": wanted}
        rows.job(tx, place.state, id=job_id, **stands | columns)
    return job_id


def end(job_id: str, state: State = State.SUCCEEDED) -> None:
    if state is State.SUCCEEDED:
        store().put(f"results/{job_id}.png", job_id.encode(), media_type="image/png")
    with db.transaction() as tx:
        rows.carry(tx, job_id, state)


def see_to(watch: twins.Watch | None = None) -> None:
    with db.transaction() as tx:
        rows.due_now(tx)
    (watch or twins.Watch()).see_to()


def row(job_id: str) -> Job:
    with db.transaction() as tx:
        return tx.get_one(Job, job_id)


def state(job_id: str) -> State:
    return State(row(job_id).state)


def due_in(job_id: str) -> float:
    with db.transaction() as tx:
        return float(tx.scalar(select(func.extract("epoch", Job.due_at - func.now())).where(Job.id == job_id)) or 0)


# -- looking -----------------------------------------------------------------------------------------------------------


def test_an_end_is_seen_as_it_comes_without_a_look_that_is_due() -> None:
    first, second = come(), come()
    watch = twins.Watch()
    watch.see_to()
    assert due_in(second) > 0
    end(first)
    watch.see_to()
    assert state(second) is State.SUCCEEDED


def test_an_end_that_was_missed_is_found_by_the_look_that_is_due() -> None:
    first, second = come(), come()
    end(first)
    with db.transaction() as tx:
        tx.execute(update(Job).where(Job.id == first).values(finished_at=func.now() - func.make_interval(0, 0, 0, 1)))
        tx.execute(update(Job).where(Job.id == second).values(due_at=func.now() + func.make_interval(0, 0, 0, 1)))
    twins.Watch().see_to()
    assert state(second) is State.FOLLOWING
    see_to()
    assert state(second) is State.SUCCEEDED


@pytest.mark.parametrize(("waited", "again"), [(0, 1), (10, 10), (600, 30)])
def test_who_has_waited_for_long_is_looked_at_less_often(waited: int, again: float) -> None:
    come()
    ago = func.now() - func.make_interval(0, 0, 0, 0, 0, 0, waited)
    second = come(created_at=ago)
    twins.Watch().see_to()
    assert due_in(second) == pytest.approx(again, abs=0.9)


def test_more_than_a_page_of_twins_ends_with_one_result_and_one_of_them_after_the_other_goes_without() -> None:
    first = come()
    others = [come() for _ in range(12)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(twins, "PAGE", 5)
        end(first, State.FAILED)
        see_to()
        assert [state(id_) for id_ in others] == [State.QUEUED] + [State.FOLLOWING] * 11
        end(others[0])
        see_to()
    assert {state(id_) for id_ in others} == {State.SUCCEEDED}
    assert {row(id_).result_key for id_ in others} == {f"results/{others[0]}.png"}
    assert [row(id_).cost_credits for id_ in others] == [5.0] + [0.0] * 11


def test_receivers_hear_of_what_is_reused_as_of_any_success_and_once_of_the_batch() -> None:
    with db.transaction() as tx:
        rows.deaf_endpoint(tx)
        batch_id = rows.batch(tx, 3)
    first, *others = (come(batch_id=batch_id) for _ in range(3))
    end(first)
    see_to()
    see_to()
    with db.transaction() as tx:
        told = {row.subject_id: row for row in tx.scalars(select(Delivery))}
        assert tx.scalar(select(func.count()).select_from(Delivery)) == 4
    assert {told[id_].event_type for id_ in others} == {"job.succeeded"}
    assert {json.loads(told[id_].body)["data"]["result"]["reused_from"] for id_ in others} == {first}
    batch = json.loads(told[batch_id].body)["data"]
    assert (told[batch_id].event_type, batch["reused"], batch["cost_credits"]) == ("batch.completed", 2, 5.0)


def test_while_the_store_is_away_they_wait_and_nobody_is_paid(
    sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = come(), come()
    end(first)

    def away(_: str) -> None:
        raise StoreUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(store(), "stat", away)
        sweeper._twins.begin(lambda: False)
        sweeper._twins.close()
    assert state(second) is State.FOLLOWING
    assert "the object store is away" in caplog.text
    see_to()
    assert state(second) is State.SUCCEEDED


def test_a_source_that_is_being_deleted_is_left_and_the_next_look_finds_it_gone() -> None:
    first, second = come(), come()
    end(first)
    with db.transaction() as deleting:
        deletion.mark_jobs(deleting, [first])
        see_to()
        assert state(second) is State.FOLLOWING
    see_to()
    assert state(second) is State.QUEUED


def test_a_source_that_was_deleted_since_it_was_found_is_none() -> None:
    first = come()
    end(first)
    with db.transaction() as tx:
        assert twins._ends(tx, [first]).keys() == {PRINTS[0]}
        deletion.mark_jobs(tx, [first])
        assert twins._ends(tx, [first]) == {}


@pytest.mark.parametrize("is_over", [False, True])
def test_who_was_found_without_a_twin_and_has_one_by_now_does_not_go(*, is_over: bool) -> None:
    first, second = come(), come()
    if is_over:
        end(first)
    twins._promote(PRINTS[0], missing=())
    assert state(second) is State.FOLLOWING


def test_the_turn_of_the_next_is_at_the_end_of_the_line() -> None:
    first, second = come(), come()
    other = come(PRINTS[1])
    end(first, State.FAILED)
    see_to()
    assert row(second).tag > row(other).tag
    assert row(second).due_at is None


# -- any order ---------------------------------------------------------------------------------------------------------


class Twins(RuleBasedStateMachine):
    """Jobs of two fingerprints come, go, end and are deleted; the watch sees to them in between."""

    def __init__(self) -> None:
        super().__init__()
        with db.transaction() as tx:
            for table in (Attempt, *(Base.metadata.tables[name] for name in ("job_events", "jobs"))):
                tx.execute(delete(table))
        store().delete([stat.key for stat in store().list("results/")])
        self.lost: set[str] = set()

    def found(self, number: int, *states: State) -> str | None:
        with db.transaction() as tx:
            there = tx.scalars(select(Job.id).where(Job.state.in_(states), Job.deleted_at.is_(None)).order_by(Job.id))
            ids_ = there.all()
        return ids_[number % len(ids_)] if ids_ else None

    @rule(print_=st.sampled_from(PRINTS), count=st.integers(1, 3))
    def come(self, print_: str, count: int) -> None:
        for _ in range(count):
            come(print_)

    @rule(print_=st.sampled_from(PRINTS))
    def comes_to_be_paid_anew(self, print_: str) -> None:
        come(print_, wanted=False)

    @rule(number=numbers)
    def ends_with_a_result_that_is_shared(self, number: int) -> None:
        if job_id := self.found(number, State.QUEUED):
            end(job_id)
            see_to()

    @rule(number=numbers, how=st.sampled_from([State.SUCCEEDED, State.FAILED, State.CANCELLED]))
    def ends(self, number: int, how: State) -> None:
        if job_id := self.found(number, State.QUEUED):
            end(job_id, how)

    @rule(number=numbers)
    def is_held(self, number: int) -> None:
        if job_id := self.found(number, State.QUEUED):
            with db.transaction() as tx:
                jobs.apply(tx, [Change(job_id, QUEUED, State.HELD, "held")])

    @rule(number=numbers)
    def is_released(self, number: int) -> None:
        if job_id := self.found(number, State.HELD):
            with db.transaction() as tx:
                job = tx.get_one(Job, job_id)
                (place,) = reuse.places(tx, rows.TENANT, None, [Newcomer(job_id, job.fingerprint, job.reuse)])
                values = {"tag": place.tag}
                jobs.apply(tx, [Change(job_id, HELD, place.state, "released", values=values, due_in=place.due_in)])

    @rule(number=numbers)
    def is_cancelled(self, number: int) -> None:
        if job_id := self.found(number, State.FOLLOWING, State.QUEUED):
            with db.transaction() as tx:
                cancel.stop(tx, [job_id], InFlight.FINISH)

    @rule(number=numbers)
    def is_deleted(self, number: int) -> None:
        if job_id := self.found(number, State.SUCCEEDED):
            with db.transaction() as tx:
                deletion.mark_jobs(tx, [job_id])
            while purge.purge(store(), None, 3):
                pass

    @rule(number=numbers)
    def is_lost(self, number: int) -> None:
        if job_id := self.found(number, State.SUCCEEDED):
            key = str(row(job_id).result_key)
            store().delete([key])
            self.lost.add(key)

    @rule()
    def is_seen_to(self) -> None:
        see_to()
        with db.transaction() as tx:
            those = list(tx.scalars(select(Job).where(Job.state.in_([State.FOLLOWING, *GOING]))))
        going = {job.fingerprint for job in those if job.state in GOING}
        assert {job.fingerprint for job in those if job.state == State.FOLLOWING} <= going

    @invariant()
    def of_those_that_share_one_goes(self) -> None:
        with db.transaction() as tx:
            going = tx.scalars(select(Job.fingerprint).where(Job.state.in_(GOING), Job.reuse))
            assert max(Counter(going).values(), default=0) <= 1

    @invariant()
    def every_result_is_there(self) -> None:
        with db.transaction() as tx:
            ended = select(Job).where(Job.state == State.SUCCEEDED, Job.deleted_at.is_(None))
            keys = {str(job.result_key) for job in tx.scalars(ended)}
        assert {stat.key for stat in store().list("results/")} == keys - self.lost


def test_in_any_order_one_goes_and_nobody_waits_for_nothing_and_no_result_is_taken() -> None:
    settled = settings(
        max_examples=40,
        stateful_step_count=30,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Twins, settings=settled)


# -- all at once -------------------------------------------------------------------------------------------------------

CLIENTS, EACH, DIFFERENT = 4, 25, 8


class Crowd:
    """Clients, workers, people who cancel and two watches, at the same jobs until all have ended."""

    def __init__(self) -> None:
        self.over = threading.Event()

    def submit(self, seed: int) -> None:
        draw = random.Random(seed)
        for _ in range(EACH):
            come(f"print-{draw.randrange(DIFFERENT)}")

    def work(self, seed: int) -> None:
        draw = random.Random(seed)
        while not self.over.is_set():
            with db.transaction() as tx:
                claimed = jobs.claim(tx, rows.WORKER, 2)
            for job in claimed:
                is_done = draw.random() > 0.3
                if is_done:
                    store().put(f"results/{job.id}.png", job.id.encode(), media_type="image/png")
                with db.transaction() as tx:
                    rows.carry(tx, job.id, State.SUCCEEDED if is_done else State.FAILED, source=State.CLAIMED)

    def call_off(self, seed: int) -> None:
        draw = random.Random(seed)
        while not self.over.is_set():
            with db.transaction() as tx:
                those = tx.scalars(select(Job.id).where(Job.state == State.FOLLOWING)).all()
                cancel.stop(tx, draw.sample(those, len(those) // 20), InFlight.FINISH)

    def watch(self) -> None:
        mine = twins.Watch()
        while not self.over.is_set():
            see_to(mine)
            with db.transaction() as tx:
                if tx.scalar(select(func.count()).where(Job.state.in_(TERMINAL))) == CLIENTS * EACH:
                    self.over.set()


def test_all_at_once_each_fingerprint_is_paid_once_and_nobody_waits_in_a_circle() -> None:
    crowd = Crowd()
    clients = [partial(crowd.submit, seed) for seed in range(CLIENTS)]
    at_once([*clients, partial(crowd.work, 8), partial(crowd.work, 9), partial(crowd.call_off, 7)] + [crowd.watch] * 2)
    with db.transaction() as tx:
        done = list(tx.scalars(select(Job).where(Job.state == State.SUCCEEDED)))
    paid = {job.fingerprint: job.id for job in done if job.attempts}
    assert len(paid) == sum(1 for job in done if job.attempts) == DIFFERENT
    shared = [job for job in done if not job.attempts]
    assert {(job.result or {})["reused_from"] for job in shared} <= set(paid.values())
    assert all(job.result_key == f"results/{paid[job.fingerprint]}.png" for job in shared)
