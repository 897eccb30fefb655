from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from cleanplate import accounts
from cleanplate.jobs import Change
from cleanplate.models import Job
from cleanplate.outcomes import (
    Accepted,
    Blocked,
    Ended,
    ErrorCode,
    Garbled,
    NoAnswer,
    NotAccepted,
    NotFound,
    Pending,
    PollOutcome,
    Rejected,
    ResultReady,
    SubmitOutcome,
    Unconfirmed,
)
from cleanplate.states import MOVES, State
from worker import capacity, meaning
from worker.flight import RESULT_WINDOW_SECONDS, Flight

TIMEOUT = 540.0
NOW = 1e5
JOB = Job(id="job_1", image={"width": 1000, "height": 1000})
ACCEPTED = Accepted("task-1", "https://api.bfl.ai/v1/get_result?id=task-1", 5.0)
SUBMITS: list[SubmitOutcome] = [
    ACCEPTED,
    NotAccepted("refused"),
    NotAccepted("429", over_limit=True, retry_after=2.0),
    Blocked("credits", "402"),
    Rejected(ErrorCode.UPSTREAM_REJECTED, "422"),
    Unconfirmed("silence"),
]
POLLS: list[PollOutcome] = [
    Pending(),
    ResultReady("https://x.bfl.ai/?sig=1", 5.0),
    Ended(ErrorCode.UPSTREAM_ERROR, "Error"),
    NotFound(),
    NoAnswer("503", 3.0),
    Blocked("access", "401"),
    Garbled("html"),
]


@pytest.fixture(autouse=True)
def _clock_that_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.flight.time", SimpleNamespace(monotonic=lambda: NOW))


def flight(age: float = 1.0) -> Flight:
    accepted = NOW - age
    return Flight("job_1", "default", 20, ACCEPTED.polling_url, accepted, _pending=accepted)


def of_submit(outcome: SubmitOutcome) -> Change:
    return meaning.of_submit("job_1", 1, outcome, "w1", hold_seconds=30.0)


def of_poll(outcome: PollOutcome, flown: Flight | None = None) -> Change | None:
    return meaning.of_poll(flown or flight(), outcome, "w1", TIMEOUT)


@pytest.mark.parametrize("outcome", SUBMITS)
def test_an_answer_to_a_submit_moves_what_is_being_sent_by_this_worker_and_nothing_else(outcome: SubmitOutcome) -> None:
    change = of_submit(outcome)
    assert change.sources == {State.SENDING}
    assert (change.owner, change.number) == ("w1", 1)
    assert (State.SENDING, change.target) in MOVES


@pytest.mark.parametrize("outcome", SUBMITS)
def test_the_money_ledger_hears_of_every_answer(outcome: SubmitOutcome) -> None:
    told = of_submit(outcome).attempt
    answered = not isinstance(outcome, Unconfirmed)
    assert told["outcome"]
    assert ("answered_at" in told) == answered
    assert (told["outcome"] == "accepted") == isinstance(outcome, Accepted)


def test_an_acceptance_is_in_flight_with_its_owner_its_task_and_its_price() -> None:
    change = of_submit(ACCEPTED)
    assert change.target is State.INFLIGHT
    assert change.values == {"owner": "w1"}
    assert change.attempt == {
        "outcome": "accepted",
        "detail": None,
        "answered_at": 0.0,
        "task_id": "task-1",
        "polling_url": ACCEPTED.polling_url,
        "cost_credits": 5.0,
    }


@pytest.mark.parametrize("outcome", SUBMITS[1:4])
def test_what_was_not_accepted_is_claimed_still_and_gives_its_slot_back(outcome: SubmitOutcome) -> None:
    change = of_submit(outcome)
    assert change.target is State.CLAIMED
    assert change.values == {"owner": "w1", "account": None}


def test_what_was_rejected_fails_with_the_upstreams_words() -> None:
    change = of_submit(Rejected(ErrorCode.UPSTREAM_REJECTED, "422: no mask"))
    assert change.target is State.FAILED
    assert change.values == {"error_code": "upstream_rejected", "error_detail": "422: no mask"}


def test_what_may_have_been_accepted_is_held_before_anybody_decides() -> None:
    change = of_submit(Unconfirmed("silence"))
    assert (change.target, change.due_in) == (State.UNCONFIRMED, 30.0)


def test_an_acceptance_that_comes_late_is_taken_whoever_owns_the_job_now_unless_it_was_sent_again() -> None:
    change = meaning.late_acceptance("job_1", 2, ACCEPTED, "w1")
    assert (change.sources, change.target, change.owner) == ({State.UNCONFIRMED}, State.INFLIGHT, None)
    assert change.number == 2
    assert change.values == {"owner": "w1"}
    assert change.attempt["task_id"] == "task-1"


def effect(outcome: SubmitOutcome) -> tuple[Any, dict[str, Any]]:
    call = meaning.effect_of_submit("studio", outcome)
    assert isinstance(call, partial)
    return call.func, call.keywords


def test_what_an_answer_says_about_the_account() -> None:
    of = {"account": "studio"}
    limit = NotAccepted("429", over_limit=True, retry_after=2.0)
    assert effect(ACCEPTED) == (accounts.answered, of | {"cost": ACCEPTED.cost})
    assert effect(Rejected(ErrorCode.UPSTREAM_REJECTED, "422")) == (accounts.answered, of | {"cost": None})
    assert effect(limit) == (capacity.limit_hit, of | {"retry_after": 2.0})
    assert effect(NotAccepted("refused")) == (accounts.pause, of | {"reason": "unreachable", "detail": "refused"})
    assert effect(Blocked("credits", "402")) == (accounts.pause, of | {"reason": "credits", "detail": "402"})
    assert effect(Unconfirmed("silence")) == (accounts.unanswered, of)


def test_answers_of_one_account_that_come_together_have_one_effect_and_silences_count_each() -> None:
    def effects(outcome: SubmitOutcome) -> int:
        return len({meaning.effect_of_submit(account, outcome) for account in ("a", "b", "a")})

    assert effects(ACCEPTED) == 2
    assert effects(Unconfirmed("silence")) == 3


@pytest.mark.parametrize("outcome", POLLS)
def test_a_key_that_is_refused_for_a_poll_blocks_its_account_once_a_task_and_no_other_answer_does(
    outcome: PollOutcome,
) -> None:
    flown = flight()
    call = meaning.effect_of_poll(flown, outcome)
    if isinstance(outcome, Blocked):
        assert isinstance(call, partial)
        told = {"account": flown.account, "reason": outcome.reason, "detail": outcome.detail}
        assert (call.func, call.keywords) == (accounts.pause, told)
    else:
        assert call is None
    assert meaning.effect_of_poll(flown, outcome) is None
    assert meaning.effect_of_poll(replace(flight(), first_hand=False), outcome) is None


@pytest.mark.parametrize("outcome", POLLS)
@pytest.mark.parametrize("age", [1.0, 31.0, 541.0])
def test_an_answer_to_a_poll_moves_what_this_worker_has_in_flight_and_nothing_else(
    outcome: PollOutcome, age: float
) -> None:
    change = of_poll(outcome, flight(age))
    assert change is None or (change.sources, change.owner) == ({State.INFLIGHT}, "w1")
    assert change is None or (State.INFLIGHT, change.target) in MOVES


def test_a_result_is_ready_with_its_address_and_the_window_that_is_left() -> None:
    flown = flight(age=100.0)
    change = of_poll(ResultReady("https://x.bfl.ai/?sig=1", 4.0), flown)
    assert change is not None
    assert change.target is State.READY
    assert change.values == {"sample_url": "https://x.bfl.ai/?sig=1"}
    assert change.attempt == {"cost_credits": 4.0}
    assert change.window_in == RESULT_WINDOW_SECONDS - 100.0
    assert change.due_in == meaning.RESEND_SECONDS


def test_a_price_that_was_told_at_the_submit_is_kept_when_the_poll_tells_none() -> None:
    change = of_poll(ResultReady("https://x.bfl.ai/?sig=1", None))
    assert change is not None
    assert change.attempt == {}


def test_the_window_counts_from_the_last_poll_that_said_pending() -> None:
    flown = flight(age=100.0)
    of_poll(Pending(), flown)
    assert flown.window_left == RESULT_WINDOW_SECONDS
    assert flight(age=10_000).window_left == 0.0


def test_a_result_is_taken_even_after_the_time_for_waiting_is_over() -> None:
    change = of_poll(ResultReady("https://x.bfl.ai/?sig=1", 4.0), flight(age=TIMEOUT + 1))
    assert change is not None
    assert change.target is State.READY


def test_what_ended_fails_with_its_code() -> None:
    change = of_poll(Ended(ErrorCode.CONTENT_MODERATED, "Content Moderated: no details"))
    assert change is not None
    assert change.target is State.FAILED
    assert change.values["error_code"] == "content_moderated"


def test_a_task_that_is_not_found_has_half_a_minute_to_appear() -> None:
    young = flight(age=29.0)
    assert of_poll(NotFound(), young) is None
    assert young.pause == meaning.BLIND_PAUSE_SECONDS
    change = of_poll(NotFound(), flight(age=31.0))
    assert change is not None
    assert change.values["error_code"] == "task_not_found"


def test_the_third_answer_that_cannot_be_read_is_a_change_of_the_upstream() -> None:
    flown = flight()
    assert of_poll(Garbled("html"), flown) is None
    assert flown.pause == meaning.BLIND_PAUSE_SECONDS
    assert of_poll(Garbled("html"), flown) is None
    change = of_poll(Garbled("html"), flown)
    assert change is not None
    assert change.values["error_code"] == "upstream_changed"


def test_an_answer_between_makes_an_unreadable_one_a_single_mishap_again() -> None:
    flown = flight()
    for _ in range(5):
        assert of_poll(Garbled("html"), flown) is None
        assert of_poll(Garbled("html"), flown) is None
        assert of_poll(Pending(), flown) is None


def test_a_poll_that_told_nothing_waits_as_it_was_asked_to() -> None:
    flown = flight()
    assert of_poll(NoAnswer("429", 7.0), flown) is None
    assert flown.pause == 7.0
    assert of_poll(NoAnswer("no answer", None), flown) is None
    assert flown.pause == meaning.BLIND_PAUSE_SECONDS
    flown.polled()
    assert flown.pause is None


@pytest.mark.parametrize("outcome", [Pending(), NoAnswer("503"), Garbled("html")])
def test_a_task_without_an_end_is_given_up_after_the_set_time(outcome: PollOutcome) -> None:
    assert of_poll(outcome, flight(age=TIMEOUT - 1)) is None
    change = of_poll(outcome, flight(age=TIMEOUT + 1))
    assert change is not None
    assert change.values["error_code"] == "upstream_timeout"
    assert ("503" in change.values["error_detail"]) == isinstance(outcome, NoAnswer)


def test_only_an_acceptance_starts_a_flight() -> None:
    started = Flight.start(JOB, "studio", ACCEPTED, NOW)
    assert started is not None
    assert (started.job_id, started.polling_url, started.first_hand) == ("job_1", ACCEPTED.polling_url, True)
    assert (started.account, started.size) == ("studio", 20)
    assert started.age == 0.0
    assert started.window_left == RESULT_WINDOW_SECONDS
    assert [Flight.start(JOB, "studio", outcome, 0.0) for outcome in SUBMITS[1:]] == [None] * 5


def test_the_window_of_a_task_whose_acceptance_was_heard_late_counts_from_the_submit() -> None:
    started = Flight.start(JOB, "studio", ACCEPTED, NOW - 20)
    assert started is not None
    assert started.age == 0.0
    assert started.pending_age == 0.0
    assert started.window_left == RESULT_WINDOW_SECONDS - 20
