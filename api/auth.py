"""Who is asking: the tenant of the key in ``Authorization: Bearer cp_...``."""

from dataclasses import dataclass
from functools import lru_cache
from time import monotonic
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api.errors import Problem
from cleanplate import db, tenants

KEYS_REMEMBERED_SECONDS = 3.0
READING = frozenset({"GET", "HEAD"})

_bearer = HTTPBearer(auto_error=False, scheme_name="API key", description="A key made by `cleanplate keys create`.")


@dataclass(frozen=True, slots=True)
class Caller:
    """A tenant, and whether its key may only read."""

    tenant_id: str
    read_only: bool


def caller(request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> Caller:
    """Return who is asking, or answer 401, or 403 to a read-only key that wants to write."""
    if given is None:
        raise _unauthorized("missing_key", "Send your key as `Authorization: Bearer cp_...`.")
    found = _find(tenants.digest(given.credentials), int(monotonic() / KEYS_REMEMBERED_SECONDS))
    if found.read_only and request.method not in READING:
        raise Problem(403, "read_only_key", "This key may read and nothing else.")
    return found


Authenticated = Annotated[Caller, Depends(caller)]


@lru_cache(maxsize=1024)
def _find(sha256: str, _period: int) -> Caller:
    """Look a key up, once a period: a revoked key works for no longer than that. An unknown key is not remembered."""
    with db.transaction() as tx:
        key = tenants.find(tx, sha256)
    if key is None:
        raise _unauthorized("invalid_key", "This key is not known, or it was revoked.")
    return Caller(key.tenant_id, read_only=key.scope == tenants.READ)


def _unauthorized(code: str, detail: str) -> Problem:
    return Problem(401, code, detail, headers={"WWW-Authenticate": 'Bearer realm="cleanplate"'})
