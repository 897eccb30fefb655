"""A worker that falls into traps: it kills itself with SIGKILL in a window that a test has chosen.

``python -m tests.journeys.sabotage TRAPS CLOCK_SECONDS worker ...`` is ``celery worker ...`` with a few functions
wrapped, so production code knows nothing of it. A trap is an empty file in the directory TRAPS, named by its window;
whoever passes first renames it to ``WINDOW.PID`` and dies on the spot. The windows are ``before-STATE`` and
``after-STATE`` of the commit that brings a job to that state, ``downloaded`` and ``put`` of the finalizer, and those of
the notifier: ``before-try`` and ``after-try`` of the commit that counts a try, ``posted``, and ``before-told`` of the
commit that writes what came of it. A file ``poison-CUSTOM_ID`` stays, and kills whoever stores the result of that job.
All the while the wall clock of the process is wrong by CLOCK_SECONDS.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

FINALIZER = ("downloaded", "put")
CONVEYOR = tuple(
    f"{side}-{state}" for state in ("claimed", "sending", "inflight", "ready") for side in ("before", "after")
)
NOTIFIER = ("before-try", "after-try", "posted", "before-told")
STORING = (*FINALIZER, "before-succeeded", "after-succeeded")


def role(window: str) -> str:
    """Return which worker dies in this window."""
    return "finalizer" if window in STORING else "notifier" if window in NOTIFIER else "conveyor"


def main() -> None:
    traps, clock_seconds = Path(sys.argv[1]), float(sys.argv[2])
    sys.argv[1:3] = []
    _shift_clock(clock_seconds)  # before anybody keeps a time.time of its own
    Traps(traps).set()
    from celery.__main__ import main as celery

    celery()


def _shift_clock(seconds: float) -> None:
    real = time.time
    time.time = lambda: real() + seconds


class Traps:
    """The traps in a directory, and the functions that are wrapped to fall into them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def set(self) -> None:
        """Wrap all of them."""
        from cleanplate.storage.directory import DirectoryStore
        from worker import finalize, notifier

        self._wrap_moves()
        self._wrap_tries()
        finalize.store_result = self._poisoned(finalize.store_result)
        finalize.download = self._then(finalize.download, "downloaded")
        notifier.deliver = self._then(notifier.deliver, "posted")
        DirectoryStore.put = self._then(DirectoryStore.put, "put")

    def _passing(self, window: str) -> None:
        with suppress(FileNotFoundError):
            (self._directory / window).rename(self._directory / f"{window}.{os.getpid()}")
            _die()

    def _around(self, tx: Any, before: str, after: str | None = None) -> None:
        """Let the commit of a transaction pass these windows."""
        from sqlalchemy import event

        event.listen(tx, "before_commit", lambda _: self._passing(before))
        if after:
            event.listen(tx, "after_commit", lambda _: self._passing(after))

    def _then(self, call: Callable[..., Any], window: str) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            result = call(*args, **kwargs)
            self._passing(window)
            return result

        return wrapped

    def _poisoned(self, store_result: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(store: Any, client: Any, job: Any, hosts: Any) -> Any:
            if (self._directory / f"poison-{job.custom_id}").exists():
                _die()
            return store_result(store, client, job, hosts)

        return wrapped

    def _wrap_moves(self) -> None:
        from cleanplate import jobs

        really = jobs._follow_up

        def follow_up(tx: Any, moved: Any) -> None:
            really(tx, moved)
            for state in {now.state for now in moved.values()}:
                self._around(tx, f"before-{state}", f"after-{state}")

        jobs._follow_up = follow_up

    def _wrap_tries(self) -> None:
        from worker import deliveries

        begin_really, settle_really = deliveries.begin, deliveries.settle

        def begin(tx: Any, allotted: Any) -> Any:
            letters = begin_really(tx, allotted)
            if letters:
                self._around(tx, "before-try", "after-try")
            return letters

        def settle(tx: Any, tried: Any) -> None:
            settle_really(tx, tried)
            if tried:
                self._around(tx, "before-told")

        deliveries.begin, deliveries.settle = begin, settle


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
