"""Items of which the request says where their files lie: judged one by one here, fetched by workers later."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic_core import from_json
from sqlalchemy import Text, any_, func, insert, literal, select, update
from sqlalchemy.dialects.postgresql import ARRAY

from api.errors import Problem
from api.itemwise import Given, NoItem
from cleanplate import buckets, ids, inputs, outbound, settings
from cleanplate.db import Transaction
from cleanplate.items import Item, Source
from cleanplate.models import Batch, Job, JobEvent, Upload
from cleanplate.resources import BatchOptions, Rejection
from cleanplate.states import State

ITEMS_BYTES = 16 << 20
"""Largest JSON with items: 10,000 with two signed URLs of 700 bytes each."""
UPLOAD_KEPT = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Remote:
    """An item that can be imported, as far as it can be known here."""

    item: Item
    name: str
    metadata: bytes
    """As JSON."""

    @property
    def custom_id(self) -> str | None:
        return self.item.custom_id

    @property
    def uploads(self) -> AbstractSet[str]:
        """The uploads that it names."""
        return {source.upload_id for source in self.item.sources.values() if source.upload_id is not None}


def find(tx: Transaction, tenant_id: str, items: Sequence[Given | NoItem]) -> tuple[list[Remote], list[Rejection]]:
    """Return the items that can be imported, as far as is known, and why others cannot. Uploads are kept for longer."""
    found, rejected = _read(items)
    uploads = _keep_uploads(tx, tenant_id, {id_ for one in found for id_ in one.uploads})
    detail = "there is no such upload, or it has expired"
    lost = [one for one in found if not one.uploads <= uploads]
    rejected += [Rejection(item=one.name, code="upload_not_found", detail=detail) for one in lost]
    return [one for one in found if one.uploads <= uploads], rejected


def _read(items: Sequence[Given | NoItem]) -> tuple[list[Remote], list[Rejection]]:
    taken: list[Remote] = []
    rejected: list[Rejection] = []
    seen: set[str | None] = set()
    for number, given in enumerate(items):
        name = f"items/{number}"
        if isinstance(given, NoItem):
            rejected.append(Rejection(item=name, code="validation_failed", detail=given.detail))
            continue
        item = given.item
        name = item.custom_id or name
        try:
            _check(item, seen)
        except (outbound.ForbiddenUrl, Problem) as refusal:
            rejected.append(Rejection(item=name, code=refusal.code, detail=refusal.detail))
        else:
            seen.add(item.custom_id)
            taken.append(Remote(item, name, given.metadata))
    return taken, rejected


def _check(item: Item, seen: AbstractSet[str | None]) -> None:
    if item.custom_id is not None and item.custom_id in seen:
        raise Problem(422, "repeated_custom_id", "An item before it has the same custom_id.")
    for source in item.sources.values():
        _check_source(source)


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


def _keep_uploads(tx: Transaction, tenant_id: str, asked: AbstractSet[str]) -> set[str]:
    ids_ = literal(sorted(asked), ARRAY(Text()))  # one parameter, however many there are
    mine = (Upload.id == any_(ids_), Upload.tenant_id == tenant_id, Upload.expires_at > func.now())
    locked = select(Upload.id).where(*mine).order_by(Upload.id).with_for_update()  # in order, or two would wait in turn
    kept = update(Upload).where(Upload.id.in_(locked)).values(expires_at=func.now() + UPLOAD_KEPT)
    return set(tx.scalars(kept.returning(Upload.id).execution_options(synchronize_session=False))) if asked else set()


def insert_jobs(tx: Transaction, remotes: Sequence[Remote], options: BatchOptions, batch: Batch) -> list[Job]:
    """Write the jobs, to be imported; the caller holds the lock of ``batch``'s row, whose total it has to raise."""
    now = tx.scalar(select(func.now()))  # as a value: rows with an expression in them are inserted one by one
    told = {"state": State.IMPORTING, "reason": "accepted: to be imported"}
    rows = [_row(one, options, batch, position, now) for position, one in enumerate(remotes, batch.total)]
    tx.add_all(rows)
    tx.flush()
    if rows:
        tx.execute(insert(JobEvent), [{"job_id": row.id, **told} for row in rows])
    return rows


def _row(one: Remote, options: BatchOptions, batch: Batch, position: int, now: datetime | None) -> Job:
    job_id = ids.new(ids.Kind.JOB)
    item = one.item
    return Job(
        id=job_id,
        tenant_id=batch.tenant_id,
        batch_id=batch.id,
        position=position,
        custom_id=item.custom_id,
        meta=from_json(one.metadata),
        params=options.params.model_dump() | item.params.model_dump(exclude_unset=True),
        **inputs.keys(job_id),
        sources={name: source.model_dump(exclude_none=True) for name, source in item.sources.items()},
        reuse=options.reuse,
        state=State.IMPORTING,
        due_at=now,
    )
