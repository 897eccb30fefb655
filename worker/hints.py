"""Sends a conveyor's messages, on a thread of its own: a broker that hangs holds up nothing, and they go together."""

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Final

from cleanplate import queue

PAUSE_SECONDS: Final = 0.05
"""What is wished for so soon after another is sent with the next."""

Send = Callable[[], object]


class Hints(threading.Thread):
    """The thread. What has not been sent when it ends is sent by the sweep."""

    def __init__(self) -> None:
        super().__init__(name="hints", daemon=True)
        self._wished: SimpleQueue[Send | None] = SimpleQueue()
        self._ending = threading.Event()

    def send(self, call: Send) -> None:
        """Let the thread make a call that sends a message; it must not raise."""
        self._wished.put(call)

    def end(self) -> None:
        """Stop after what is being sent."""
        self._ending.set()
        self._wished.put(None)

    def run(self) -> None:
        """Send until ended."""
        while not self._ending.is_set() and (first := self._wished.get()) is not None:
            with queue.together():
                for call in (first, *self._waiting()):
                    call()
            self._ending.wait(PAUSE_SECONDS)

    def _waiting(self) -> list[Send]:
        calls: list[Send] = []
        try:
            while (call := self._wished.get_nowait()) is not None:
                calls.append(call)
        except Empty:
            pass
        return calls
