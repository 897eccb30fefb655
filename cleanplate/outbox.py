"""The outbox: what happened is written for every receiver in the transaction in which it happened."""

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import Any

from pydantic_core import to_json
from sqlalchemy import Row, func, insert, literal_column, select

from cleanplate import ids, queue, settings, shown
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
    endpoints = _enabled(tx, tenants, {*of_batch.values(), *(job.endpoint_id for job in finals)})
    rows = []
    for job in finals:
        kind, its_own = f"job.{job.state}", {job.endpoint_id, of_batch.get(job.batch_id)}
        receivers = [one for one in endpoints if one.tenant_id == job.tenant_id and _hears(one, kind, its_own)]
        if receivers:
            data = shown.job(job, settings.get().links_url).model_dump(mode="json")
            rows += _deliveries(receivers, kind, data)
    _write(tx, rows)


def publish(
    tx: Transaction, tenant_id: str, event_type: str, data: dict[str, Any], endpoint_ids: Collection[str | None] = ()
) -> None:
    """Write one delivery for each endpoint that listens to ``event_type`` and for those named; hint after the commit.

    ``data`` is a thin Job or Batch without bytes. All deliveries of one event share its id, which receivers see as
    ``webhook-id``.
    """
    endpoints = _enabled(tx, {tenant_id}, endpoint_ids)
    _write(tx, _deliveries([one for one in endpoints if _hears(one, event_type, endpoint_ids)], event_type, data))


def _enabled(tx: Transaction, tenant_ids: Collection[str], named: Iterable[str | None]) -> Sequence[Row[Any]]:
    """Return the enabled endpoints of these tenants, of the one-off ones only those that are named."""
    may = (~Endpoint.one_off) | Endpoint.id.in_({id_ for id_ in named if id_})
    found = select(Endpoint.id, Endpoint.tenant_id, Endpoint.one_off, Endpoint.events)
    return tx.execute(found.where(Endpoint.tenant_id.in_(tenant_ids), Endpoint.enabled, may)).all()


def _hears(endpoint: Row[Any], event_type: str, named: Collection[str | None]) -> bool:
    listens = not endpoint.one_off and (not endpoint.events or event_type in endpoint.events)
    return listens or endpoint.id in named


def _deliveries(receivers: Sequence[Row[Any]], event_type: str, data: dict[str, Any]) -> list[dict[str, Any]]:
    event_id = ids.new(ids.Kind.EVENT)
    body = to_json({"type": event_type, "timestamp": datetime.now(UTC).isoformat(), "data": data}).decode()
    return [
        {
            "id": ids.new(ids.Kind.DELIVERY),
            "tenant_id": endpoint.tenant_id,
            "endpoint_id": endpoint.id,
            "event_id": event_id,
            "event_type": event_type,
            "subject_id": data.get("id"),
            "body": body,
        }
        for endpoint in receivers
    ]


def _write(tx: Transaction, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
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
