"""``/v1/webhook-endpoints``: who is told of what happens."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from sqlalchemy import func, select, update

from api import examples, idempotency, receivers
from api.auth import Authenticated, caller
from api.documentation import answers, example
from api.errors import not_found
from api.idempotency import Once
from api.listing import Paging, page
from cleanplate import db, endpoints, outbox, resources
from cleanplate.models import Endpoint
from cleanplate.resources import Page

router = APIRouter(
    prefix="/v1/webhook-endpoints",
    tags=["webhooks"],
    dependencies=[Depends(caller)],
    responses=answers(401, 422, 500, 503),
)


def _known(event: str) -> str:
    if event not in outbox.EVENTS:
        raise ValueError(f"not an event; there are {', '.join(outbox.EVENTS)}")
    return event


class NewEndpoint(BaseModel):
    """A receiver to be."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"url": "https://example.com/hooks", "events": ["batch.completed"]}},
    )

    url: str = Field(max_length=2048, description="Where events are POSTed to.")
    events: list[Annotated[str, AfterValidator(_known), Field(json_schema_extra={"enum": list(outbox.EVENTS)})]] = (
        Field([], max_length=100, description="What it hears of; empty: everything.")
    )


@router.post(
    "",
    status_code=201,
    responses={
        **example(201, "The endpoint, with its secret.", examples.NEW_ENDPOINT, {"Location": "Where the endpoint is."}),
        **answers(400, 403, 408, 413),
        **idempotency.ANSWERS,
    },
)
def create_webhook_endpoint(
    who: Authenticated, wanted: NewEndpoint, once: Once, response: Response
) -> resources.Endpoint:
    """Register a receiver. Its `secret` verifies deliveries (Standard Webhooks) and is shown this once."""
    receivers.check_url(wanted.url)
    with db.transaction() as tx:
        row, secret = receivers.create(tx, who.tenant_id, wanted.url, list(dict.fromkeys(wanted.events)))
        response.headers["Location"] = f"/v1/webhook-endpoints/{row.id}"
        return once.keep(tx, _resource(row, secret), secret=True)


@router.get("", responses=example(200, "One page, newest first.", examples.ENDPOINT_PAGE) | answers(400))
def list_webhook_endpoints(who: Authenticated, wanted: Annotated[Paging, Query()]) -> Page[resources.Endpoint]:
    """List your receivers, newest first, with those that a batch or a job named."""
    mine = select(Endpoint).where(Endpoint.tenant_id == who.tenant_id, Endpoint.deleted_at.is_(None))
    with db.transaction() as tx:
        rows, cursor = page(tx, mine, Endpoint, wanted, newest_first=True)
    return Page(data=[_resource(row) for row in rows], next_cursor=cursor)


@router.get("/{endpoint_id}", responses=example(200, "The endpoint.", examples.ENDPOINT) | answers(404))
def get_webhook_endpoint(who: Authenticated, endpoint_id: str) -> resources.Endpoint:
    """Return one receiver."""
    its = (Endpoint.id == endpoint_id, Endpoint.tenant_id == who.tenant_id, Endpoint.deleted_at.is_(None))
    with db.transaction() as tx:
        row = tx.scalars(select(Endpoint).where(*its)).first()
    if row is None:
        raise not_found("webhook endpoint")
    return _resource(row)


@router.delete("/{endpoint_id}", status_code=204, responses=answers(403, 404))
def delete_webhook_endpoint(who: Authenticated, endpoint_id: str) -> None:
    """Forget a receiver: it hears of nothing more, deliveries under way included."""
    its = (Endpoint.id == endpoint_id, Endpoint.tenant_id == who.tenant_id, Endpoint.deleted_at.is_(None))
    gone = update(Endpoint).where(*its).values(deleted_at=func.now(), **endpoints.off("deleted"))
    with db.transaction() as tx:
        if not tx.scalar(gone.returning(Endpoint.id)):
            raise not_found("webhook endpoint")


def _resource(row: Endpoint, secret: str | None = None) -> resources.Endpoint:
    return resources.Endpoint.model_validate(row, from_attributes=True).model_copy(update={"secret": secret})
