"""Starts services stage by stage, keeps them running, and ends them all, whatever happens to itself."""

import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from subprocess import Popen
from types import TracebackType
from typing import Self

from cleanplate.local import leash, lock, processes
from cleanplate.local.files import private_dir
from cleanplate.local.service import Child, Service

TICK_SECONDS = 0.05


def to_stderr(message: str) -> None:
    with suppress(OSError):
        sys.stderr.write(f"cleanplate: {message}\n")
        sys.stderr.flush()


class Supervisor:
    """The services of one data directory, as a context manager.

    Entering takes the directory's lock (``AlreadyRunningError``) and ends what a killed predecessor left. Leaving stops
    every service in reverse order; a KeyboardInterrupt meanwhile kills what is left. Logs are in ``logs/``, one file
    a service.
    """

    def __init__(self, data_dir: Path, say: Callable[[str], None] = to_stderr) -> None:
        self.data_dir = data_dir.absolute()
        self._say = say
        self._stages: list[list[Child]] = []
        self._held = ExitStack()
        self._lock = -1
        self._leash: Popen[bytes] | None = None
        self._changed = threading.Event()
        self._halt = threading.Event()
        # Only this thread starts processes: an interrupt, which only the main thread gets, never parts a start from
        # its record.
        self._watcher = threading.Thread(target=self._watch, name="supervisor")

    def __enter__(self) -> Self:
        private_dir(self.data_dir)
        private_dir(self.data_dir / "logs")
        self._lock = self._held.enter_context(lock.hold(self.data_dir))
        processes.end_leftovers(self.data_dir)
        self._watcher.start()
        return self

    def start(self, *services: Service) -> None:
        """Start services together and return when all are ready.

        Raises ``ServiceFailedError`` as soon as one of them ends first, or when it is not ready in its time.
        """
        stage = [Child(service, self.data_dir / "logs", self._say) for service in services]
        self._stages.append(stage)
        self._changed.set()
        while [child for child in stage if not child.is_ready()]:
            time.sleep(processes.POLL_SECONDS)

    def pid(self, name: str) -> int | None:
        """Return the number of a service's process; None while it is not running."""
        return next((process.pid for stage in self._processes() for process in stage if process.name == name), None)

    def output(self, name: str) -> str:
        """Return what a service has written since its last start."""
        return next(child.log.since_start() for child in self._children() if child.service.name == name)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._halt.set()
            self._changed.set()
            self._watcher.join()
            processes.end(self._processes())
        except KeyboardInterrupt:
            self._watcher.join()
            processes.kill(self._processes())
        for child in self._children():
            child.reap()
        processes.forget(self.data_dir)
        if self._leash:
            self._leash.communicate()
        self._held.close()

    def _watch(self) -> None:
        while not self._halt.is_set():
            self._changed.clear()
            try:
                self._tend()
            except OSError as error:
                self._say(f"{self.data_dir} is in trouble: {error}")
            self._changed.wait(TICK_SECONDS)

    def _tend(self) -> None:
        if self._leash and self._leash.poll() is not None:
            self._leash.communicate()
            self._leash = None
        if self._leash is None:
            self._leash = leash.fasten(self.data_dir, self._lock)
        for child in self._children():
            if child.tend():
                processes.remember(self.data_dir, self._processes())

    def _children(self) -> list[Child]:
        return [child for stage in list(self._stages) for child in stage]

    def _processes(self) -> list[list[processes.Process]]:
        return [[process for child in stage if (process := child.process)] for stage in list(self._stages)]
