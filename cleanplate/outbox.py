"""The outbox: what happened is written for every receiver in the transaction in which it happened.

For an endpoint that is turned off it is written as failed, so that it can be recovered when it is on again; for a
listener, into rows that are gone when they were heard.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, NamedTuple

from pydantic_core import to_json
from sqlalchemy import CompoundSelect, Row, Select, false, func, insert, literal_column, select, true

from cleanplate import ids, queue, settings, shown
from cleanplate.db import Transaction
from cleanplate.models import Batch, Delivery, Endpoint, Job, Listener, ListenerEvent

KEPT: Final = timedelta(days=30)
"""How long deliveries are kept, with their attempts."""
TURNED_OFF: Final = "the endpoint is turned off"
HEARS: Final = Endpoint.deleted_at.is_(None) & (Endpoint.enabled | (Endpoint.disabled_at > func.now() - KEPT))


class Told(NamedTuple):
    """An event, and who is told of it."""

    type: str
    data: dict[str, Any]
    receivers: Sequence[Row[Any]]


def jobs_ended(tx: Transaction, finals: Sequence[Job]) -> None:
    """Write ``job.succeeded``, ``job.failed`` or ``job.cancelled`` for whoever listens to each of ``finals``."""
    tenants = {job.tenant_id for job in finals}
    if not tx.scalar(select(_of_endpoints(tenants).exists() | _of_listeners(tenants).exists())):
        return
    named = select(Batch.id, Batch.endpoint_id).where(Batch.id.in_({job.batch_id for job in finals if job.batch_id}))
    of_batch = {row.id: row.endpoint_id for row in tx.execute(named)}
    receivers = _receivers(tx, tenants, {*of_batch.values(), *(job.endpoint_id for job in finals)})
    told = []
    for job in finals:
        kind, its_own = f"job.{job.state}", {job.endpoint_id, of_batch.get(job.batch_id)}
        its = [one for one in receivers if one.tenant_id == job.tenant_id and _hears(one, kind, its_own)]
        if its:
            told.append(Told(kind, shown.job(job, settings.get().links_url).model_dump(mode="json"), its))
    _write(tx, told)


def publish(
    tx: Transaction,
    tenant_id: str,
    event_type: str,
    data: dict[str, Any],
    endpoint_ids: Collection[str | None] = (),
    *,
    but: str | None = None,
) -> None:
    """Write one delivery for each endpoint that listens to ``event_type`` and for those named; hint after the commit.

    ``data`` is a thin Job or Batch without bytes. All deliveries of one event share its id, which receivers see as
    ``webhook-id``. The endpoint ``but`` does not hear of it.
    """
    receivers = _receivers(tx, {tenant_id}, endpoint_ids)
    its = [one for one in receivers if one.id != but and _hears(one, event_type, endpoint_ids)]
    _write(tx, [Told(event_type, data, its)])


def test(tx: Transaction, tenant_id: str, endpoint_id: str) -> str:
    """Write a ``webhook.test`` for this endpoint and for nobody else; return the id of its delivery."""
    its = [one for one in _receivers(tx, {tenant_id}, {endpoint_id}) if one.id == endpoint_id]
    data = {"id": endpoint_id, "message": "This is a test: your endpoint is reached."}
    (delivery_id,) = _write(tx, [Told("webhook.test", data, its)])
    return delivery_id


def _receivers(tx: Transaction, tenant_ids: Collection[str], named: Iterable[str | None]) -> Sequence[Row[Any]]:
    return tx.execute(receivers(tenant_ids, named)).all()


def receivers(tenant_ids: Collection[str], named: Iterable[str | None]) -> CompoundSelect[*tuple[Any, ...]]:
    """Return the query for the endpoints of these tenants, of the one-off ones those that are named, and for listeners.

    Each by its index: there may be as many one-off endpoints as jobs.
    """
    registered = _of_endpoints(tenant_ids).where(~Endpoint.one_off)
    one_off = _of_endpoints(tenant_ids).where(Endpoint.one_off, Endpoint.id.in_({id_ for id_ in named if id_}))
    # Locked, so that none is deleted before what it is told is written: that would fail, and with it what happened.
    staying = _of_listeners(tenant_ids).with_for_update(read=True, key_share=True).subquery()
    return registered.union_all(one_off, select(*staying.c))


def _of_endpoints(tenant_ids: Collection[str]) -> Select[str, str, bool, list[Any], bool, bool]:
    columns = (Endpoint.id, Endpoint.tenant_id, Endpoint.one_off, Endpoint.events, Endpoint.enabled)
    return select(*columns, false().label("asks")).where(Endpoint.tenant_id.in_(tenant_ids), HEARS)


def _of_listeners(tenant_ids: Collection[str]) -> Select[str, str, bool, Any, bool, bool]:
    """Return the query for who asks for events, as endpoints that hear of everything."""
    nothing_left_out = literal_column("'[]'::jsonb", Endpoint.events.type).label("events")
    everything = (false().label("one_off"), nothing_left_out, true().label("enabled"), true().label("asks"))
    mine = (Listener.tenant_id.in_(tenant_ids), Listener.expires_at > func.now())
    return select(Listener.id, Listener.tenant_id, *everything).where(*mine)


def _hears(endpoint: Row[Any], event_type: str, named: Collection[str | None]) -> bool:
    listens = not endpoint.one_off and (not endpoint.events or event_type in endpoint.events)
    return listens or endpoint.id in named


def _write(tx: Transaction, told: Iterable[Told]) -> list[str]:
    """Write what is told, hint at what is to be sent, and return the ids of the deliveries."""
    deliveries: list[dict[str, Any]] = []
    heard: list[dict[str, Any]] = []
    for event_type, data, receivers in told:
        said = {"type": event_type, "timestamp": datetime.now(UTC).isoformat(), "data": data}
        event = {"event_id": ids.new(ids.Kind.EVENT), "event_type": event_type, "body": to_json(said).decode()}
        heard += [{**event, "listener_id": one.id} for one in receivers if one.asks]
        deliveries += [
            {
                **event,
                "id": ids.new(ids.Kind.DELIVERY),
                "tenant_id": one.tenant_id,
                "endpoint_id": one.id,
                "subject_id": data.get("id"),
                "state": "pending" if one.enabled else "failed",
                "last_error": None if one.enabled else TURNED_OFF,
            }
            for one in receivers
            if not one.asks
        ]
    if heard:
        tx.execute(insert(ListenerEvent), heard)
    if deliveries:
        tx.execute(insert(Delivery), deliveries)
    if first := next((row["id"] for row in deliveries if row["state"] == "pending"), None):
        tx.after_commit(partial(queue.send, "notify", first))  # one for all: who hears it looks what is due
    return [row["id"] for row in deliveries]
