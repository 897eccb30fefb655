"""A budget is never passed: by no number of conveyors at once, and by nothing that an answer may turn out to be."""

import random
from functools import partial

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as often
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, event, func, select, update

from cleanplate import accounts, batches, db, holding, jobs
from cleanplate.jobs import Change
from cleanplate.models import Attempt, Base, Batch, Job
from cleanplate.outcomes import Accepted, ErrorCode, NotAccepted, Rejected, SubmitOutcome
from cleanplate.outcomes import Unconfirmed as Unanswered
from cleanplate.states import Hold, State
from tests import rows
from tests.seen import state
from tests.threads import at_once
from worker import budget, capacity, meaning, sweep

pytestmark = pytest.mark.usefixtures("database")

PRICE = 5.0
CONVEYORS = 8
ACCEPTED = Accepted("task", "http://127.0.0.2/t", PRICE)


def made(count: int, budget_credits: float | None, state: State = State.CLAIMED, **columns: object) -> list[str]:
    """Make an account with slots for all, and a batch of so many jobs with this budget; return the ids of the jobs."""
    with db.transaction() as tx:
        rows.account(tx, 100)
        return rows.jobs(tx, count, state, batch_id=rows.batch(tx, count, budget_credits=budget_credits), **columns)


def seat(line: list[str], worker: str = rows.WORKER) -> tuple[int, int]:
    """Ask for slots; return how many of ``line`` hold one now and how many are the worker's no more."""
    with db.transaction() as tx:
        seated, lost = rows.seats(tx, worker, line)
        return len(seated), len(lost)


def answer(job_id: str, outcome: SubmitOutcome, worker: str = rows.WORKER) -> None:
    with db.transaction() as tx:
        number = tx.scalars(select(Job.attempts).where(Job.id == job_id)).one()
        effect = meaning.effect_of_submit(rows.ACCOUNT, outcome)
        capacity.turn(tx, worker, [], [meaning.of_submit(job_id, number, outcome, worker, 0.0)], [effect], {})


def sent(state: State = State.SENDING) -> list[str]:
    with db.transaction() as tx:
        return list(tx.scalars(select(Job.id).where(Job.state == state).order_by(Job.id)))


def batch() -> Batch:
    with db.transaction() as tx:
        return tx.scalars(select(Batch)).one()


def tend() -> None:
    budget.tend(batch().id, 60.0)


def states() -> list[State]:
    with db.transaction() as tx:
        return sorted(rows.states(tx).values())


def test_what_the_budget_does_not_allow_is_held_and_the_batch_says_so() -> None:
    line = made(5, 3 * PRICE + 1)
    assert seat(line) == (3, 2)
    assert states() == [State.HELD] * 2 + [State.SENDING] * 3
    with db.transaction() as tx:
        told = batches.resource(tx, tx.scalars(select(Batch)).one())
        assert rows.events(tx, line[4])[-1] == ("held", budget.REASON, rows.WORKER)
    assert (told.held, told.options.budget_credits) == ("budget", 3 * PRICE + 1)
    assert told.budget_reached_at is not None


def test_who_comes_first_in_line_has_the_credits_and_others_have_the_slots() -> None:
    line = made(4, 2 * PRICE)
    with db.transaction() as tx:
        free = rows.jobs(tx, 3, State.CLAIMED)
    turn = [line[3], free[0], line[1], line[0], free[1], line[2], free[2]]
    assert seat(turn) == (5, 2)
    assert set(sent()) == {line[3], line[1], *free}


def test_a_batch_without_a_budget_costs_a_turn_no_statement_more(database: Engine) -> None:
    line = made(1, None)
    statements: list[str] = []

    def remember(_c: object, _m: object, statement: str, *_: object) -> None:
        statements.append(statement)

    event.listen(database, "before_cursor_execute", remember)
    try:
        with db.transaction() as tx:
            capacity.turn(tx, rows.WORKER, [rows.ACCOUNT], [], [], dict.fromkeys(line))
    finally:
        event.remove(database, "before_cursor_execute", remember)
    assert sent() == line
    assert len(statements) == 3


def test_nothing_more_is_sent_while_what_is_in_flight_may_cost_the_rest() -> None:
    line = made(3, 2 * PRICE)
    seat(line[:2])
    for job_id in sent():
        answer(job_id, ACCEPTED)
    assert seat(line[2:]) == (0, 1)
    tend()
    assert states() == [State.HELD] + [State.INFLIGHT] * 2


@pytest.mark.parametrize("outcome", [NotAccepted("429"), Rejected(ErrorCode.UPSTREAM_REJECTED, "422")])
def test_what_turned_out_to_cost_nothing_lets_another_go(outcome: SubmitOutcome) -> None:
    line = made(2, PRICE)
    assert seat(line) == (1, 1)
    (first,) = sent()
    answer(first, outcome)
    with db.transaction() as tx:
        tx.execute(delete(Attempt).where(Attempt.job_id == first, Attempt.outcome == "sending"))
        jobs.apply(tx, [Change(first, frozenset({State.CLAIMED}), State.CANCELLED, "test")])
    tend()
    assert state(line[1]) == State.QUEUED


def test_no_more_is_released_than_is_affordable_however_often_it_is_looked_at() -> None:
    made(4, 2 * PRICE, State.HELD)
    with db.transaction() as tx:
        tx.execute(update(Batch).values(hold=Hold.BUDGET))
    for _ in range(3):
        tend()
    assert states() == [State.HELD] * 2 + [State.QUEUED] * 2
    with db.transaction() as tx:
        jobs.claim(tx, rows.WORKER, 2)
    tend()
    assert states().count(State.HELD) == 2


@pytest.mark.parametrize("waits", [State.FOLLOWING, State.IMPORTING])
def test_room_for_another_is_used_though_some_wait_for_twins_or_for_their_pictures(waits: State) -> None:
    held = made(3, 2 * PRICE, State.HELD)
    with db.transaction() as tx:
        rows.job(tx, waits, batch_id=tx.scalar(update(Batch).values(hold=Hold.BUDGET, total=4).returning(Batch.id)))
    for _ in range(3):
        tend()
    assert [state(id_) for id_ in held] == [State.QUEUED, State.QUEUED, State.HELD]


def test_what_waits_in_line_already_has_the_room_first() -> None:
    made(1, 2 * PRICE, State.QUEUED)
    with db.transaction() as tx:
        batch_id = tx.scalar(update(Batch).values(hold=Hold.BUDGET, total=3).returning(Batch.id))
        rows.jobs(tx, 2, State.HELD, batch_id=batch_id)
    tend()
    assert states() == [State.HELD] + [State.QUEUED] * 2


def test_what_waits_in_line_is_held_too_so_that_nobody_loads_it_for_nothing() -> None:
    line = made(holding.PAGE + 3, PRICE, State.QUEUED)
    with db.transaction() as tx:
        first, second = (job.id for job in jobs.claim(tx, rows.WORKER, 2))
    assert seat([first, second]) == (1, 1)
    tend()
    assert states() == [State.HELD] * (len(line) - 1) + [State.SENDING]


def test_a_submit_that_nobody_knows_to_be_billed_counts_as_billed() -> None:
    line = made(2, 2 * PRICE)
    assert seat(line[:1]) == (1, 0)
    answer(line[0], Unanswered("silence"))
    assert batch().doubtful_credits == 0.0
    with db.transaction() as tx:
        sweep.decide_unconfirmed(tx, "resubmit", 3)
    assert (state(line[0]), batch().doubtful_credits) == (State.QUEUED, PRICE)
    with db.transaction() as tx:
        jobs.claim(tx, rows.WORKER, 1)
    assert seat([line[0], line[1]]) == (1, 1)


def test_a_budget_that_is_given_later_counts_the_submits_from_before() -> None:
    line = made(3, None)
    assert seat(line[:1]) == (1, 0)
    answer(line[0], Unanswered("silence"))
    with db.transaction() as tx:
        sweep.decide_unconfirmed(tx, "resubmit", 3)
        holding.ask(tx, tx.scalars(holding.locked(batch().id)).one(), 2 * PRICE)
        jobs.claim(tx, rows.WORKER, 1)
    assert seat(line) == (1, 2)


def test_a_price_that_was_learned_counts_and_not_only_the_one_that_was_set() -> None:
    line = made(4, 30.0)
    seat(line[:1])
    answer(line[0], Accepted("task", "http://127.0.0.2/t", 12.0))
    with db.transaction() as tx:
        assert accounts.price(tx) == 12.0
    assert seat(line[1:]) == (1, 2)


def test_a_budget_that_is_raised_lets_the_rest_go_and_is_no_longer_reached() -> None:
    line = made(3, PRICE)
    seat(line)
    with db.transaction() as tx:
        holding.ask(tx, tx.scalars(holding.locked(batch().id)).one(), 3 * PRICE)
    holding.carry_on(batch().id, 60.0)
    assert (batch().hold, batch().budget_reached_at) == (None, None)
    with db.transaction() as tx:
        again = [job.id for job in jobs.claim(tx, rows.WORKER, 9)]
    assert seat(again) == (2, 0)


def test_whoever_has_the_batch_locked_is_not_waited_for() -> None:
    line = made(2, PRICE)
    with db.transaction() as other:
        other.scalars(holding.locked(batch().id)).one()
        assert seat(line) == (1, 0)
    assert seat([id_ for id_ in line if state(id_) is State.CLAIMED]) == (0, 1)


@given(
    cents=st.integers(0, 6000),
    seed=st.integers(0, 2**32),
)
@often(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_eight_conveyors_at_once_never_pay_more_than_the_budget(cents: int, seed: int) -> None:
    _empty()
    limit = max(cents, 1) / 100
    with db.transaction() as tx:
        rows.account(tx, 12)
        batch_id = rows.batch(tx, 20, budget_credits=limit)
        rows.jobs(tx, 20, State.QUEUED, batch_id=batch_id)
        for number in range(CONVEYORS):
            rows.worker(tx, f"w{number}")
    at_once([partial(_work, f"w{number}", random.Random(seed + number)) for number in range(CONVEYORS)])
    with db.transaction() as tx:
        may_be_billed = Attempt.outcome.not_in(["not_accepted", "rejected"])
        paid = sum(tx.scalars(select(func.coalesce(Attempt.cost_credits, PRICE)).where(may_be_billed)))
        left = set(rows.states(tx).values())
    assert paid <= limit
    assert left <= {State.HELD, State.SUCCEEDED, State.FAILED, State.QUEUED}


def _work(worker: str, chance: random.Random) -> None:
    """Claim, seat, answer in one of all ways, and end jobs, until a few rounds found nothing to do."""
    idle = 0
    mine: list[str] = []
    while idle < 5:
        with db.transaction() as tx:
            mine += [job.id for job in jobs.claim(tx, worker, 3)]
        with db.transaction() as tx:
            seated, lost = rows.seats(tx, worker, mine)
        mine = [id_ for id_ in mine if id_ not in seated and id_ not in lost]
        for job_id in seated:
            outcome = chance.choice([ACCEPTED, ACCEPTED, NotAccepted("refused"), Unanswered("silence")])
            if isinstance(outcome, NotAccepted):
                mine.append(job_id)
            _answer_quietly(job_id, outcome, worker)
            if isinstance(outcome, Accepted):
                _end(job_id)
        with db.transaction() as tx:
            if tx.scalar(select(func.pg_try_advisory_xact_lock(1))):
                sweep.decide_unconfirmed(tx, "resubmit", 3)
        budget.tend(batch().id, 0.1)
        idle = 0 if seated else idle + 1
    with db.transaction() as tx:
        back = [Change(id_, frozenset({State.CLAIMED}), State.QUEUED, "test", worker) for id_ in mine]
        jobs.apply(tx, back)


def _answer_quietly(job_id: str, outcome: SubmitOutcome, worker: str) -> None:
    """Write down an answer, but not what it says of the account: that is not what this is about."""
    with db.transaction() as tx:
        number = tx.scalars(select(Job.attempts).where(Job.id == job_id)).one()
        jobs.apply(tx, [meaning.of_submit(job_id, number, outcome, worker, 0.0)], worker=worker)


def _end(job_id: str) -> None:
    with db.transaction() as tx:
        ready = {"sample_url": "http://127.0.0.3/x"}
        jobs.apply(tx, [Change(job_id, frozenset({State.INFLIGHT}), State.READY, "ready", values=ready)])
    with db.transaction() as tx:
        stored = {"result_key": "results/x", "result": rows.RESULT}
        jobs.apply(tx, [Change(job_id, frozenset({State.READY}), State.SUCCEEDED, "stored", values=stored)])


def _empty() -> None:
    with db.transaction() as tx:
        for table in reversed(Base.metadata.sorted_tables):
            tx.execute(delete(table))
