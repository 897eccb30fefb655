from datetime import timedelta

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cleanplate.outcomes import Delivered, Undelivered
from worker import notify
from worker.notify import JITTER, SCHEDULE

tries = st.integers(1, len(SCHEDULE))


def meaning(status: int, **headers: str) -> notify.NotifyOutcome:
    return notify._meaning(httpx.Response(status, headers={n.replace("_", "-"): v for n, v in headers.items()}), b"x")


def test_the_schedule_begins_in_seconds_ends_in_days_and_never_hastens() -> None:
    assert SCHEDULE[0] <= timedelta(seconds=10)
    assert sum(SCHEDULE, timedelta()) > timedelta(days=3)
    assert list(SCHEDULE) == sorted(SCHEDULE)


@given(tries)
def test_a_pause_is_the_schedules_with_some_jitter(number: int) -> None:
    step = SCHEDULE[number - 1]
    assert step * (1 - JITTER) <= notify.pause(number, None) <= step * (1 + JITTER)


def test_receivers_that_failed_together_are_not_asked_together() -> None:
    assert len({notify.pause(3, None) for _ in range(20)}) > 10


@given(tries, st.floats(-1e6, 1e6))
def test_a_receiver_may_ask_for_a_longer_pause_but_not_for_a_shorter_one(number: int, seconds: float) -> None:
    wait = notify.pause(number, seconds)
    assert wait >= timedelta(seconds=seconds)
    assert wait >= SCHEDULE[number - 1] * (1 - JITTER)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_delivered(status: int) -> None:
    assert meaning(status) == Delivered(status, "x")


@pytest.mark.parametrize("status", [301, 302, 307, 400, 401, 404, 409, 500, 503])
def test_anything_else_is_not(status: int) -> None:
    assert meaning(status) == Undelivered(f"the receiver answered {status}", status, answer="x")


def test_410_asks_to_be_left_alone() -> None:
    assert meaning(410) == Undelivered("the receiver answered 410", 410, gone=True, answer="x")


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("1e300", SCHEDULE[-1].total_seconds()), ("nan", None), ("inf", None), ("soon", None), ("", None)],
)
def test_retry_after_is_heard_with_429_and_503_as_far_as_it_makes_sense(header: str, seconds: float | None) -> None:
    for status in (429, 503):
        outcome = meaning(status, retry_after=header)
        assert isinstance(outcome, Undelivered)
        assert outcome.retry_after == seconds
        assert notify.pause(1, outcome.retry_after) <= SCHEDULE[-1]
    other = meaning(500, retry_after=header)
    assert isinstance(other, Undelivered)
    assert other.retry_after is None


@pytest.mark.parametrize(
    ("asked", "date", "seconds"),
    [
        ("Sun, 06 Nov 2039 08:59:37 GMT", "Sun, 06 Nov 2039 08:49:37 GMT", 600.0),
        ("Sunday, 06-Nov-39 08:59:37 GMT", "Sun, 06 Nov 2039 08:49:37 GMT", 600.0),
        ("Sun, 06 Nov 2039 08:49:00 -0000", "Sun, 06 Nov 2039 08:49:37 GMT", -37.0),
        ("Sun, 06 Nov 2039 08:49:37 GMT", "", SCHEDULE[-1].total_seconds()),
        ("Sun, 06 Nov 2039 08:49:37 GMT", "yesterday", SCHEDULE[-1].total_seconds()),
        ("Sun, 99 Nov 2039 08:49:37 GMT", "", None),
    ],
)
def test_a_date_to_retry_after_counts_from_the_answers_own_clock(asked: str, date: str, seconds: float | None) -> None:
    outcome = meaning(503, retry_after=asked, date=date)
    assert isinstance(outcome, Undelivered)
    assert outcome.retry_after == seconds


NEARLY_A_DATE = st.from_regex(rb"\A(\w{3}, )?\d{0,3} (Nov|Foo) -?\d{0,6} [\d:.]{0,9} ?(GMT|[+-]\d{0,6})?\Z")


@given(st.binary(max_size=40) | NEARLY_A_DATE, st.binary(max_size=40) | NEARLY_A_DATE)
def test_no_header_of_an_answer_breaks_a_try(asked: bytes, date: bytes) -> None:
    answer = httpx.Response(429, headers=[(b"retry-after", asked), (b"date", date)])
    assert isinstance(notify._meaning(answer, b""), Undelivered)


@given(st.binary(max_size=3000))
def test_the_beginning_of_any_answer_is_text_that_the_database_takes(body: bytes) -> None:
    text = notify._as_text(body)
    assert "\0" not in text
    assert len(text) <= notify.ANSWER_KEPT
    text.encode()
