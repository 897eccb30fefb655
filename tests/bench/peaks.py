"""What a call costs the processes that it goes through: peaks of memory, and the longest statement and transaction."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import psycopg

from tests import memory
from tests.journeys.harness import Stack

EVERY_SECONDS = 0.25
LONGEST = """
    SELECT coalesce(extract(epoch FROM max(now() - query_start) FILTER (WHERE state = 'active')), 0)::float8,
           coalesce(extract(epoch FROM max(now() - xact_start)), 0)::float8
    FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
"""


@contextmanager
def of(running: Stack) -> Iterator[dict[str, float]]:
    """Watch a stack while the block lasts and fill in what was seen: MB, and seconds as four looks a second see them.

    Of a PostgreSQL backend only what is its own counts: all of them map the same shared buffers.
    """
    found: dict[str, float] = {}
    seen = {"largest backend, MB": 0.0, "largest importer, MB": 0.0, "longest statement, s": 0.0}
    seen["longest transaction, s"] = 0.0
    over = threading.Event()

    def look() -> None:
        with psycopg.connect(running.running.environment["DATABASE_URL"], autocommit=True) as connection:
            while not over.wait(EVERY_SECONDS):
                statement, transaction = connection.execute(LONGEST).fetchone() or (0.0, 0.0)
                now = {
                    "largest backend, MB": _largest(running.pid("postgres"), "uss"),
                    "largest importer, MB": _largest(running.pid("importer"), "rss"),
                    "longest statement, s": statement,
                    "longest transaction, s": transaction,
                }
                seen.update({name: max(seen[name], value) for name, value in now.items()})

    watching = threading.Thread(target=look)
    with memory.watched(running.pid("api")) as api:
        watching.start()
        try:
            yield found
        finally:
            over.set()
            watching.join()
    found |= {"API before, MB": api.before / 1e6, "API at most, MB": api.most / 1e6, **seen}


def _largest(pid: int, what: str) -> float:
    return max((_memory(process, what) for process in psutil.Process(pid).children()), default=0.0) / 1e6


def _memory(process: psutil.Process, what: str) -> float:
    try:
        told: Any = process.memory_full_info() if what == "uss" else process.memory_info()
    except psutil.Error:  # it has just ended
        return 0.0
    return float(getattr(told, what))
