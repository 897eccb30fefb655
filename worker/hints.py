"""Sends a conveyor's messages, on a thread of its own: a broker that hangs holds up nothing, and they go together."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import Final

from cleanplate import queue

PAUSE_SECONDS: Final = 0.05
"""What is wished for so soon after another is sent with the next."""

Send = Callable[[], object]


class Hints:
    """What is to be sent. What has not been when :meth:`lane` ends is sent by the sweep."""

    def __init__(self) -> None:
        self._wished: SimpleQueue[Send | None] = SimpleQueue()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="hints")

    def send(self, call: Send) -> None:
        """Let the lane make a call that sends a message, on its thread; any thread may wish."""
        self._wished.put(call)

    async def lane(self) -> None:
        """Send until cancelled. Raises what a call raises: a broker that is away is no error of a call's."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                await loop.run_in_executor(self._thread, self._send_next)
                await asyncio.sleep(PAUSE_SECONDS)
        finally:
            self._wished.put(None)
            self._thread.shutdown(wait=False)

    def _send_next(self) -> None:
        """Wait for a wish, and send all that are there by then."""
        first = self._wished.get()
        if first is None:
            return
        with queue.together():
            for call in (first, *self._waiting()):
                call()

    def _waiting(self) -> list[Send]:
        calls: list[Send] = []
        try:
            while (call := self._wished.get_nowait()) is not None:
                calls.append(call)
        except Empty:
            pass
        return calls
