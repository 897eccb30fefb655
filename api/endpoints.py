"""``/v1/webhook-endpoints``: who is told of what happens."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import func, select, update

from api import deliveries, examples, idempotency, receivers
from api.auth import Authenticated, caller
from api.documentation import answer, answers, example
from api.idempotency import Once
from api.listing import Paging, page
from cleanplate import db, endpoints, outbox, resources, webhooks
from cleanplate.models import Delivery, Endpoint
from cleanplate.resources import Page
from cleanplate.webhooks import EndpointChange, EventType

router = APIRouter(
    prefix="/v1/webhook-endpoints",
    tags=["webhooks"],
    dependencies=[Depends(caller)],
    responses=answers(401, 422, 500, 503),
)


class NewEndpoint(BaseModel):
    """A receiver to be."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"url": "https://example.com/hooks", "events": ["batch.completed"]}},
    )

    url: str = Field(max_length=2048, description="Where events are POSTed to.")
    events: list[EventType] = Field([], max_length=100, description="What it hears of; empty: everything.")


@router.post(
    "",
    status_code=201,
    responses={
        **example(201, "The endpoint, with its secret.", examples.NEW_ENDPOINT, {"Location": "Where the endpoint is."}),
        **answers(400, 403, 408, 413),
        **idempotency.ANSWERS,
        **answer(receivers.too_many()),
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
    with db.transaction() as tx:
        return _resource(receivers.get(tx, who.tenant_id, endpoint_id))


@router.patch(
    "/{endpoint_id}",
    responses=example(200, "The endpoint.", examples.ENDPOINT)
    | answers(400, 403, 404, 408, 413)
    | answer(receivers.is_one_off()),
)
def update_webhook_endpoint(who: Authenticated, endpoint_id: str, wanted: EndpointChange) -> resources.Endpoint:
    """Change where events go or which, and turn it off and on. What is left out stays.

    While it is off nothing is sent, and what happens is kept as failed deliveries, for 30 days at most: recover them
    when it is on again. Turned on, it has no reason to be off and no failures behind it any more.
    """
    if wanted.url is not None:
        receivers.check_url(wanted.url)
    with db.transaction() as tx:
        row = receivers.get(tx, who.tenant_id, endpoint_id, lock=True)
        receivers.change(row, wanted)
        tx.flush()
        tx.refresh(row)
        return _resource(row)


@router.delete("/{endpoint_id}", status_code=204, responses=answers(403, 404))
def delete_webhook_endpoint(who: Authenticated, endpoint_id: str) -> None:
    """Forget a receiver: it hears of nothing more, deliveries under way included."""
    with db.transaction() as tx:
        row = receivers.get(tx, who.tenant_id, endpoint_id, lock=True)
        tx.execute(
            update(Endpoint).where(Endpoint.id == row.id).values(deleted_at=func.now(), **endpoints.off("deleted"))
        )


@router.post(
    "/{endpoint_id}/rotate-secret",
    responses=example(200, "The endpoint, with its new secret.", examples.NEW_ENDPOINT)
    | answers(400, 403, 404)
    | idempotency.ANSWERS,
)
def rotate_webhook_secret(who: Authenticated, endpoint_id: str, once: Once) -> resources.Endpoint:
    """Make a new `secret`, shown this once. The one before is valid for 24 h more: until then both sign."""
    with db.transaction() as tx:
        row = receivers.get(tx, who.tenant_id, endpoint_id, lock=True)
        secret = receivers.rotate(row)
        tx.flush()
        return once.keep(tx, _resource(row, secret), secret=True)


@router.post(
    "/{endpoint_id}/test",
    status_code=202,
    responses=example(202, "The delivery of the test.", examples.DELIVERY)
    | answers(400, 403, 404)
    | idempotency.ANSWERS
    | answer(receivers.is_off()),
)
def test_webhook_endpoint(who: Authenticated, endpoint_id: str, once: Once) -> webhooks.Delivery:
    """Send a `webhook.test` at once, to this receiver alone, whatever it listens to."""
    with db.transaction() as tx:
        row = receivers.get(tx, who.tenant_id, endpoint_id)
        if not row.enabled:
            raise receivers.is_off()
        return once.keep(tx, deliveries.resource(tx.get_one(Delivery, outbox.test(tx, who.tenant_id, row.id))))


def _resource(row: Endpoint, secret: str | None = None) -> resources.Endpoint:
    return resources.Endpoint.model_validate(row, from_attributes=True).model_copy(update={"secret": secret})
