"""Turns: never more at once than there is room for, and first come, first served."""

import threading
from collections.abc import Callable
from functools import partial

import pytest

from api.turns import Turns
from tests.servers import wait_until


def test_there_are_never_more_inside_than_there_is_room_for() -> None:
    turns, lock = Turns(3), threading.Lock()
    inside = most = 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(200):
            with turns:
                with lock:
                    inside += 1
                    most = max(most, inside)
                with lock:
                    inside -= 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 <= most <= 3
    assert turns._free == 3


def test_who_comes_again_at_once_stands_behind_those_who_wait() -> None:
    turns, order = Turns(1), []

    def enter(name: str) -> None:
        with turns:
            order.append(name)

    threads = []
    with turns:
        for number, name in enumerate(("first", "second", "third"), 1):
            threads.append(threading.Thread(target=enter, args=(name,)))
            threads[-1].start()
            wait_until(lambda number=number: len(turns._waiting) == number)
    enter("again")
    for thread in threads:
        thread.join()
    assert order == ["first", "second", "third", "again"]


class Interrupted:
    """A lock at which whoever waits is interrupted, perhaps after another has let go."""

    def __init__(self, before: Callable[[], None]) -> None:
        self._before = before
        self._is_mine = False

    def acquire(self) -> None:
        if self._is_mine:
            self._before()
            raise KeyboardInterrupt
        self._is_mine = True

    def release(self) -> None: ...


@pytest.mark.parametrize("is_called", [False, True])
def test_who_is_interrupted_while_waiting_takes_no_place_along(
    monkeypatch: pytest.MonkeyPatch, *, is_called: bool
) -> None:
    turns = Turns(1)
    turns.__enter__()
    leave = partial(turns.__exit__, None, None, None)
    monkeypatch.setattr("api.turns.Lock", lambda: Interrupted(leave if is_called else lambda: None))
    with pytest.raises(KeyboardInterrupt), turns:
        pass
    if not is_called:
        leave()
    assert (turns._free, list(turns._waiting)) == (1, [])
