"""Whatever is asked of batches in whatever order, what is held, follows, is cancelled or paid is what it should be."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import ColumnElement, Engine, delete, func, select, update

from api import admission
from cleanplate import batches, cancel, db, deletion, holding, ids, jobs
from cleanplate.ids import Kind
from cleanplate.jobs import Change
from cleanplate.models import Attempt, Base, Batch, Job
from cleanplate.outcomes import Accepted, ErrorCode, NotAccepted, Rejected, SubmitOutcome, Unconfirmed
from cleanplate.reuse import Newcomer
from cleanplate.states import GOING, TERMINAL, UNSENT, Hold, InFlight, State
from cleanplate.storage import Store
from tests import rows
from tests.twinned import PRINTS, see_to
from worker import budget, meaning, sweep
from worker.store import store

PRICE = 5.0
CANARY = 2
ENOUGH = 1e6
SUBMITS: list[SubmitOutcome] = [
    *[Accepted("task", "http://127.0.0.2:9/task", PRICE)] * 4,
    NotAccepted("429"),
    Rejected(ErrorCode.UPSTREAM_REJECTED, "422"),
    Unconfirmed("silence"),
]

which = st.integers(0, 2)
anything = st.integers(0, 50)
prints = st.sampled_from([*PRINTS, *[None] * 4])


class Batches(RuleBasedStateMachine):
    """Clients add to, seal, release, cancel and delete a canary, a batch with a budget and one without limits.

    A worker claims, submits and ends what it can, and the sweep comes now and then.
    """

    def __init__(self) -> None:
        super().__init__()
        self.numbers = iter(range(10_000))

    @initialize()
    def fill(self) -> None:
        with db.engine().begin() as connection:
            for table in reversed(Base.metadata.sorted_tables):
                connection.execute(delete(table))
        with db.transaction() as tx:
            rows.account(tx, 100)
            rows.worker(tx)
            limits: list[dict[str, Any]] = [
                {"hold": Hold.CANARY, "options": {"canary": CANARY}},
                {"budget_credits": 2 * PRICE},
                {},
            ]
            self.batches = [rows.batch(tx, 0, sealed=False, **limit) for limit in limits]
        self.most = {self.batches[1]: 2 * PRICE}
        self.released: set[str] = set()
        self.called_off: Counter[str] = Counter()
        for number in range(len(self.batches)):
            self.add(number, [*PRINTS, None, None])
            self.claim(3)

    # -- clients -------------------------------------------------------------------------------------------------------

    @rule(number=which, wanted=st.lists(prints, min_size=1, max_size=4))
    def add(self, number: int, wanted: list[str | None]) -> None:
        with db.transaction() as tx:
            batch = tx.scalars(holding.locked(self.batches[number])).one()
            if admission.closed(batch) is not None or batch.deleted_at is not None:
                return
            page = [
                Newcomer(ids.new(Kind.JOB), print_ or f"single-{next(self.numbers)}", reuse=True) for print_ in wanted
            ]
            places = holding.places(tx, rows.TENANT, batch, page)
            for position, (one, place) in enumerate(zip(page, places, strict=True), batch.total):
                stands = {"tag": place.tag, "due_at": place.due_at, "fingerprint": one.fingerprint}
                rows.job(tx, place.state, id=one.id, batch_id=batch.id, position=position, **stands)
            batch.total += len(page)

    @rule(number=which)
    def seal(self, number: int) -> None:
        with db.transaction() as tx:
            sealed = func.coalesce(Batch.sealed_at, func.now())
            tx.execute(update(Batch).where(Batch.id == self.batches[number]).values(sealed_at=sealed))
            batches.settle(tx, self.batches[number])

    @rule(number=which, more=st.sampled_from([0.0] * 8 + [None, PRICE, 3 * PRICE]))
    def release(self, number: int, more: float | None) -> None:
        """Release it, with a budget higher by ``more`` if given; 0 is not at all: canaries should live for long."""
        batch_id = self.batches[number]
        if more == 0.0:
            return
        with db.transaction() as tx:
            batch = tx.scalars(holding.locked(batch_id)).one()
            if batch.finished_at is not None or batch.cancelling is not None:
                return
            raised = None if more is None else (batch.budget_credits or 0.0) + more
            self.released.add(batch_id)
            holding.ask(tx, batch, raised)
            if batch.budget_credits is not None:
                self.most[batch_id] = max(self.most.get(batch_id, 0.0), self.paid()[batch_id], batch.budget_credits)
        holding.carry_on(batch_id, 60.0)

    @rule(number=which, how=st.sampled_from([None] * 12 + [*InFlight]))
    def cancel(self, number: int, how: InFlight | None) -> None:
        batch_id = self.batches[number]
        if how is None:
            return
        with db.transaction() as tx:
            asked = cancel.ask(tx, tx.scalars(holding.locked(batch_id)).one(), how)
        if asked:
            cancel.carry_on(batch_id, 60.0)
            self.called_off[batch_id] = self.submits()[batch_id]
            with db.transaction() as tx:
                left = select(func.count()).where(Job.batch_id == batch_id, Job.state.in_(UNSENT))
                assert tx.scalar(left) == 0

    @rule(number=anything)
    def delete_a_job(self, number: int) -> None:
        if job_id := self.pick(number, *TERMINAL):
            with db.transaction() as tx:
                deletion.mark_job(tx, job_id, tx.get_one(Job, job_id).batch_id)

    @rule(number=which)
    def delete_a_batch(self, number: int) -> None:
        with db.transaction() as tx:
            batch = tx.scalars(select(Batch).where(Batch.id == self.batches[number]).with_for_update()).one()
            if batch.finished_at is None or batch.deleted_at is not None:
                return
            deletion.mark_batch(tx, batch.id)
        deletion.carry_on(self.batches[number], 60.0)

    # -- workers -------------------------------------------------------------------------------------------------------

    @rule(limit=st.integers(1, 5))
    def claim(self, limit: int) -> None:
        with db.transaction() as tx:
            jobs.claim(tx, rows.WORKER, limit)

    @rule(outcome=st.sampled_from(SUBMITS))
    def submit(self, outcome: SubmitOutcome) -> None:
        """Give slots to all that are claimed; of those one is answered so, and the others are accepted."""
        with db.transaction() as tx:
            line = tx.scalars(select(Job.id).where(Job.state == State.CLAIMED).order_by(Job.tag, Job.id)).all()
            seated, _ = rows.seats(tx, rows.WORKER, line)
        for job_id in sorted(seated):
            with db.transaction() as tx:
                number = tx.get_one(Job, job_id).attempts
                jobs.apply(tx, [meaning.of_submit(job_id, number, outcome, rows.WORKER, 0.0)], worker=rows.WORKER)
            outcome = SUBMITS[0]

    @rule(number=anything, ends=st.sampled_from([State.SUCCEEDED, State.SUCCEEDED, State.FAILED]))
    def end(self, number: int, ends: State) -> None:
        if job_id := self.pick(number, State.INFLIGHT):
            with db.transaction() as tx:
                ready = Change(
                    job_id, frozenset({State.INFLIGHT}), State.READY, "test", values={"sample_url": "http://x"}
                )
                jobs.apply(tx, [ready])
            key = f"results/{job_id}.png"
            store().put(key, b"erased", media_type="image/png")
            told = (
                {"result_key": key, "result": rows.RESULT}
                if ends is State.SUCCEEDED
                else {"error_code": "upstream_error"}
            )
            with db.transaction() as tx:
                jobs.apply(tx, [Change(job_id, frozenset({State.READY}), ends, "test", values=told)])

    @rule()
    def sweep(self) -> None:
        with db.transaction() as tx:
            sweep.decide_unconfirmed(tx, "resubmit", 3)
            held = tx.execute(holding.pending()).all()
        for batch_id, hold in held:
            (holding.carry_on if hold == Hold.RELEASE else budget.tend)(batch_id, 60.0)
        see_to()

    def pick(self, number: int, *states: State) -> str | None:
        with db.transaction() as tx:
            found = tx.scalars(select(Job.id).where(Job.state.in_(states), Job.deleted_at.is_(None)).order_by(Job.id))
            job_ids = found.all()
        return job_ids[number % len(job_ids)] if job_ids else None

    # -- the end -------------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        """From wherever all of it stands, with credits enough and nothing more to come, it comes to its end."""
        for number in range(len(self.batches)):
            self.release(number, ENOUGH)
            self.seal(number)
        steps = 0
        while self.pick(0, *set(State) - TERMINAL):
            self.sweep()
            self.claim(5)
            self.submit(SUBMITS[0])
            self.end(0, State.SUCCEEDED)
            self.every_promise_holds()
            steps += 1
            assert steps < 200, "this would never end"

    # -- what is always so ---------------------------------------------------------------------------------------------

    @invariant()
    def every_promise_holds(self) -> None:
        submits, paid = self.submits(), self.paid()
        with db.transaction() as tx:
            found = list(tx.scalars(select(Job)))
            rows_of = list(tx.scalars(select(Batch)))
        for batch in rows_of:
            mine = [job for job in found if job.batch_id == batch.id]
            ends = Counter(job.state for job in mine)
            assert batch.total == len(mine)
            assert (batch.succeeded, batch.failed, batch.cancelled) == tuple(
                ends[state] for state in (State.SUCCEEDED, State.FAILED, State.CANCELLED)
            )
            over = batch.sealed_at is not None and all(job.state in TERMINAL for job in mine)
            assert (batch.finished_at is not None) == over
            assert paid[batch.id] <= self.most.get(batch.id, ENOUGH)
            assert submits[batch.id] <= self.called_off.get(batch.id, ENOUGH)
        canary = [job for job in found if job.batch_id == self.batches[0] and (job.attempts or job.state in GOING)]
        assert self.batches[0] in self.released or len(canary) <= CANARY
        going = Counter(job.fingerprint for job in found if job.state in GOING)
        assert max(going.values(), default=0) <= 1

    def submits(self) -> Counter[str]:
        """Return how often jobs of each batch were submitted."""
        return self._attempts(Attempt.outcome != "none")

    def paid(self) -> Counter[str]:
        """Return in credits, by batch, what is or may be billed."""
        billed = self._attempts(Attempt.outcome.not_in(["not_accepted", "rejected"]))
        return Counter({batch_id: PRICE * count for batch_id, count in billed.items()})

    def _attempts(self, such: ColumnElement[bool]) -> Counter[str]:
        counted = select(Job.batch_id, func.count()).join(Attempt, Attempt.job_id == Job.id).where(such)
        with db.transaction() as tx:
            return Counter({str(batch_id): count for batch_id, count in tx.execute(counted.group_by(Job.batch_id))})


@pytest.mark.timeout(300)
def test_no_order_of_what_clients_ask_breaks_a_promise(database: Engine, worker_store: Store) -> None:
    assert database
    assert worker_store
    often = settings(
        max_examples=10,
        stateful_step_count=30,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Batches, settings=often)
