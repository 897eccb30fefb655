"""What is always so of the rows, whatever workers do in whatever order."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis.stateful import RuleBasedStateMachine, invariant
from sqlalchemy import select

from cleanplate import cancel, db
from cleanplate.models import Attempt, Batch, Delivery, Job, JobEvent
from cleanplate.states import HOLDS_SLOT, LEASED, MOVES, TERMINAL, State
from tests import rows

CAPS = {rows.ACCOUNT: 2, "second": 1}
PRICE = 5.0
JOBS = select(Job.id, Job.state, Job.owner, Job.account, Job.attempts, Job.fetches, Job.batch_id, Job.cost_credits)
EVENTS = select(JobEvent.id, JobEvent.job_id, JobEvent.state, JobEvent.reason).order_by(JobEvent.id)
LEDGER = select(Attempt.job_id, Attempt.outcome)
BATCHES = select(Batch.__table__)
NO_MOVES = {"adopted", *cancel.MARKS.values()}


class Promises(RuleBasedStateMachine):
    """What workers were told, and what the rows have to say for it after each step of whoever extends this.

    ``now`` is where each job stands by its events, ``sent`` what the upstream was really asked for, one for each slot
    that a worker was told it has, and ``accepted`` what of that it took.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now: dict[str, State] = {}
        self.heard = 0
        self.sent: Counter[str] = Counter()
        self.accepted: Counter[str] = Counter()

    def has(self, *among: State) -> bool:
        return any(state in among for state in self.now.values())

    def pick(self, number: int, *among: State) -> str:
        """One of the jobs in these states, of which there are some."""
        found = sorted(job_id for job_id, state in self.now.items() if state in among)
        return found[number % len(found)]

    @invariant()
    def every_promise_holds(self) -> None:
        with db.transaction() as tx:
            found = {row.id: row for row in tx.execute(JOBS)}
            history = tx.execute(EVENTS.where(JobEvent.id > self.heard)).all()
            attempts = tx.execute(LEDGER).all()
            batches = tx.execute(BATCHES).all()
            told = Counter(json.loads(body)["data"]["id"] for body in tx.scalars(select(Delivery.body)))
        self.each_job_went_only_where_the_state_machine_lets_it(found, history)
        self.slots_are_never_over_the_cap(found)
        self.the_ledger_has_a_row_for_each_submit_and_knows_what_was_paid(found, attempts)
        self.who_is_leased_has_an_owner(found)
        self.batches_count_what_has_ended_and_end_once(found, batches, told)

    def each_job_went_only_where_the_state_machine_lets_it(self, found: dict[str, Any], history: Sequence[Any]) -> None:
        """No end is ever left, for no move leads out of it."""
        for event in history:
            self.heard = event.id
            if event.reason not in NO_MOVES:
                assert (self.now.get(event.job_id, State.QUEUED), State(event.state)) in MOVES
                self.now[event.job_id] = State(event.state)
        assert {job_id: self.now.get(job_id, State.QUEUED) for job_id in found} == {
            job_id: State(row.state) for job_id, row in found.items()
        }
        self.now = {job_id: State(row.state) for job_id, row in found.items()}

    def slots_are_never_over_the_cap(self, found: dict[str, Any]) -> None:
        """A result that is asked for again holds one too, but the upstream is done with its task."""
        held = Counter(row.account for row in found.values() if row.state in HOLDS_SLOT and not row.fetches)
        assert held.keys() <= CAPS.keys()
        assert all(count <= CAPS[account] for account, count in held.items())

    def the_ledger_has_a_row_for_each_submit_and_knows_what_was_paid(
        self, found: dict[str, Any], attempts: Sequence[Any]
    ) -> None:
        rows_of = {job_id: row.attempts for job_id, row in found.items() if row.attempts}
        assert Counter(row.job_id for row in attempts) == rows_of == self.sent
        paid = Counter(row.job_id for row in attempts if row.outcome == "accepted")
        assert paid == +self.accepted
        for job_id, row in found.items():
            if row.state in TERMINAL:
                assert row.cost_credits == pytest.approx(PRICE * paid[job_id])

    def who_is_leased_has_an_owner(self, found: dict[str, Any]) -> None:
        for row in found.values():
            assert row.owner is None or row.state in LEASED
            assert row.owner is not None or row.state not in {State.CLAIMED, State.SENDING}

    def batches_count_what_has_ended_and_end_once(
        self, found: dict[str, Any], batches: Sequence[Any], told: Counter[str]
    ) -> None:
        ends = Counter((row.batch_id, row.state) for row in found.values())
        for batch in batches:
            counted = {state: getattr(batch, state) for state in TERMINAL}
            assert counted == {state: ends[batch.id, state] for state in TERMINAL}
            costs = sum(row.cost_credits for row in found.values() if row.batch_id == batch.id)
            assert batch.cost_credits == pytest.approx(costs)
            over = sum(counted.values()) == batch.total
            assert (batch.finished_at is not None) == over
            assert told[batch.id] == over
