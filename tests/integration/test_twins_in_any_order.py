"""Jobs of two fingerprints in any order of what may happen to them: one of each goes, and nobody waits for nothing."""

from collections import Counter

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import delete, select

from cleanplate import cancel, db, deletion, jobs, reuse
from cleanplate.jobs import Change
from cleanplate.models import Attempt, Base, Job
from cleanplate.reuse import Newcomer
from cleanplate.states import GOING, InFlight, State
from tests import rows
from tests.seen import row
from tests.twinned import PRINTS, come, end, see_to
from worker import purge
from worker.store import store

pytestmark = pytest.mark.usefixtures("database", "worker_store")

QUEUED, HELD = frozenset({State.QUEUED}), frozenset({State.HELD})

numbers = st.integers(0, 50)


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
