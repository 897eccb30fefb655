"""The outbox: what happened is written for every receiver in the transaction in which it happened."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import Any

from pydantic_core import to_json
from sqlalchemy import func, insert, literal_column, or_, select

from cleanplate import ids, queue, resources, settings
from cleanplate.db import Transaction
from cleanplate.models import Batch, Delivery, Endpoint, Job

EVENTS = (
    "job.succeeded",
    "job.failed",
    "job.cancelled",
    "batch.completed",
    "batch.cancelled",
    "upstream.paused",
    "upstream.resumed",
    "webhook.test",
)


def jobs_ended(tx: Transaction, finals: Sequence[Job]) -> None:
    """Write ``job.succeeded``, ``job.failed`` or ``job.cancelled`` for whoever listens to each of ``finals``."""
    tenants = {job.tenant_id for job in finals}
    if not tx.scalar(select(Endpoint.id).where(Endpoint.tenant_id.in_(tenants), Endpoint.enabled).limit(1)):
        return
    named = select(Batch.id, Batch.endpoint_id).where(Batch.id.in_({job.batch_id for job in finals if job.batch_id}))
    of_batch = {row.id: row.endpoint_id for row in tx.execute(named)}
    for job in finals:
        data = resources.job(job, settings.get().links_url).model_dump(mode="json")
        endpoints = {job.endpoint_id, of_batch.get(job.batch_id)}
        publish(tx, job.tenant_id, f"job.{job.state}", data, endpoints)


def publish(
    tx: Transaction, tenant_id: str, event_type: str, data: dict[str, Any], endpoint_ids: Iterable[str | None] = ()
) -> None:
    """Write one delivery for each endpoint that listens to ``event_type`` and for those named; hint after the commit.

    ``data`` is a thin Job or Batch without bytes. All deliveries of one event share its id, which receivers see as
    ``webhook-id``.
    """
    listens = (~Endpoint.one_off) & or_(
        Endpoint.events == literal_column("'[]'::jsonb"), Endpoint.events.contains([event_type])
    )
    named = [id_ for id_ in endpoint_ids if id_]
    receivers = tx.scalars(
        select(Endpoint.id).where(Endpoint.tenant_id == tenant_id, Endpoint.enabled, listens | Endpoint.id.in_(named))
    ).all()
    if not receivers:
        return
    event_id = ids.new(ids.Kind.EVENT)
    body = to_json({"type": event_type, "timestamp": datetime.now(UTC).isoformat(), "data": data}).decode()
    rows = [
        {
            "id": ids.new(ids.Kind.DELIVERY),
            "tenant_id": tenant_id,
            "endpoint_id": endpoint_id,
            "event_id": event_id,
            "event_type": event_type,
            "body": body,
        }
        for endpoint_id in receivers
    ]
    tx.execute(insert(Delivery), rows)
    for row in rows:
        tx.after_commit(partial(queue.send, "notify", row["id"]))


@lru_cache
def due(limit: int) -> Any:
    """Return the query for the ids of deliveries whose next try is due, the most overdue first."""
    return (
        select(Delivery.id)
        .where(Delivery.state == literal_column("'pending'"), Delivery.due_at <= func.now())
        .order_by(Delivery.due_at)
        .limit(literal_column(str(int(limit))))
    )
