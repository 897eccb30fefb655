"""Real PostgreSQL and Redis processes for tests, and fresh databases on them."""

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql
from sqlalchemy import make_url

from cleanplate.local import postgres, redis
from cleanplate.local.supervisor import Supervisor


@contextmanager
def running_postgres(directory: Path) -> Iterator[str]:
    """Run a PostgreSQL that flushes nothing to the disk; yields its superuser's URL."""
    with Supervisor(directory) as supervisor:
        server = postgres.server(directory, durable=False)
        supervisor.start(server.service)
        yield server.url


@contextmanager
def running_redis(directory: Path) -> Iterator[str]:
    """Run a Redis; yields its URL."""
    with Supervisor(directory) as supervisor:
        server = redis.server(directory)
        supervisor.start(server.service)
        yield server.url


@contextmanager
def fresh_database(admin_url: str, template: str = "template1") -> Iterator[str]:
    """Create a database of its own, by ``template``, to which nobody may be connected; dropped at the end."""
    name = f"test_{secrets.token_hex(8)}"
    with psycopg.connect(admin_url, autocommit=True) as admin:
        create = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        admin.execute(create.format(sql.Identifier(name), sql.Identifier(template)))
    try:
        yield make_url(admin_url).set(database=name).render_as_string(hide_password=False)
    finally:
        with psycopg.connect(admin_url, autocommit=True) as admin:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def wait_until(holds: Callable[[], object], seconds: float = 180.0) -> None:
    """Return as soon as ``holds()`` is true; fail after ``seconds``, which no machine needs where all is well."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)
