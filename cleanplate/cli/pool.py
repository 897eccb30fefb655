"""Threads for calls that wait on the network."""

import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")
Done = SimpleQueue[Callable[[], None]]


class Pool:
    """A few threads that hand what they did to one queue, where the main thread calls it.

    They are daemons, unlike those of ``concurrent.futures``: after an interrupt nobody waits for an answer on its way.
    """

    def __init__(self, threads: int, done: Done) -> None:
        self._work: SimpleQueue[Callable[[], Callable[[], None]]] = SimpleQueue()
        self._done = done
        self.left = 0
        for _ in range(threads):
            threading.Thread(target=self._serve, daemon=True).start()

    def submit(self, work: Callable[[], T], then: Callable[[T], None]) -> None:
        """Do ``work`` in a thread, then ``then`` with its result in the main one, where its exception is raised too.

        ``left`` counts what was submitted and has not been through ``then``.
        """
        self.left += 1

        def settle(result: T) -> None:
            self.left -= 1
            then(result)

        self._work.put(lambda: partial(settle, work()))

    def _serve(self) -> None:
        while True:
            work = self._work.get()
            try:
                self._done.put(work())
            except BaseException as error:  # noqa: BLE001  raised again where the main thread picks it up
                self._done.put(partial(_raise, error))


def _raise(error: BaseException) -> None:
    raise error
