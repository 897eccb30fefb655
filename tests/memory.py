"""How much memory another process takes while something happens."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

EVERY_SECONDS = 0.02


@dataclass
class Memory:
    """Resident bytes: before, and at most so far."""

    before: int
    most: int


@contextmanager
def watched(pid: int) -> Iterator[Memory]:
    """Watch a process while the block lasts."""
    process, over = psutil.Process(pid), threading.Event()
    resident = process.memory_info().rss
    memory = Memory(resident, resident)

    def look() -> None:
        while not over.wait(EVERY_SECONDS):
            memory.most = max(memory.most, process.memory_info().rss)

    watching = threading.Thread(target=look)
    watching.start()
    try:
        yield memory
    finally:
        over.set()
        watching.join()
