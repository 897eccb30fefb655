"""What nobody works on any more is found and moved on."""

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, text
from sqlalchemy.exc import OperationalError

from cleanplate import db, jobs, leases, queue
from cleanplate.models import Attempt
from cleanplate.states import State
from tests import rows
from tests.seen import passing, row
from worker import sweep
from worker.flight import load_flights
from worker.sweep import Sweeper

pytestmark = pytest.mark.usefixtures("database")

Hints = list[tuple[str, str]]
DAY = 24 * 3600


def ago(seconds: float) -> Any:
    return func.now() - timedelta(seconds=seconds)


def unconfirmed(*, due_seconds_ago: float = 1.0, submits: int = 1) -> str:
    """A job that so many submits left without an answer."""
    with db.transaction() as tx:
        job_id = rows.job(tx, State.UNCONFIRMED, due_at=ago(due_seconds_ago), attempts=submits)
        lost = {"job_id": job_id, "account": rows.ACCOUNT, "worker": rows.WORKER}
        tx.add_all(Attempt(**lost, number=number, outcome="unconfirmed") for number in range(1, submits))
    return job_id


def ready(*, due_seconds_ago: float = 1.0, window_seconds: float | None = 599.0) -> str:
    ends = None if window_seconds is None else ago(-window_seconds)
    with db.transaction() as tx:
        return rows.job(tx, State.READY, due_at=ago(due_seconds_ago), window_ends=ends)


def decide(policy: str, max_submits: int = 3) -> None:
    with db.transaction() as tx:
        sweep.decide_unconfirmed(tx, policy, max_submits)


@pytest.fixture(autouse=True)
def _hinted_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "RESEND_SECONDS", 3600.0)


@pytest.fixture
def finalized(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The jobs that the sweeping worker finalized itself."""
    here: list[str] = []
    monkeypatch.setattr(sweep, "finalize", here.append)
    return here


# -- unconfirmed submits -----------------------------------------------------------------------------------------------


def test_a_submit_without_an_answer_is_sent_again_by_policy_after_the_hold_time() -> None:
    due, held = unconfirmed(), unconfirmed(due_seconds_ago=-600.0)
    decide("resubmit")
    assert (row(due).state, row(held).state) == ("queued", "unconfirmed")
    with db.transaction() as tx:
        assert rows.events(tx, due) == [("queued", "no answer came: sent again by policy", None)]
        assert tx.scalar(jobs.slots_held(rows.ACCOUNT)) == 1
        assert [job.id for job in jobs.claim(tx, "w1", 5)] == [due]


def test_by_the_other_policy_it_fails_and_is_never_paid_twice() -> None:
    due, held = unconfirmed(), unconfirmed(due_seconds_ago=-600.0)
    decide("fail")
    assert (row(due).state, row(held).state) == ("failed", "unconfirmed")
    assert row(due).error_code == "submit_unconfirmed"
    assert row(due).error_detail == "no answer came to 1 submit(s); it is not sent again"


@pytest.mark.parametrize(("submits", "state"), [(2, "queued"), (3, "failed"), (4, "failed")])
def test_a_job_is_sent_again_only_so_often(submits: int, state: str) -> None:
    job_id = unconfirmed(submits=submits)
    decide("resubmit", max_submits=3)
    assert row(job_id).state == state


def test_an_answer_that_was_refused_does_not_count_as_a_submit_without_an_answer() -> None:
    job_id = unconfirmed(submits=3)
    with db.transaction() as tx:
        for attempt in rows.attempts(tx, job_id)[:2]:
            attempt.outcome = "not_accepted"
    decide("resubmit", max_submits=2)
    assert row(job_id).state == "queued"


def called_back(*, due_seconds_ago: float, state: State = State.UNCONFIRMED) -> str:
    """A job whose newest submit was never answered, but called back about."""
    with db.transaction() as tx:
        job_id = rows.job(tx, state, due_at=ago(due_seconds_ago))
        (attempt,) = rows.attempts(tx, job_id)
        attempt.task_id, attempt.called_at = "task-7", datetime.now(UTC)
    return job_id


def test_a_submit_without_an_answer_that_was_called_back_about_is_adopted_at_once() -> None:
    called, silent = called_back(due_seconds_ago=-600.0), unconfirmed(due_seconds_ago=-600.0)
    with db.transaction() as tx:
        sweep.adopt_called_back(tx)
    assert (row(called).state, row(called).owner, row(silent).state) == ("inflight", None, "unconfirmed")
    with db.transaction() as tx:
        (attempt,) = rows.attempts(tx, called)
        assert (attempt.outcome, attempt.task_id) == ("accepted", "task-7")
        assert leases.rescue(tx, "w1", hold_seconds=30.0) == [called]
        (flight,) = load_flights(tx, [called], "http://127.0.0.1:9/{}/{}".format)
    assert (flight.polling_url, flight.called) == ("http://127.0.0.1:9/default/task-7", True)


@pytest.mark.parametrize("state", [State.SENDING, State.INFLIGHT, State.READY])
def test_what_is_not_without_an_answer_is_left_to_its_worker(state: State) -> None:
    job_id = called_back(due_seconds_ago=1.0, state=state)
    with db.transaction() as tx:
        sweep.adopt_called_back(tx)
        assert rows.events(tx, job_id) == []


@pytest.mark.parametrize("policy", ["resubmit", "fail"])
def test_no_policy_decides_about_a_submit_that_was_called_back_about(policy: str) -> None:
    job_id = called_back(due_seconds_ago=1.0)
    decide(policy)
    assert row(job_id).state == "unconfirmed"


def test_a_call_about_an_earlier_submit_does_not_answer_for_the_newest() -> None:
    job_id = unconfirmed(submits=2)
    with db.transaction() as tx:
        rows.attempts(tx, job_id)[0].task_id = "task-of-the-first"
        sweep.adopt_called_back(tx)
    assert row(job_id).state == "unconfirmed"
    decide("resubmit")
    assert row(job_id).state == "queued"


# -- forgotten results -------------------------------------------------------------------------------------------------


def test_results_that_nobody_began_to_store_are_found_oldest_first_and_put_off() -> None:
    fresh, old, aged, unknown = (
        ready(due_seconds_ago=1.0, window_seconds=900.0),
        ready(due_seconds_ago=2000.0, window_seconds=900.0),
        ready(due_seconds_ago=1000.0, window_seconds=560.0),
        ready(due_seconds_ago=500.0, window_seconds=None),
    )
    ready(due_seconds_ago=-600.0)
    with passing() as span, db.transaction() as tx:
        assert sweep.forgotten_results(tx, 10) == [(old, False), (aged, True), (unknown, True), (fresh, False)]
    assert row(old).due_at - timedelta(seconds=sweep.RESEND_SECONDS) in span
    with db.transaction() as tx:
        assert sweep.forgotten_results(tx, 10) == []


def test_a_forgotten_result_is_hinted_at_again(sweeper: Sweeper, hints: Hints, finalized: list[str]) -> None:
    job_id = ready()
    sweeper._round()
    sweeper._round()
    assert hints == [("finalize", job_id)]
    assert finalized == []


def test_a_result_that_waits_too_long_is_stored_by_the_sweeping_worker_itself(
    sweeper: Sweeper, hints: Hints, finalized: list[str]
) -> None:
    job_id = ready(window_seconds=sweep.RESULT_WINDOW_SECONDS - sweep.AGED_SECONDS - 1)
    sweeper._round()
    assert (hints, finalized) == ([], [job_id])


def test_so_is_every_result_when_no_broker_takes_the_hint(
    sweeper: Sweeper, finalized: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "send", lambda *_: False)
    monkeypatch.setattr(queue, "waiting", lambda _: None)
    job_ids = [ready(due_seconds_ago=20.0 - number) for number in range(sweep.HERE + 2)]
    sweeper._round()
    assert sorted(finalized) == job_ids[: sweep.HERE]
    sweeper._round()
    assert sorted(finalized) == job_ids


# -- the sweeper itself ------------------------------------------------------------------------------------------------


def test_one_worker_sweeps_at_a_time(sweeper: Sweeper, hints: Hints) -> None:
    ready()
    with db.transaction() as other:
        other.execute(text("SELECT pg_advisory_xact_lock(hashtext('cleanplate.sweep'))"))
        sweeper._round()
        assert hints == []
    sweeper._round()
    assert len(hints) == 1


def test_a_database_that_is_away_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "EVERY_SECONDS", 0.001)
    rounds = 0
    ended = threading.Event()

    def fail_twice() -> None:
        nonlocal rounds
        rounds += 1
        if rounds < 3:
            raise OperationalError("SELECT 1", {}, ConnectionError("away"))
        ended.set()

    sweeper = Sweeper(on_death=pytest.fail)
    monkeypatch.setattr(sweeper, "_round", fail_twice)
    sweeper.start()
    ended.wait()
    sweeper.end()
    sweeper.join()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_sweeper_that_breaks_brings_its_worker_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "EVERY_SECONDS", 0.001)
    deaths: list[BaseException] = []
    sweeper = Sweeper(on_death=deaths.append)
    monkeypatch.setattr(sweeper, "_round", lambda: 1 / 0)
    sweeper.start()
    sweeper.join()
    assert [type(death) for death in deaths] == [ZeroDivisionError]
