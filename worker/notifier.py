"""The notifier: makes the tries that are due, hundreds at once, and none waits for a receiver that hangs.

One thread does all that concerns the rows, in turns of one transaction each: it writes what tries came to, looks what
is due, and begins as much of it as there are seats for (:mod:`worker.lanes`). Each try has a thread of its own for as
long as it lasts. A message only rings the bell: whatever is lost, the next turn finds. What others were trying when
they were killed is due at once when nobody else is left (:mod:`worker.company`).
"""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import Final

from cleanplate import db
from cleanplate.outcomes import Undelivered
from worker import deliveries
from worker.company import Company
from worker.deliveries import Tried
from worker.lanes import SEATS, Lanes
from worker.notify import Letter, deliver

log = logging.getLogger(__name__)

IDLE_SECONDS: Final = 0.5
AWAY_SECONDS: Final = 0.5
RESTS: Final = 3
"""For so many times as long as the last look took nothing is looked for: the database has other work, too."""
GATHER_SECONDS: Final = 0.05
"""What comes within it has one turn together: a turn of ten takes little more CPU than one of one."""
DRAIN_SECONDS: Final = 25.0

bell: Final = threading.Event()


def notify(_delivery_id: str) -> None:
    """Say that there is something to deliver."""
    bell.set()


class Notifier(threading.Thread):
    """The thread that takes turns, until :meth:`end`. What it cannot write while the database is away it keeps."""

    def __init__(self, on_death: Callable[[BaseException], None]) -> None:
        super().__init__(name="notifier", daemon=True)
        self._on_death = on_death
        self._lanes = Lanes()
        self._company = Company()
        self._threads = ThreadPoolExecutor(SEATS, thread_name_prefix="webhook")
        self._ended: SimpleQueue[Tried] = SimpleQueue()
        self._unwritten: list[Tried] = []
        self._until: float | None = None
        self._ending = threading.Event()
        self._looked_seconds = 0.0

    def end(self) -> None:
        """Begin nothing new, wait for the tries under way, and write what they came to."""
        self._until = time.monotonic() + DRAIN_SECONDS
        self._ending.set()
        bell.set()
        self.join()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def run(self) -> None:
        """Take turns until ended."""
        try:
            self._take_turns()
        finally:
            self._company.leave()

    def _take_turns(self) -> None:
        while not self._is_over():
            bell.wait(IDLE_SECONDS)
            bell.clear()
            try:
                self._turn()
            except db.AWAY as error:
                log.warning("the database is away (%s); trying again", db.words(error))
                self._company.leave()
                self._ending.wait(AWAY_SECONDS)
            except BaseException as error:
                self._on_death(error)
                raise
            self._ending.wait(max(GATHER_SECONDS, min(RESTS * self._looked_seconds, IDLE_SECONDS)))

    def _is_over(self) -> bool:
        if self._until is None:
            return False
        return not (self._lanes.taken or self._unwritten) or time.monotonic() > self._until

    def _turn(self) -> None:
        self._take_back()
        left_alone = self._company.left_alone()
        with db.transaction() as tx:
            deliveries.settle(tx, self._unwritten)
            if left_alone:
                deliveries.inherit(tx, self._lanes.tries)
            began = time.monotonic()
            waiting = [] if self._until else deliveries.due(tx)
            self._looked_seconds = time.monotonic() - began
            letters = deliveries.begin(tx, self._lanes.allot(waiting, time.monotonic()))
        self._unwritten.clear()
        for letter in letters:
            self._lanes.take(letter.endpoint_id, letter.tenant_id, letter.key, time.monotonic())
            self._threads.submit(self._try, letter)

    def _take_back(self) -> None:
        """Take the tries that have ended, and their seats."""
        while True:
            try:
                tried = self._ended.get_nowait()
            except Empty:
                return
            letter, failed = tried.letter, isinstance(tried.outcome, Undelivered)
            self._lanes.leave(letter.endpoint_id, letter.key, time.monotonic(), failed=failed)
            self._unwritten.append(tried)

    def _try(self, letter: Letter) -> None:
        began = time.monotonic()
        outcome = deliver(letter)
        self._ended.put(Tried(letter, outcome, time.monotonic() - began))
        bell.set()
