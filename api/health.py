"""``/livez``: this process answers. ``/readyz``: so does what it leans on."""

import logging
from collections.abc import Callable
from functools import lru_cache

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
    checks = {"database": _try(_database), "store": _try(_store), "broker": _try(_broker)}
    if any(checks[part] != "ok" for part in ("database", "store")):
        raise Problem(503, "not_ready", "A part that the intake needs is missing.", extra={"checks": checks})
    return Ready(status="ready", checks=checks)


def _try(check: Callable[[], str]) -> str:
    try:
        return check()
    except (*db.AWAY, StoreError, RedisError, OSError) as error:
        log.warning("not ready: %s", type(error).__name__)
        return "away"


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
