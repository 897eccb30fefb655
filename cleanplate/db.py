"""The database: one engine a process, transactions that send only after they have committed, migrations."""

import os
import select
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.rows import TupleRow
from pydantic_core import from_json
from sqlalchemy import Engine, create_engine, event, make_url, text
from sqlalchemy.exc import InterfaceError, InternalError, InvalidatePoolError, OperationalError
from sqlalchemy.orm import Session

from cleanplate import settings

if TYPE_CHECKING:
    from alembic.config import Config  # loaded when a migration runs: no worker should wait a second for it

AWAY = (OperationalError, InterfaceError, InternalError)
"""What is raised when the server is away, restarting or too busy, or has ended a transaction that stood still: try
again later."""


SESSION_AWAY = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError)
"""The same, of a connection outside the pool."""
WORDS_MOST = 300
"""Characters of the driver's words that are told."""
SESSION = {
    "statement_timeout": "30s",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "30s",
    "tcp_keepalives_idle": 5,
    "tcp_keepalives_interval": 2,
    "tcp_keepalives_count": 3,
    "timezone": "UTC",
}


CONNECTION: dict[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "options": " ".join(f"-c {name}={value}" for name, value in SESSION.items()),
}


def words(error: Exception) -> str:
    """Return, in a line, what the driver says when the server is away; it names hosts and users and no passwords."""
    told = getattr(error, "orig", None) or error
    return " ".join(str(told).split())[:WORDS_MOST] or type(told).__name__


def engine() -> Engine:
    """Return this process's engine; a forked child gets one of its own."""
    return _engine(os.getpid())


@lru_cache(maxsize=1)
def _engine(_pid: int) -> Engine:
    return connect(settings.get().database_url)


def connect(url: str) -> Engine:
    """Return an engine for a ``postgresql://`` URL, whose errors do not repeat what was written: it may be a secret.

    A dead server is noticed in seconds: connecting takes 5 s at most, a silent socket is probed, and no statement may
    run for more than 30 s or wait for a lock for more than 10 s. The server notices a dead machine as soon, and ends a
    transaction in which nothing happens for 30 s: neither may keep its locks, the one of the slots least of all.
    """
    engine = create_engine(
        make_url(url).set(drivername="postgresql+psycopg"),
        pool_size=10,
        max_overflow=30,
        pool_use_lifo=True,
        hide_parameters=True,
        json_deserializer=from_json,  # json.loads is a third of what a job's row costs to read
        connect_args=CONNECTION,
    )
    event.listen(engine, "checkout", _drop_if_ended)
    return engine


def _drop_if_ended(connection: psycopg.Connection[Any], *_: object) -> None:
    """Ask a connection that leaves the pool whether it lives, but only if there is something to read: mostly its end.

    Asking each, as ``pool_pre_ping`` does, is one more round trip for every transaction.
    """
    try:
        arrived = select.poll()
        arrived.register(connection.fileno(), select.POLLIN)
        if arrived.poll(0):
            connection.execute("SELECT")
            connection.rollback()
    except psycopg.Error as error:
        raise InvalidatePoolError from error


def connect_apart() -> psycopg.Connection[TupleRow]:
    """Return a connection outside the pool, with autocommit and as quick to notice a dead server.

    Raises ``psycopg.OperationalError`` when the server is away, and so does what is done with it.
    """
    return psycopg.connect(_plain_url(), autocommit=True, **CONNECTION)


async def connect_async() -> psycopg.AsyncConnection[TupleRow]:
    """Return one as :func:`connect_apart` does, to listen on."""
    return await psycopg.AsyncConnection.connect(_plain_url(), autocommit=True, **CONNECTION)


def _plain_url() -> str:
    return engine().url.set(drivername="postgresql").render_as_string(hide_password=False)


class Transaction(Session):
    """A session that is one transaction, and the calls to make once it has committed."""

    def __init__(self, bind: Engine) -> None:
        super().__init__(bind, expire_on_commit=False)
        self._sends: list[Callable[[], object]] = []

    def after_commit(self, send: Callable[[], object]) -> None:
        """Remember ``send`` for after the commit. It must not raise: the rows are the truth, a message is a hint."""
        self._sends.append(send)

    def flush_sends(self, through: Callable[[Callable[[], object]], object]) -> None:
        """Pass each remembered call to ``through``."""
        for send in self._sends:
            through(send)


@contextmanager
def transaction(through: Callable[[Callable[[], object]], object] = lambda send: send()) -> Iterator[Transaction]:
    """Open a transaction: committed at the end of the block, rolled back when it raises.

    What :meth:`Transaction.after_commit` remembered is called after the commit; ``through`` says how, for callers that
    must not wait for the broker.
    """
    with Transaction(engine()) as tx:
        with tx.begin():
            yield tx
        tx.flush_sends(through)


def migrate(url: str | None = None, revision: str = "head") -> None:
    """Bring the database's schema to ``revision``. Several may call at once: a lock lets one work."""
    from alembic import command

    config = alembic_config()
    target = connect(url or settings.get().database_url)
    try:
        with target.connect() as connection:
            connection.execute(text("SET statement_timeout = 0"))  # another's long migration is waited for
            connection.execute(text("SET lock_timeout = 0"))
            connection.execute(text("SELECT pg_advisory_lock(hashtext('cleanplate.migrate'))"))
            connection.commit()
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
            connection.commit()
    finally:
        target.dispose()  # the lock is the session's: it ends with the connection, not with its return to a pool


def alembic_config() -> "Config":
    """Return Alembic's configuration; the scripts lie in the ``migrations`` package beside this one."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent.parent / "migrations"))
    return config
