"""What a conveyor writes: many wishes in one turn, and a line for slots."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import pytest

from cleanplate.db import Transaction
from cleanplate.jobs import Change
from cleanplate.states import State
from worker import writer
from worker.capacity import Seat, Turn
from worker.writer import Effect, Writer

SEAT = Seat("studio", 1)


class Books:
    """Takes turns: grants what it is told to, and seats whom it is told to."""

    def __init__(self) -> None:
        self.turns: list[tuple[list[str], list[Effect], list[str]]] = []
        self.refused: set[str] = set()
        self.free: set[str] = set()
        self.gone: set[str] = set()
        self.turned = asyncio.Semaphore(0)
        self.commits = asyncio.Event()
        self.commits.set()

    async def take(self, changes: list[Change], effects: list[Effect], line: Mapping[str, str | None]) -> Turn:
        self.turns.append(([change.job_id for change in changes], effects, list(line)))
        self.turned.release()
        await self.commits.wait()
        wished = {change.job_id for change in changes}
        return Turn(wished - self.refused, dict.fromkeys(self.free & set(line), SEAT), self.gone & set(line))


def run(story: Callable[[Books, Writer], Awaitable[None]]) -> Books:
    async def main() -> None:
        made = Writer(books.take)
        lane = asyncio.create_task(made.lane())
        async with asyncio.timeout(60):
            await story(books, made)
        lane.cancel()

    books = Books()
    asyncio.run(main())
    return books


def change(job_id: str, target: State = State.READY) -> Change:
    return Change(job_id, frozenset({State.INFLIGHT}), target, "because")


def effect(_: Transaction) -> None:
    """Be something to be done."""


def test_wishes_that_come_together_are_one_turn_and_each_hears_its_own_end() -> None:
    async def story(books: Books, made: Writer) -> None:
        books.refused = {"b"}
        assert await asyncio.gather(*(made.write(change(job_id)) for job_id in "abc")) == [True, False, True]

    assert [wished for wished, _, _ in run(story).turns] == [["a", "b", "c"]]


def test_two_wishes_for_one_job_are_two_turns_in_their_order() -> None:
    async def story(_: Books, made: Writer) -> None:
        await asyncio.gather(*(made.write(change(job_id)) for job_id in ("a", "b", "a")))

    assert [wished for wished, _, _ in run(story).turns] == [["a", "b"], ["a"]]


def test_the_same_effect_happens_once_a_turn() -> None:
    async def story(_: Books, made: Writer) -> None:
        await asyncio.gather(*(made.write(change(job_id), effect) for job_id in "ab"), made.write(change("c")))

    assert [effects for _, effects, _ in run(story).turns] == [[effect]]


def test_a_slot_is_waited_for_and_given_in_the_turn_that_frees_it() -> None:
    async def story(books: Books, made: Writer) -> None:
        waiting = asyncio.create_task(made.slot("next", 1))
        await books.turned.acquire()
        assert made.waiting == 1
        books.free = {"next"}
        assert await made.write(change("done"))
        assert await waiting == SEAT
        assert made.waiting == 0

    assert run(story).turns == [([], [], ["next"]), (["done"], [], ["next"])]


def test_the_line_is_in_the_order_of_turns_and_not_of_coming() -> None:
    async def story(books: Books, made: Writer) -> None:
        waiting = [asyncio.create_task(made.slot(job_id, tag)) for job_id, tag in (("late", 3), ("next", 1))]
        await books.turned.acquire()
        waiting.append(asyncio.create_task(made.slot("between", 2)))
        await books.turned.acquire()
        for one in waiting:
            one.cancel()

    assert [line for _, _, line in run(story).turns] == [["next", "late"], ["next", "between", "late"]]


def test_a_change_that_frees_no_slot_asks_for_none() -> None:
    async def story(books: Books, made: Writer) -> None:
        waiting = asyncio.create_task(made.slot("next", 1))
        await books.turned.acquire()
        await made.write(change("sent", State.INFLIGHT))
        waiting.cancel()

    assert run(story).turns[-1] == (["sent"], [], [])


def test_slots_that_others_free_are_noticed_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "LOOK_AGAIN_SECONDS", 0.01)

    async def story(books: Books, made: Writer) -> None:
        waiting = asyncio.create_task(made.slot("next", 1))
        await books.turned.acquire()
        await books.turned.acquire()
        books.free = {"next"}
        assert await waiting == SEAT

    run(story)


def test_a_job_that_is_no_longer_ours_leaves_the_line() -> None:
    async def story(books: Books, made: Writer) -> None:
        books.gone = {"lost"}
        assert await made.slot("lost", 1) is None

    run(story)


def test_a_slot_that_was_kept_for_those_who_are_gone_is_asked_for_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "LOOK_AGAIN_SECONDS", 3600.0)

    async def story(books: Books, made: Writer) -> None:
        books.gone = {"lost"}
        lost, waiting = [asyncio.create_task(made.slot(name, tag)) for tag, name in enumerate(["lost", "next"])]
        assert not await lost
        await books.turned.acquire()
        await books.turned.acquire()
        waiting.cancel()

    assert [line for _, _, line in run(story).turns] == [["lost", "next"], ["next"]]


def test_who_comes_back_to_the_line_takes_the_place_of_who_waited_for_the_same_job() -> None:
    async def story(books: Books, made: Writer) -> None:
        before = asyncio.create_task(made.slot("job", 1))
        await books.turned.acquire()
        again = asyncio.create_task(made.slot("job", 1))
        assert not await before
        books.free = {"job"}
        made.look()
        assert await again == SEAT

    run(story)


def test_who_has_a_slot_already_is_told_so() -> None:
    async def story(books: Books, made: Writer) -> None:
        waiting = asyncio.create_task(made.slot("job", 1))
        await books.turned.acquire()
        made.seat(made.line(), {"job": SEAT})
        assert await waiting == SEAT

    run(story)


def test_who_was_refused_and_has_come_back_to_the_line_is_not_taken_for_who_stood_there_before() -> None:
    async def story(books: Books, made: Writer) -> None:
        before = asyncio.create_task(made.slot("job", 0))
        await books.turned.acquire()
        seen = made.line()
        again = asyncio.create_task(made.slot("job", 0))
        assert not await before
        made.seat(seen, {"job": SEAT})
        await books.turned.acquire()
        assert not again.done(), "it would be sent without a slot and without a row in the ledger"
        again.cancel()

    run(story)


def test_when_the_line_closes_nobody_gets_a_slot_any_more() -> None:
    async def story(books: Books, made: Writer) -> None:
        books.free = {"late"}
        waiting = asyncio.create_task(made.slot("waits", 1))
        await books.turned.acquire()
        made.close_line()
        assert await waiting is None
        assert await made.slot("late", 1) is None

    run(story)


def test_who_gets_a_slot_in_the_very_turn_in_which_the_line_closes_hears_of_it() -> None:
    async def story(books: Books, made: Writer) -> None:
        books.free = {"seated"}
        books.commits.clear()
        seated, waiting = (asyncio.create_task(made.slot(job_id, 1)) for job_id in ("seated", "waits"))
        await books.turned.acquire()
        made.close_line()
        books.commits.set()
        assert await seated == SEAT
        assert await waiting is None

    run(story)
