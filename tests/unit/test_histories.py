"""Thousands of histories on a clock of our own: workers die, sleep and wake, answers are lost, windows run out.

The guards, the changes and what answers mean are the real ones; rows are in memory, and whose turn it is (which the
queries decide, see ``tests/integration/test_interleavings.py``) is written down plainly.
"""

from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule, run_state_machine_as_test

from cleanplate.jobs import Change
from cleanplate.models import Job
from cleanplate.outcomes import Accepted, ErrorCode, NotAccepted, ResultReady, SubmitOutcome, Unconfirmed
from cleanplate.states import HOLDS_SLOT, LEASED, TERMINAL, UNSENT, InFlight, State
from tests.histories import (
    CAP,
    HOLD_SECONDS,
    JOBS,
    LATENCIES,
    TIMEOUT_SECONDS,
    WORKERS,
    Request,
    Task,
    World,
    clock,
)
from worker import flight, meaning
from worker.conveyor import LEASE_SECONDS
from worker.flight import RESULT_WINDOW_SECONDS, Flight

workers = st.sampled_from(WORKERS)
numbers = st.integers(0, 20)


class Histories(World):
    # -- time and death ------------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.1, 0.7, 2.0, 3.5, 31.0, 300.0, 601.0]))
    def pass_time(self, seconds: float) -> None:
        """Who is awake renews its lease all the while, and takes over what others left."""
        clock.now += seconds
        self.leases |= dict.fromkeys(self.leases.keys() - self.asleep, clock.now + LEASE_SECONDS)
        for worker in sorted(self.leases.keys() - self.asleep):
            self.rescue(worker)

    @rule(worker=workers, mishap=st.sampled_from(["sleep", "wake", "wake", "die"]))
    def meet_with(self, worker: str, mishap: str) -> None:
        """Sleep is a machine that stands still for longer than its lease; who wakes believes that it holds all yet."""
        if mishap == "wake":
            self.asleep.discard(worker)
        elif mishap == "sleep":
            self.asleep.add(worker)
            self.pass_time(LEASE_SECONDS + 0.1)
        else:  # its successor has another id, and knows nothing
            self.wire = [request for request in self.wire if request.worker != worker or request.task is None]
            self.flights = {key: held for key, held in self.flights.items() if key[0] != worker}
            for row in self.rows.values():
                row.owner = f"late {worker}" if row.owner == worker else row.owner
            for request in self.wire:
                request.worker = f"late {worker}" if request.worker == worker else request.worker

    # -- conveyors -----------------------------------------------------------------------------------------------------

    @rule(worker=workers, number=numbers, answered=st.booleans())
    def send(self, worker: str, number: int, answered: bool) -> None:
        """Claim, take a slot and put the request on the wire; mostly it is answered at once."""
        if worker in self.asleep:
            return
        if (row := self.some(number, lambda row: row.state is State.QUEUED)) is not None:
            queued = frozenset({State.QUEUED})
            assert self.apply(Change(row.id, queued, State.CLAIMED, "claimed", values={"owner": worker}))
        row = self.some(number, lambda row: row.state is State.CLAIMED and row.owner == worker)
        if row is not None and self.free():
            assert self.apply(Change(row.id, meaning.CLAIMED, State.SENDING, "sending", worker, {"owner": worker}))
            row.attempts += 1
            self.wire.append(Request(worker, row.id, row.attempts, clock.now))
            if answered:
                self.answer(len(self.wire) - 1, arrives=True, lost=False)

    @precondition(lambda self: self.wire)
    @rule(number=numbers, latency=st.sampled_from(LATENCIES))
    def arrive(self, number: int, latency: float) -> None:
        request = self.wire[number % len(self.wire)]
        if request.task is None:
            request.task = Task(request.job_id, clock.now + latency)
            self.paid[request.job_id] += 1

    @precondition(lambda self: self.wire)
    @rule(number=numbers, arrives=st.booleans(), lost=st.booleans())
    def answer(self, number: int, arrives: bool, lost: bool) -> None:
        if arrives:
            self.arrive(number, 4.0)
        request = self.wire[number % len(self.wire)]
        worker, job_id, number, task = request.worker, request.job_id, request.number, request.task
        if worker in self.asleep:
            return
        self.wire.remove(request)
        if worker not in WORKERS:
            return
        outcome: SubmitOutcome
        if lost and task is not None:
            outcome = Unconfirmed("silence")
        else:
            outcome = NotAccepted("429") if task is None else Accepted("t", "http://127.0.0.2/t", 5.0)
        job = Job(id=job_id, image={"width": 1000, "height": 1000})
        held = Flight.start(job, "default", outcome, request.sent)
        row = self.rows[job_id]
        moved = self.apply(meaning.of_submit(job_id, number, outcome, worker, HOLD_SECONDS))
        if not moved and isinstance(outcome, Accepted):
            moved = self.apply(meaning.late_acceptance(job_id, number, outcome, worker))
        assert row.attempts == number or not moved, "an answer is about its own attempt"
        used = moved or held is None or (row.state, row.attempts) != (State.UNCONFIRMED, number)
        assert used, "what is paid is used"
        if moved and held is not None and task is not None:
            self.tasks[job_id], self.heard[job_id] = task, (request.sent, clock.now)
            self.flights[worker, job_id] = held

    @precondition(lambda self: self.flights)
    @rule(number=numbers)
    def poll(self, number: int) -> None:
        worker, job_id = sorted(self.flights)[number % len(self.flights)]
        if worker in self.asleep:
            return
        held, seen = self.flights[worker, job_id], self.tasks[job_id].seen()
        change = meaning.of_poll(held, seen, worker, TIMEOUT_SECONDS)
        if change is not None:
            self.apply(change)
            del self.flights[worker, job_id]

    # -- the others ----------------------------------------------------------------------------------------------------

    @rule(number=numbers)
    def decide(self, number: int) -> None:
        row = self.some(number, lambda row: row.state is State.UNCONFIRMED and row.due_at <= clock.now)
        if row is not None:
            assert clock.now >= row.since + HOLD_SECONDS
            self.resent[row.id] += 1
            assert self.apply(Change(row.id, meaning.UNCONFIRMED, State.QUEUED, "sent again by policy"))

    @rule(number=numbers, usable=st.booleans())
    def store(self, number: int, usable: bool) -> None:
        row = self.some(number, lambda row: row.state is State.READY)
        if row is None:
            return
        ready = frozenset({State.READY})
        if usable and isinstance(self.tasks[row.id].seen(), ResultReady):
            assert self.apply(Change(row.id, ready, State.SUCCEEDED, "stored"))
        elif row.fetches < 3:
            assert self.apply(Change(row.id, ready, State.INFLIGHT, "", values={"fetches": row.fetches + 1}))
        else:
            assert self.apply(meaning.failed(row.id, ready, ErrorCode.RESULT_EXPIRED, "gone"))

    @rule(number=numbers, wish=st.sampled_from(InFlight))
    def cancel(self, number: int, wish: InFlight) -> None:
        """Do with a job what ``cancel.stop`` does with one in the database; mostly with one that was submitted."""
        row = self.some(number, lambda row: row.state not in (TERMINAL | UNSENT if number else TERMINAL))
        if row is None:
            return
        self.never.setdefault(row.id, row.attempts)
        at_once = UNSENT | ({State.READY} if wish is InFlight.ABANDON else set())
        if row.state in at_once:
            assert self.apply(Change(row.id, frozenset(at_once), State.CANCELLED, "asked for"))
        elif row.cancelling is not InFlight.ABANDON:
            row.cancelling = wish

    # -- what is always so ---------------------------------------------------------------------------------------------

    @invariant()
    def nothing_is_paid_twice_but_by_policy(self) -> None:
        assert all(self.paid[job_id] <= 1 + self.resent[job_id] for job_id in JOBS)

    @invariant()
    def who_is_not_leased_has_no_owner(self) -> None:
        assert all(row.owner is None or row.state in LEASED for row in self.rows.values())

    @invariant()
    def slots_are_never_over_the_cap(self) -> None:
        assert sum(row.state in HOLDS_SLOT and not row.fetches for row in self.rows.values()) <= CAP

    @invariant()
    def a_job_ends_once(self) -> None:
        assert max(self.ends.values(), default=0) <= 1

    @invariant()
    def what_is_to_be_cancelled_is_not_sent_again(self) -> None:
        assert all(self.rows[job_id].attempts == before for job_id, before in self.never.items())

    @invariant()
    def what_is_abandoned_is_not_stored_and_keeps_its_slot_until_its_task_has_ended(self) -> None:
        for row in self.rows.values():
            if row.cancelling is InFlight.ABANDON:
                assert row.state in HOLDS_SLOT | {State.CANCELLED}
                task = self.tasks.get(row.id)
                assert row.state in HOLDS_SLOT or task is None or task.ends_at <= row.since

    @invariant()
    def a_window_is_never_thought_longer_than_it_is(self) -> None:
        for row in self.rows.values():
            if row.state is State.READY:
                assert row.window_ends <= self.tasks[row.id].ends_at + RESULT_WINDOW_SECONDS + 1e-6

    @invariant()
    def what_moves_has_somebody_who_moves_it(self) -> None:
        for row in self.rows.values():
            if row.state is State.INFLIGHT and self.alive(row.owner) and row.owner not in self.asleep:
                assert (row.owner, row.id) in self.flights

    def teardown(self) -> None:
        """From wherever all of it stands, a single worker that lives brings it to its end."""
        self.asleep = set(WORKERS) - {"w1"}
        self.wire = [request for request in self.wire if request.worker == "w1"]
        for _ in range(200):
            if all(row.state in TERMINAL for row in self.rows.values()):
                return
            self.pass_time(31.0)
            while self.wire:
                self.answer(0, arrives=True, lost=False)
                self.what_is_abandoned_is_not_stored_and_keeps_its_slot_until_its_task_has_ended()
            for number in range(len(JOBS)):
                self.decide(number)
                self.store(number, usable=True)
                self.send("w1", number, answered=True)
                self.poll(number) if self.flights else None
        raise AssertionError({id_: row.state for id_, row in self.rows.items()})


@pytest.mark.chaos
@pytest.mark.timeout(300)
def test_no_history_breaks_a_promise(monkeypatch: pytest.MonkeyPatch, long: bool) -> None:
    monkeypatch.setattr(flight, "time", SimpleNamespace(monotonic=lambda: clock.now))
    often = settings(
        max_examples=5000 if long else 300,
        stateful_step_count=60,
        database=None,
        phases=[Phase.generate, Phase.shrink],  # to explain a failure traces every line, which takes ten times as long
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Histories, settings=often)
