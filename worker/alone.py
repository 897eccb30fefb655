"""One worker at a time at a job: the database sees to it, and knows at once when a worker has died."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import text

from cleanplate import db

MOST_SECONDS: Final = 150
ALONE: Final = text("""
    SELECT pg_try_advisory_xact_lock(hashtextextended(:name, 0))
    FROM set_config('idle_in_transaction_session_timeout', :most, true)
""")


@contextmanager
def alone(task: str, job_id: str) -> Iterator[bool]:
    """Yield whether nobody else is at this task of the job; for no longer than ``MOST_SECONDS``."""
    with db.engine().begin() as connection:
        yield bool(connection.scalar(ALONE, {"name": f"cleanplate.{task}.{job_id}", "most": f"{MOST_SECONDS}s"}))
