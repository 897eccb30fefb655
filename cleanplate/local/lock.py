"""One stack for one data directory."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cleanplate.local import processes
from cleanplate.local.errors import AlreadyRunningError, StackError

INHERITED_SECONDS = 120.0
"""How long the leash of a killed stack may take to end what was left behind; it holds the lock meanwhile."""


@contextmanager
def hold(data_dir: Path) -> Iterator[int]:
    """Hold the lock of a data directory; yields its descriptor, for a process that shall hold it too.

    Raises ``AlreadyRunningError`` when a living process has it.
    """
    with (data_dir / "lock").open("a+", encoding="utf-8") as file:
        _acquire(file.fileno(), data_dir)
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield file.fileno()


def _acquire(descriptor: int, data_dir: Path) -> None:
    deadline = time.monotonic() + INHERITED_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = int(os.pread(descriptor, 32, 0) or b"0")
            if pid and processes.identity(pid):
                raise AlreadyRunningError(data_dir, pid) from None
            if time.monotonic() > deadline:
                raise StackError(f"what a killed cleanplate left behind in {data_dir} does not end") from None
            time.sleep(0.05)
        else:
            return
