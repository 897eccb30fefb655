"""How much memory another process takes while something happens."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

EVERY_SECONDS = 0.02
FORGET_THE_PEAK = "5"
"""What proc(5) takes in ``clear_refs`` for it."""


@dataclass
class Memory:
    """Resident bytes: before, and at most so far."""

    before: int
    most: int


@contextmanager
def watched(pid: int) -> Iterator[Memory]:
    """Watch a process while the block lasts. Linux keeps the peak itself; elsewhere it is looked for all the while."""
    process, over = psutil.Process(pid), threading.Event()
    resident = process.memory_info().rss
    memory = Memory(resident, resident)

    def look() -> None:
        while not over.wait(EVERY_SECONDS):
            memory.most = max(memory.most, process.memory_info().rss)

    kept = sys.platform == "linux" and _forget_peak(pid)
    watching = threading.Thread(target=look)
    watching.start()
    try:
        yield memory
    finally:
        over.set()
        watching.join()
        if kept:
            memory.most = max(memory.most, _peak(pid))


def _forget_peak(pid: int) -> bool:
    try:
        Path(f"/proc/{pid}/clear_refs").write_text(FORGET_THE_PEAK)
    except OSError:  # a container may not let it
        return False
    return True


def _peak(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    (kilobytes,) = (line.split()[1] for line in status if line.startswith("VmHWM:"))
    return int(kilobytes) << 10
