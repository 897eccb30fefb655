"""What an answer says about its account, told once a moment."""

import pytest

from cleanplate.outcomes import Accepted, ErrorCode, NotAccepted, Rejected, Unconfirmed
from worker import news
from worker.news import News

ACCEPTED = Accepted("task-1", "https://api.bfl.ai/1", 5.0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(news.time, "monotonic", lambda: now[0])
    return now


@pytest.mark.usefixtures("clock")
def test_the_same_answer_a_moment_later_is_no_news_of_its_account_and_is_of_another() -> None:
    said = News()
    assert said.of("a", ACCEPTED)
    assert said.of("a", ACCEPTED) is None
    assert said.of("b", ACCEPTED)


def test_it_is_news_again_after_the_moment(clock: list[float]) -> None:
    said = News()
    said.of("a", ACCEPTED)
    clock[0] += news.MOMENT_SECONDS
    assert said.of("a", ACCEPTED)
    assert said.of("a", ACCEPTED) is None


@pytest.mark.usefixtures("clock")
def test_another_price_is_news() -> None:
    said = News()
    said.of("a", ACCEPTED)
    assert said.of("a", Accepted("task-2", "https://api.bfl.ai/2", 7.0))


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("other", [Unconfirmed("silence"), NotAccepted("429", over_limit=True)])
def test_after_a_silence_or_a_refusal_which_are_news_each_time_an_answer_is(other: Unconfirmed | NotAccepted) -> None:
    said = News()
    assert said.of("a", ACCEPTED)
    assert said.of("a", other)
    assert said.of("a", other)
    assert said.of("a", ACCEPTED)


@pytest.mark.usefixtures("clock")
def test_what_was_rejected_says_as_much_as_what_was_accepted_at_no_price() -> None:
    said = News()
    assert said.of("a", Accepted("task-1", "https://api.bfl.ai/1", None))
    assert said.of("a", Rejected(ErrorCode.UPSTREAM_REJECTED, "422")) is None
