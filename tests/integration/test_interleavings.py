"""Whatever several workers do in whatever order, the rows stay what they promise to be."""

from functools import partial

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule, run_state_machine_as_test
from sqlalchemy import Engine, delete, func, select

from cleanplate import accounts, cancel, db, jobs, leases
from cleanplate.jobs import Change
from cleanplate.models import Base, Batch, Job, Worker
from cleanplate.outcomes import (
    Accepted,
    Blocked,
    Ended,
    ErrorCode,
    FinalizeOutcome,
    NotAccepted,
    PollOutcome,
    Rejected,
    ResultReady,
    Stored,
    SubmitOutcome,
    TryLater,
    Unconfirmed,
    Unusable,
)
from cleanplate.states import LEASED, MOVES, TERMINAL, InFlight, State
from tests import rows
from tests.promises import CAPS, Promises
from worker import capacity, finalize, ledger, meaning, sweep
from worker.flight import Flight

SAVIOUR = "w9"
WORKERS = ("w1", "w2", "w3")
JOBS_IN_EACH_BATCH = (1, 3, 4)

workers = st.sampled_from(WORKERS)
anything = st.integers(0, 1000)
SUBMITS: list[SubmitOutcome] = [
    *[Accepted("task", "http://127.0.0.2:9/task", cost) for cost in (5.0, None)] * 3,
    NotAccepted("429", over_limit=True, retry_after=0.0),
    Blocked("credits", "402"),
    Rejected(ErrorCode.UPSTREAM_REJECTED, "422"),
    Unconfirmed("silence"),
]
POLLS: list[PollOutcome] = [
    *[ResultReady("http://127.0.0.3/x.png?sig=1", None)] * 3,
    Ended(ErrorCode.UPSTREAM_ERROR, "Error"),
]
STORINGS: list[FinalizeOutcome] = [
    *[Stored("results/x.png", 96, 64, "png", 1, "0" * 64, 0)] * 3,
    Unusable(ErrorCode.RESULT_INVALID, "cut short"),
    TryLater("the store is away"),
    Rejected(ErrorCode.INPUT_MISSING, "gone"),
]


class Interleavings(Promises):
    """Three conveyors, a finalizer, a sweep and clients that cancel, on three batches and two accounts."""

    def __init__(self) -> None:
        super().__init__()
        self.wire: list[tuple[str, str, str, int]] = []

    @initialize()
    def fill(self) -> None:
        with db.engine().begin() as connection:
            for table in reversed(Base.metadata.sorted_tables):
                connection.execute(delete(table))
        with db.transaction() as tx:
            for name, cap in CAPS.items():
                rows.account(tx, cap, name, latency_seconds=0.0)
            rows.deaf_endpoint(tx, events=["batch.completed", "batch.cancelled"])
            for worker in WORKERS:
                rows.worker(tx, worker)
            for total in JOBS_IN_EACH_BATCH:
                batch_id = rows.batch(tx, total)
                for number in range(total):  # the order of the ids must be the same in every run
                    rows.job(tx, id=f"job_{total}_{number}", batch_id=batch_id)

    def apply(self, change: Change, worker: str | None = None) -> bool:
        """Wish for a change; whatever was granted must have been the owner's and a move."""
        with db.transaction() as tx:
            before = tx.execute(select(Job.state, Job.owner).where(Job.id == change.job_id)).one()
            granted = jobs.apply(tx, [change], worker=worker)
        if granted:
            assert (State(before.state), change.target) in MOVES
            assert change.owner in {None, before.owner}
        return bool(granted)

    # -- conveyors -----------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.has(State.QUEUED))
    @rule(worker=workers, limit=st.integers(1, 4))
    def claim(self, worker: str, limit: int) -> None:
        with db.transaction() as tx:
            claimed = {job.id for job in jobs.claim(tx, worker, limit)}
            assert claimed <= leases.held(tx, worker).keys()

    @precondition(lambda self: self.has(State.CLAIMED))
    @rule(number=anything)
    def take_slots(self, number: int) -> None:
        with db.transaction() as tx:
            worker = tx.get_one(Job, self.pick(number, State.CLAIMED)).owner or ""
            mine = tx.scalars(select(Job.id).where(Job.owner == worker, Job.state == "claimed")).all()
            moved, lost = rows.seats(tx, worker, mine)
            seats = tx.execute(select(Job.id, Job.account).where(Job.id.in_(moved)).order_by(Job.id)).all()
        assert not lost
        for job_id, account in seats:
            self.sent[job_id] += 1
            self.wire.append((worker, job_id, account or "", self.sent[job_id]))

    @precondition(lambda self: self.wire)
    @rule(number=anything, outcome=st.sampled_from(SUBMITS))
    def answer(self, number: int, outcome: SubmitOutcome) -> None:
        worker, job_id, account, attempt = self.wire.pop(number % len(self.wire))
        granted = self.apply(meaning.of_submit(job_id, attempt, outcome, worker, 0.0), worker)
        self.accepted[job_id] += isinstance(outcome, Accepted)
        if not granted and isinstance(outcome, Accepted):
            late = meaning.late_acceptance(job_id, attempt, outcome, worker)
            with db.transaction() as tx:
                capacity.turn(tx, worker, CAPS, [late], [partial(ledger.paid_late, acceptance=late)], {})
        effect = meaning.effect_of_submit(account, outcome)
        if effect is not None:
            with db.transaction() as tx:
                effect(tx)

    @precondition(lambda self: self.has(State.INFLIGHT))
    @rule(worker=workers, number=anything, outcome=st.sampled_from(POLLS))
    def poll(self, worker: str, number: int, outcome: PollOutcome) -> None:
        """Look at any job in flight: a worker that slept does not know that it is no longer its own."""
        job_id = self.pick(number, State.INFLIGHT)
        change = meaning.of_poll(Flight(job_id, rows.ACCOUNT, 20, "", 0.0), outcome, worker, 540.0)
        assert change is not None
        self.apply(change, worker)

    @precondition(lambda self: self.has(*LEASED))
    @rule(worker=workers)
    def rescue(self, worker: str) -> None:
        with db.transaction() as tx:
            alive = set(tx.scalars(select(Worker.id).where(Worker.expires_at > func.now())))
            before = {row.id: row.owner for row in tx.execute(select(Job.id, Job.owner))}
            adopted = leases.rescue(tx, worker, hold_seconds=0.0)
        assert not {before[job_id] for job_id in adopted} & (alive | {worker})

    @rule(worker=workers, mishap=st.sampled_from(["freeze", "freeze", "wake", "stop"]))
    def meet_with(self, worker: str, mishap: str) -> None:
        """Freeze: the lease ends, and what is on the wire may be answered late. Stop: once all that was is answered."""
        stops = mishap == "stop" and not any(worker == sender for sender, *_ in self.wire)
        with db.transaction() as tx:
            if stops:
                leases.hand_over(tx, worker)
            else:
                leases.heartbeat(tx, worker, 0.0 if mishap == "freeze" else 60.0)

    # -- the others ----------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.has(State.READY))
    @rule(number=anything, outcome=st.sampled_from(STORINGS))
    def finalize(self, number: int, outcome: FinalizeOutcome) -> None:
        with db.transaction() as tx:
            begun = finalize._begin(tx, self.pick(number, State.READY))
            assert begun is not None
        with db.transaction() as tx:
            finalize._settle(tx, begun[0], outcome)

    @precondition(lambda self: self.has(State.UNCONFIRMED))
    @rule(policy=st.sampled_from(["resubmit", "fail"]))
    def decide(self, policy: str) -> None:
        with db.transaction() as tx:
            sweep.decide_unconfirmed(tx, policy, 3)

    @rule(number=anything, wish=st.sampled_from([*[None] * 8, *InFlight]))
    def regrow_or_cancel(self, number: int, wish: InFlight | None) -> None:
        if wish is not None:
            with db.transaction() as tx:
                cancel.stop(tx, [sorted(self.now)[number % len(self.now)]], wish)
        with db.transaction() as tx:
            capacity.keep_up(tx, {})

    @rule(number=anything, wish=st.sampled_from([*[None] * 30, *InFlight]))
    def cancel_a_batch(self, number: int, wish: InFlight | None) -> None:
        if wish is None:
            return
        with db.transaction() as tx:
            batch = tx.scalars(select(Batch).order_by(Batch.total).with_for_update(key_share=True)).all()[number % 3]
            asked = cancel.ask(tx, batch, wish)
        if asked:
            cancel.carry_on(batch.id, 60.0)
            with db.transaction() as tx:
                assert batch.id not in tx.scalars(cancel.unheeded()).all()

    # -- the end -------------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        """From wherever all of it stands, with every worker dead, one that is alive brings it to its end."""
        self.wire.clear()
        with db.transaction() as tx:
            for name in CAPS:
                accounts.answered(tx, name)
            tx.execute(delete(Worker))
        self.rescue(SAVIOUR)
        steps = 0
        while self.has(*set(State) - TERMINAL):
            self.step_on()
            self.every_promise_holds()
            steps += 1
            assert steps < 20 * len(self.now), "this would never end"

    def step_on(self) -> None:
        """Bring some job a step further, those that hold a slot first."""
        if self.wire:
            self.answer(0, SUBMITS[0])
        elif self.has(State.INFLIGHT):
            self.poll(SAVIOUR, 0, POLLS[0])
        elif self.has(State.READY):
            self.finalize(0, STORINGS[0])
        elif self.has(State.UNCONFIRMED):
            self.decide("resubmit")
        elif self.has(State.CLAIMED):
            self.take_slots(0)
        elif self.has(State.QUEUED):
            self.claim(SAVIOUR, 4)


def test_no_order_of_what_workers_do_breaks_a_promise(database: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert database
    monkeypatch.setattr(accounts, "PROBE_SECONDS", 0.0)
    often = settings(max_examples=12, stateful_step_count=50, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(Interleavings, settings=often)
