"""Who is asking: the tenant of the key in ``Authorization: Bearer cp_...``."""

from dataclasses import dataclass
from functools import lru_cache
from time import monotonic
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api import limits, query
from api.errors import Problem
from cleanplate import db, tenants
from cleanplate.api_keys import Scope

KEYS_REMEMBERED_SECONDS = 3.0
READING = frozenset({"GET", "HEAD"})

_bearer = HTTPBearer(
    auto_error=False, scheme_name="ApiKey", description="A key of your team: `/v1/api-keys` makes them."
)


@dataclass(frozen=True, slots=True)
class Caller:
    """A tenant, and what its key may do."""

    tenant_id: str
    key_id: str
    scope: Scope


def caller(request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> Caller:
    """Return who is asking, or answer 401, 429 past the team's limit, 403 to a read-only key that writes, or 422."""
    if given is None:
        raise _unauthorized("missing_key", "Send your key as `Authorization: Bearer cp_...`.")
    found = _find(tenants.digest(given.credentials), int(monotonic() / KEYS_REMEMBERED_SECONDS))
    limits.count(request, found.tenant_id)
    query.check(request)
    return _allowed(found, Scope.READ if request.method in READING else Scope.WRITE)


Authenticated = Annotated[Caller, Depends(caller)]


def admin(who: Authenticated) -> Caller:
    """Return who is asking, or answer 403 to a key that is not of scope ``admin``."""
    return _allowed(who, Scope.ADMIN)


def _allowed(who: Caller, wanted: Scope) -> Caller:
    if not who.scope.allows(wanted):
        detail = f"This takes a key of scope {wanted}; the scope of yours is {who.scope}."
        raise Problem(403, "forbidden_scope", detail)
    return who


@lru_cache(maxsize=1024)
def _find(sha256: str, _period: int) -> Caller:
    """Look a key up, once a period: a revoked key works for no longer than that. An unknown key is not remembered."""
    with db.transaction() as tx:
        key = tenants.find(tx, sha256)
        if key is not None:
            tenants.note_use(tx, key)
    if key is None:
        raise refused()
    return Caller(key.tenant_id, key.id, Scope(key.scope))


def refused() -> Problem:
    return _unauthorized("invalid_key", "This key is not known, has expired or was revoked.")


def _unauthorized(code: str, detail: str) -> Problem:
    return Problem(401, code, detail, headers={"WWW-Authenticate": 'Bearer realm="cleanplate"'})
