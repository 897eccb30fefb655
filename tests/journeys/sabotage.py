"""A worker that falls into traps: it kills itself with SIGKILL in a window that a test has chosen.

``python -m tests.journeys.sabotage TRAPS CLOCK_SECONDS worker ...`` is ``celery worker ...`` with a few functions
wrapped, so production code knows nothing of it. A trap is an empty file in the directory TRAPS, named by its window;
whoever passes first renames it to ``WINDOW.PID`` and dies on the spot. The windows are ``before-STATE`` and
``after-STATE`` of the commit that brings a job to that state, and ``downloaded`` and ``put`` of the finalizer. A file
``poison-CUSTOM_ID`` stays, and kills whoever stores the result of that job. All the while the wall clock of the process
is wrong by CLOCK_SECONDS.
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
STORING = (*FINALIZER, "before-succeeded", "after-succeeded")


def main() -> None:
    traps, clock_seconds = Path(sys.argv[1]), float(sys.argv[2])
    sys.argv[1:3] = []
    _shift_clock(clock_seconds)  # before anybody keeps a time.time of its own
    _set_traps(traps)
    from celery.__main__ import main as celery

    celery()


def _shift_clock(seconds: float) -> None:
    real = time.time
    time.time = lambda: real() + seconds


def _set_traps(traps: Path) -> None:
    from sqlalchemy import event

    from cleanplate import jobs
    from cleanplate.storage.directory import DirectoryStore
    from worker import finalize

    def passing(window: str) -> None:
        with suppress(FileNotFoundError):
            (traps / window).rename(traps / f"{window}.{os.getpid()}")
            _die()

    def then(call: Callable[..., Any], window: str) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            result = call(*args, **kwargs)
            passing(window)
            return result

        return wrapped

    def apply(tx: Any, changes: Any, **kwargs: Any) -> set[str]:
        wishes = list(changes)
        moved: set[str] = real_apply(tx, wishes, **kwargs)
        for state in {change.target for change in wishes if change.job_id in moved}:
            event.listen(tx, "before_commit", lambda _, state=state: passing(f"before-{state}"))
            event.listen(tx, "after_commit", lambda _, state=state: passing(f"after-{state}"))
        return moved

    def store_result(store: Any, client: Any, job: Any, hosts: Any) -> Any:
        if (traps / f"poison-{job.custom_id}").exists():
            _die()
        return real_store_result(store, client, job, hosts)

    real_apply, jobs.apply = jobs.apply, apply
    real_store_result, finalize.store_result = finalize.store_result, store_result
    finalize.download = then(finalize.download, "downloaded")
    DirectoryStore.put = then(DirectoryStore.put, "put")


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
