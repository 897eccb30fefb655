"""Who is dead: a worker whose lease has ended, or sooner one whose session has ended and that keeps silent."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from sqlalchemy import func, select

from cleanplate import db
from cleanplate.models import Worker
from tests import rows
from worker.session import LOCK, end_leases

pytestmark = pytest.mark.usefixtures("database")

LEFT_SECONDS = 600.0


@contextmanager
def session(worker: str) -> Iterator[None]:
    url = db.engine().url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock_shared(hashtext(%s))", [LOCK + worker])
        yield


def alive(lease_seconds: float, asks: str = "another") -> bool:
    """Whether a worker whose lease has so long to go has one still after ``asks`` has looked."""
    with db.transaction() as tx:
        rows.worker(tx, lease_seconds=lease_seconds)
        end_leases(tx, asks, LEFT_SECONDS)
    with db.transaction() as tx:
        return bool(tx.scalar(select(Worker.expires_at > func.now())))


def test_a_silent_worker_whose_session_has_ended_is_dead_before_its_lease_ends() -> None:
    assert not alive(LEFT_SECONDS - 60.0)


def test_a_silent_worker_that_has_its_session_is_given_its_whole_lease() -> None:
    with session(rows.WORKER):
        assert alive(LEFT_SECONDS - 60.0)


def test_a_worker_whose_session_was_cut_and_that_renews_its_lease_lives() -> None:
    assert alive(LEFT_SECONDS + 60.0)


def test_a_worker_does_not_end_its_own_lease() -> None:
    assert alive(LEFT_SECONDS - 60.0, asks=rows.WORKER)


def test_looking_keeps_nobody_from_beginning_a_session() -> None:
    with db.transaction() as tx:
        rows.worker(tx, lease_seconds=LEFT_SECONDS - 60.0)
        end_leases(tx, "another", LEFT_SECONDS)
    with session(rows.WORKER), session(rows.WORKER):
        pass
