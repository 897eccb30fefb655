"""``/livez``: this process answers. ``/readyz``: so does what it leans on."""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import lru_cache
from typing import Final

from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from fastapi import APIRouter
from pydantic import BaseModel
from redis import Redis
from redis.exceptions import RedisError

from api.documentation import KEYLESS, answers
from api.errors import Problem
from api.store import store
from cleanplate import db, settings
from cleanplate.storage import StoreError

log = logging.getLogger(__name__)

BROKER_SECONDS = 1.0
CHECK_SECONDS = 5.0
"""How long a part may take to answer."""
AWAY = "away"

router = APIRouter(tags=["health"], responses=answers(500))


class Alive(BaseModel):
    """This process answers."""

    status: str = "ok"


class Ready(BaseModel):
    """Requests can be served. ``checks`` tells of each part `ok`, or what is the matter."""

    status: str
    checks: dict[str, str]


@router.get("/livez", openapi_extra=KEYLESS)
def livez() -> Alive:
    """Tell that this process answers, whatever the rest does."""
    return Alive()


@router.get("/readyz", responses=answers(503), openapi_extra=KEYLESS)
def readyz() -> Ready:
    """Tell whether jobs can be taken. Without the broker they can: it only makes what follows faster."""
    asked = {part: probe.ask() for part, probe in PROBES.items()}
    until = time.monotonic() + CHECK_SECONDS
    checks = {part: PROBES[part].answer(question, until - time.monotonic()) for part, question in asked.items()}
    if any(checks[part] != "ok" for part in ("database", "store")):
        raise Problem(503, "not_ready", "A part that the intake needs is missing.", extra={"checks": checks})
    return Ready(status="ready", checks=checks)


class Probe:
    """Asks a part how it is, on a thread of its own: one that hangs holds nobody up and is not asked again meanwhile.

    Why it is not well is for the log: who asks needs no key.
    """

    def __init__(self, part: str, check: Callable[[], str], setting: str) -> None:
        self._told = f"the {part} that {setting} names"
        self._check = check
        self._lock = threading.Lock()
        self._asked: Future[str] | None = None

    def ask(self) -> Future[str]:
        """Begin to ask, or join in when somebody is asking."""
        with self._lock:
            if self._asked is None or self._asked.done():
                self._asked = Future()
                threading.Thread(target=self._find_out, args=(self._asked,), name="probe", daemon=True).start()
            return self._asked

    def answer(self, question: Future[str], seconds: float) -> str:
        """Wait for the answer for so long at most."""
        try:
            return question.result(max(0.0, seconds))
        except TimeoutError:
            log.warning("%s has not answered for %g s", self._told, CHECK_SECONDS)
            return AWAY

    def _find_out(self, question: Future[str]) -> None:
        try:
            how = self._check()
        except (*db.AWAY, StoreError, RedisError, OSError) as error:
            log.warning("%s is away: %s", self._told, db.words(error))
            question.set_result(AWAY)
            return
        except BaseException as error:  # noqa: BLE001 -- whoever waits raises it
            question.set_exception(error)
            return
        if how != "ok":
            log.warning("%s is %s", self._told, how)
        question.set_result(how)


def _database() -> str:
    with db.engine().begin() as connection:
        now = MigrationContext.configure(connection).get_current_revision()
    return "ok" if now == _head() else f"at migration {now}, not {_head()}"


@lru_cache(maxsize=1)
def _head() -> str | None:
    return ScriptDirectory.from_config(db.alembic_config()).get_current_head()


def _store() -> str:
    store().check()
    return "ok"


def _broker() -> str:
    seconds = BROKER_SECONDS
    with Redis.from_url(settings.get().redis_url, socket_timeout=seconds, socket_connect_timeout=seconds) as redis:
        redis.ping()
    return "ok"


PROBES: Final = {
    "database": Probe("database", _database, "DATABASE_URL"),
    "store": Probe("store", _store, "STORAGE_URL"),
    "broker": Probe("broker", _broker, "REDIS_URL"),
}
