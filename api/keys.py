"""``/v1/api-keys``: a team's own keys, made, listed and revoked by one whose scope is ``admin``."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from pydantic import Field
from sqlalchemy import select

from api import examples, idempotency
from api.auth import Authenticated, admin, refused
from api.documentation import answer, answers, example
from api.errors import Finding, Problem, not_found
from api.idempotency import Once
from api.listing import Paging, page
from cleanplate import db, models, tenants
from cleanplate.api_keys import ApiKey, NewApiKey
from cleanplate.resources import Page

router = APIRouter(
    prefix="/v1/api-keys",
    tags=["api-keys"],
    dependencies=[Depends(admin)],
    responses=answers(400, 401, 403, 422, 500, 503),
)


class KeyFilters(Paging):
    """Which keys."""

    prefix: str | None = Field(None, min_length=1, max_length=64, description="The first characters of a key.")


@router.post(
    "",
    status_code=201,
    responses={
        **example(201, "The key.", examples.NEW_API_KEY, {"Location": "Where the key is, without itself."}),
        **answers(408, 413),
        **idempotency.ANSWERS,
    },
)
def create_api_key(who: Authenticated, wanted: NewApiKey, once: Once, response: Response) -> ApiKey:
    """Make a key of your team. Its `key` is shown this once: only a hash of it is stored."""
    if wanted.expires_at is not None and wanted.expires_at <= datetime.now(UTC):
        finding = Finding(pointer="#/expires_at", code="in_the_past", detail="This time is over.")
        raise Problem(422, "validation_failed", "#/expires_at: This time is over.", errors=[finding])
    with db.transaction() as tx:
        if not tenants.lock(tx, who.key_id):
            raise refused()
        row, secret = tenants.add_key(tx, who.tenant_id, wanted.name, wanted.scope, wanted.expires_at)
        response.headers["Location"] = f"/v1/api-keys/{row.id}"
        return once.keep(tx, _resource(row).model_copy(update={"key": secret}), secret=True)


@router.get("", responses=example(200, "One page, newest first.", examples.API_KEY_PAGE))
def list_api_keys(who: Authenticated, wanted: Annotated[KeyFilters, Query()]) -> Page[ApiKey]:
    """List your team's keys, newest first, with those that are revoked or have expired."""
    mine = select(models.ApiKey).where(models.ApiKey.tenant_id == who.tenant_id)
    if wanted.prefix is not None:
        mine = mine.where(models.ApiKey.prefix == wanted.prefix[: tenants.PREFIX_LENGTH])
    with db.transaction() as tx:
        rows, cursor = page(tx, mine, models.ApiKey, wanted, newest_first=True)
    return Page(data=[_resource(row) for row in rows], next_cursor=cursor)


@router.get("/{key_id}", responses=example(200, "The key.", examples.API_KEY) | answers(404))
def get_api_key(who: Authenticated, key_id: str) -> ApiKey:
    """Return what is known of one key."""
    its = (models.ApiKey.id == key_id, models.ApiKey.tenant_id == who.tenant_id)
    with db.transaction() as tx:
        row = tx.scalars(select(models.ApiKey).where(*its)).first()
    if row is None:
        raise not_found("API key")
    return _resource(row)


def _own() -> Problem:
    return Problem(409, "own_key", "This is the key that you call with: revoke it with another, to stay able to call.")


@router.post(
    "/{key_id}/revoke",
    responses=example(200, "The key, revoked.", examples.REVOKED_API_KEY) | answers(404) | answer(_own()),
)
def revoke_api_key(who: Authenticated, key_id: str) -> ApiKey:
    """Revoke a key other than the one you call with: within seconds nothing is answered to it. Twice changes nothing.

    It makes and revokes no more keys at once. It stays in the list, with the time since when.
    """
    if key_id == who.key_id:
        raise _own()
    with db.transaction() as tx:
        if not tenants.lock(tx, who.key_id, key_id):
            raise refused()
        revoked = tenants.revoke(tx, key_id, tenant_id=who.tenant_id)
    if not revoked:
        raise not_found("API key")
    return _resource(revoked[0])


def _resource(row: models.ApiKey) -> ApiKey:
    return ApiKey.model_validate({name: getattr(row, name) for name in ApiKey.model_fields if name != "key"})
