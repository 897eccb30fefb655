"""What a supervisor runs, and one such service through its restarts."""

import math
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from cleanplate.local import processes
from cleanplate.local.errors import ServiceFailedError
from cleanplate.local.logs import Log

BACKOFF_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Pauses before the first, second ... restart in a row; the last one is kept."""

STEADY_SECONDS = 30.0
"""A service that lived so long begins with the shortest pause again."""


@dataclass(frozen=True)
class Service:
    """A command to keep running.

    ``env`` is its whole environment. ``ready`` tells whether it answers yet (None: as soon as it runs).
    ``stop_signal`` asks it to drain; after ``stop_timeout_seconds`` its process group is killed. One with a ``nice``
    above 0 gives way to the others on a busy machine.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    ready: Callable[[], bool] | None = None
    ready_timeout_seconds: float = 120.0
    stop_signal: signal.Signals = signal.SIGTERM
    stop_timeout_seconds: float = 10.0
    cwd: Path = Path("/")
    nice: int = 0


class Server(NamedTuple):
    """A service that others reach by a URL, which may hold a password."""

    service: Service
    url: str


class Child:
    """The process of a service. ``tend`` is for one thread only, ``is_ready`` for another."""

    def __init__(self, service: Service, log_dir: Path, say: Callable[[str], None]) -> None:
        self.service = service
        self.log = Log(log_dir, service.name)
        self.process: processes.Process | None = None
        self._popen: subprocess.Popen[bytes] | None = None
        self._say = say
        self._ready = False
        self._deadline = time.monotonic() + service.ready_timeout_seconds
        self._failure: str | None = None
        self._started = 0.0
        self._due = 0.0
        self._deaths = 0

    def tend(self) -> bool:
        """Start the process when it is due, notice when it has ended; tell whether one was started."""
        if self._popen is None:
            return time.monotonic() >= self._due and self._spawn()
        status = self._popen.poll()
        if status is not None:
            processes.kill_group(self._popen.pid)
            self._popen = self.process = None
            self._ended(f"ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}")
        return False

    def is_ready(self) -> bool:
        """Tell whether the service answers. Raises ``ServiceFailedError`` when it ended first, or is late."""
        if self._failure:
            raise ServiceFailedError(self.service.name, self._failure, self.log.path, self.log.tail())
        if self.process and not self._ready and self.service.ready:
            self._ready = self.service.ready()
            if not self._ready and time.monotonic() > self._deadline:
                late = f"was not ready within {self.service.ready_timeout_seconds:g} s"
                raise ServiceFailedError(self.service.name, late, self.log.path, self.log.tail())
        return self._ready

    def reap(self) -> None:
        """End what is left of the process's group and collect its exit status."""
        if self._popen:
            processes.kill_group(self._popen.pid)
            self._popen.wait()

    def _spawn(self) -> bool:
        service = self.service
        self._started = time.monotonic()
        try:
            with self.log.open() as log:
                self._popen = subprocess.Popen(  # noqa: S603  every service is one of ours
                    service.argv,
                    env=service.env,
                    cwd=service.cwd,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError as error:
            self._ended(f"cannot be started: {error}")
            return False
        pid = self._popen.pid
        self.process = processes.Process(
            service.name, pid, processes.identity(pid) or "", service.stop_signal, service.stop_timeout_seconds
        )
        if service.nice:
            processes.give_way(pid, service.nice)
        self._ready = self._ready or service.ready is None
        return True

    def _ended(self, reason: str) -> None:
        if not self._ready:
            self._failure, self._due = reason, math.inf
            return
        lived = time.monotonic() - self._started
        self._deaths = 1 if lived >= STEADY_SECONDS else self._deaths + 1
        pause = BACKOFF_SECONDS[min(self._deaths, len(BACKOFF_SECONDS)) - 1]
        self._due = time.monotonic() + pause
        self._say(f"{self.service.name} {reason}; starting it again in {pause:g} s (log: {self.log.path})")
