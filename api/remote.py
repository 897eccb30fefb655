"""Items of which the request says where their files lie: judged one by one here, fetched by workers later."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from typing import Any

from pydantic_core import from_json
from sqlalchemy import Text, any_, func, insert, literal, select, update
from sqlalchemy.dialects.postgresql import ARRAY

from api.errors import Problem
from api.itemwise import Given, NoItem
from cleanplate import buckets, db, ids, inputs, outbound, settings
from cleanplate.items import Source
from cleanplate.models import Batch, Job, JobEvent, Upload
from cleanplate.resources import BatchOptions, Rejection
from cleanplate.states import State

ITEMS_BYTES = 16 << 20
"""Largest JSON with items: 10,000 with two signed URLs of 700 bytes each."""
UPLOAD_KEPT = timedelta(hours=24)


class Elsewhere:
    """What is known here of items whose files lie elsewhere. Of two with one ``custom_id`` only the first can be taken.

    The same item may be asked for more than once.
    """

    def __init__(self, tenant_id: str) -> None:
        self._tenant_id = tenant_id
        self._first: dict[str, int] = {}

    def find(self, items: Sequence[Given | NoItem]) -> tuple[list[Given], list[Rejection]]:
        """Return those that can be imported, as far as is known, and why others cannot. Uploads are kept for longer."""
        found: list[Given] = []
        rejected: list[Rejection] = []
        for one in items:
            if isinstance(one, NoItem):
                rejected.append(Rejection(item=one.name, code="validation_failed", detail=one.detail))
                continue
            try:
                self._check(one)
                found.append(one)
            except (outbound.ForbiddenUrl, Problem) as refusal:
                rejected.append(Rejection(item=one.name, code=refusal.code, detail=refusal.detail))
        kept = _keep_uploads(self._tenant_id, {id_ for one in found for id_ in _uploads(one)})
        detail = "there is no such upload, or it has expired"
        lost = [one for one in found if not _uploads(one) <= kept]
        rejected += [Rejection(item=one.name, code="upload_not_found", detail=detail) for one in lost]
        return [one for one in found if _uploads(one) <= kept], rejected

    def _check(self, one: Given) -> None:
        if one.custom_id is not None and self._first.get(one.custom_id, one.number) != one.number:
            raise Problem(422, "repeated_custom_id", "An item before it has the same custom_id.")
        for source in one.item.sources.values():
            _check_source(source)
        if one.custom_id is not None:
            self._first[one.custom_id] = one.number


def _check_source(source: Source) -> None:
    """Raise ``ForbiddenUrl`` or :class:`Problem` for what no worker would fetch."""
    config = settings.get()
    if source.url is not None:
        outbound.check_url(source.url, config.allow_private_networks)
    if source.s3 is not None:
        try:
            place = buckets.parse(source.s3)
        except ValueError as error:
            raise Problem(422, "s3_invalid", f"The object cannot be read: {error}.") from None
        if not buckets.is_allowed(*place, config.import_buckets):
            raise Problem(422, "s3_not_allowed", "The operator has not allowed to read objects from there.")


def _uploads(one: Given) -> set[str]:
    return {source.upload_id for source in one.item.sources.values() if source.upload_id is not None}


def _keep_uploads(tenant_id: str, asked: AbstractSet[str]) -> set[str]:
    if not asked:
        return set()
    ids_ = literal(sorted(asked), ARRAY(Text()))  # one parameter, however many there are
    mine = (Upload.id == any_(ids_), Upload.tenant_id == tenant_id, Upload.expires_at > func.now())
    locked = select(Upload.id).where(*mine).order_by(Upload.id).with_for_update()  # in order, or two would wait in turn
    kept = update(Upload).where(Upload.id.in_(locked)).values(expires_at=func.now() + UPLOAD_KEPT)
    with db.transaction() as tx:
        return set(tx.scalars(kept.returning(Upload.id).execution_options(synchronize_session=False)))


def insert_jobs(tx: db.Transaction, items: Sequence[Given], options: BatchOptions, batch: Batch) -> list[str]:
    """Write the jobs, to be imported; return their ids.

    The caller holds the lock of ``batch``'s row, whose total it has to raise.
    """
    now = tx.scalar(select(func.now()))  # as a value: rows with an expression in them are inserted one by one
    rows = [_row(one, options, batch, position, now) for position, one in enumerate(items, batch.total)]
    told = {"state": State.IMPORTING, "reason": "accepted: to be imported"}
    if rows:
        tx.execute(insert(Job), rows)
        tx.execute(insert(JobEvent), [{"job_id": row["id"], **told} for row in rows])
    return [row["id"] for row in rows]


def _row(one: Given, options: BatchOptions, batch: Batch, position: int, now: datetime | None) -> dict[str, Any]:
    job_id = ids.new(ids.Kind.JOB)
    return {
        "id": job_id,
        "tenant_id": batch.tenant_id,
        "batch_id": batch.id,
        "position": position,
        "custom_id": one.custom_id,
        "meta": from_json(one.metadata),
        "params": options.params.model_dump() | one.item.params.model_dump(exclude_unset=True),
        **inputs.keys(job_id),
        "sources": {name: source.model_dump(exclude_none=True) for name, source in one.item.sources.items()},
        "reuse": options.reuse,
        "state": State.IMPORTING,
        "due_at": now,
    }
