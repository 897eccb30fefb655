"""Callbacks that come together are taken in together."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import pytest

from api import hearing
from api.hearing import Hearing
from cleanplate import callbacks, db

Calls = dict[str, str]


class Ledger:
    """Knows of every token but ``unknown``, and writes down which calls came together."""

    def __init__(self) -> None:
        self.turns: list[Calls] = []
        self.entered, self.leave = threading.Event(), threading.Event()
        self.leave.set()
        self.answer: Callable[[Calls], dict[str, bool]] = lambda calls: dict.fromkeys(calls, True)

    def heard(self, _: object, calls: Calls) -> dict[str, bool]:
        self.turns.append(dict(calls))
        self.entered.set()
        self.leave.wait()
        return {digest: taken for digest, taken in self.answer(calls).items() if digest != "unknown"}


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> Ledger:
    ledger = Ledger()

    @contextmanager
    def transaction() -> Iterator[None]:
        yield

    monkeypatch.setattr(db, "transaction", transaction)
    monkeypatch.setattr(callbacks, "heard", ledger.heard)
    monkeypatch.setattr(hearing, "PAUSE_SECONDS", 0.0)
    return ledger


async def together(ledger: Ledger, *calls: Awaitable[bool]) -> list[bool | BaseException]:
    """Make the first call, and the others while that one is being written."""
    ledger.leave.clear()
    first, *rest = calls
    tasks = [asyncio.ensure_future(first)]
    await asyncio.to_thread(ledger.entered.wait)
    tasks += map(asyncio.ensure_future, rest)
    await asyncio.sleep(0)
    ledger.leave.set()
    return await asyncio.gather(*tasks, return_exceptions=True)


def test_a_call_alone_is_taken_in_at_once_and_those_that_come_meanwhile_together(ledger: Ledger) -> None:
    async def story() -> list[bool | BaseException]:
        ears = Hearing()
        return await together(ledger, *(ears.heard(digest, "task") for digest in ("a", "b", "unknown", "c")))

    assert asyncio.run(story()) == [True, True, False, True]
    assert ledger.turns == [{"a": "task"}, {"b": "task", "unknown": "task", "c": "task"}]


def test_of_calls_with_one_token_the_first_counts_and_all_are_answered(ledger: Ledger) -> None:
    async def story() -> list[bool | BaseException]:
        ears = Hearing()
        return await together(ledger, ears.heard("a", "task"), ears.heard("b", "first"), ears.heard("b", "second"))

    assert asyncio.run(story()) == [True, True, True]
    assert ledger.turns == [{"a": "task"}, {"b": "first"}]


def test_a_call_that_could_not_be_taken_in_just_now_is_with_the_next_ones(ledger: Ledger) -> None:
    ledger.answer = lambda calls: {digest: digest != "b" or len(ledger.turns) > 2 for digest in calls}

    async def story() -> list[bool | BaseException]:
        ears = Hearing()
        return await together(ledger, ears.heard("a", "1"), ears.heard("b", "2"), ears.heard("c", "3"))

    assert asyncio.run(story()) == [True, True, True]
    assert ledger.turns == [{"a": "1"}, {"b": "2", "c": "3"}, {"b": "2"}]


def test_what_goes_wrong_is_told_to_those_whom_it_concerns_and_the_next_are_heard(ledger: Ledger) -> None:
    def answer(calls: Calls) -> dict[str, bool]:
        if "a" in calls:
            raise ConnectionError
        return dict.fromkeys(calls, True)

    ledger.answer = answer

    async def story() -> list[bool | BaseException]:
        ears = Hearing()
        return await together(ledger, ears.heard("a", "task"), ears.heard("b", "task"))

    failed, heard = asyncio.run(story())
    assert isinstance(failed, ConnectionError)
    assert heard is True


def test_a_request_that_is_broken_off_takes_no_other_with_it(ledger: Ledger) -> None:
    async def story() -> bool:
        ears = Hearing()
        ledger.leave.clear()
        gone, stays = (asyncio.ensure_future(ears.heard(digest, "task")) for digest in "ab")
        await asyncio.to_thread(ledger.entered.wait)
        gone.cancel()
        await asyncio.wait([gone])
        ledger.leave.set()
        return await stays

    assert asyncio.run(story())
    assert ledger.turns == [{"a": "task", "b": "task"}]
