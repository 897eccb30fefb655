"""A semaphore that is fair: of those who wait, whoever came first is next.

The one of ``threading`` is not. A thread that lets go and comes again at once, as one does that works through a batch,
mostly finds its place still free before those who were woken have seen it, and a single job waits until the batch ends.
"""

from collections import deque
from threading import Lock


class Turns:
    """Room for so many at once, as a context manager; any number of threads may enter."""

    def __init__(self, at_once: int) -> None:
        self._free = at_once
        self._lock = Lock()
        self._waiting: deque[Lock] = deque()

    def __enter__(self) -> None:
        with self._lock:
            if self._free:
                self._free -= 1
                return
            called = Lock()
            called.acquire()
            self._waiting.append(called)
        try:
            called.acquire()
        except BaseException:
            self._leave(called)
            raise

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._next()

    def _leave(self, called: Lock) -> None:
        """Wait no more: who was called in that very moment hands the place on."""
        with self._lock:
            if called in self._waiting:
                self._waiting.remove(called)
            else:
                self._next()

    def _next(self) -> None:
        if self._waiting:
            self._waiting.popleft().release()
        else:
            self._free += 1
