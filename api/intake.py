"""From uploaded files to jobs: pair by name, check, put both objects, write the rows. In that order.

So a pair that cannot be worked on costs nothing, and no row is without its objects. Objects whose rows were never
written (a refused duplicate, a request that failed half way) are the sweep's.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import repeat
from threading import BoundedSemaphore
from typing import Any, TypeVar

from sqlalchemy import insert, select

from api import names
from api.errors import Problem
from api.forms import File, Form
from api.store import store
from cleanplate import holding, ids, order, settings
from cleanplate.db import Transaction
from cleanplate.imaging import pair as imaging
from cleanplate.imaging.faults import ImageFault
from cleanplate.models import Batch, Job, JobEvent
from cleanplate.pairing import pair
from cleanplate.resources import Params, Rejection
from cleanplate.states import State

T = TypeVar("T")

AT_ONCE = 4
CUSTOM_ID_LENGTH = 255
PNG_SIGNATURE = b"\x89PNG"
DUPLICATE = "duplicate_custom_id"
IGNORED = "ignored_file"
HARMLESS = frozenset({DUPLICATE, IGNORED})
"""Codes of items that an atomic batch goes on without: they are no picture, or are in the batch already."""

_workers = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="intake")
_turn = BoundedSemaphore(AT_ONCE)  # pairs in memory at once, those of batches and single jobs in a fair mix


@dataclass(frozen=True, slots=True)
class Upload:
    """Two files that belong together, the id of the job they may become, and the id that the client has for them."""

    job_id: str
    custom_id: str | None
    image: File
    mask: File


@dataclass(frozen=True, slots=True)
class Stored:
    """A pair whose objects are stored, with the columns of the job that tell what they are and where they lie."""

    upload: Upload
    image: Mapping[str, Any]
    mask: Mapping[str, Any]
    warnings: Sequence[str]
    keys: Mapping[str, str]


def upload(image: File, mask: File, custom_id: str | None) -> Upload:
    """Give a pair the id of the job it may become: in the order of these calls jobs are listed."""
    return Upload(ids.new(ids.Kind.JOB), custom_id, image, mask)


def find_pairs(files: Sequence[File], mask_suffix: str) -> tuple[list[Upload], list[Rejection]]:
    """Pair files by their names; return also those that have no partner, or two, or an unusable name."""
    named = {names.clean(file.name): file for file in files}
    junk = {name for name in named if names.is_junk(name)}
    pairs, rejected = pair((name for file in files if (name := names.clean(file.name)) not in junk), mask_suffix)
    rejected += [_reject(name, IGNORED, "an operating system's own file") for name in sorted(junk)]
    uploads = []
    for found in pairs:
        if len(found.name) > CUSTOM_ID_LENGTH:
            rejected.append(_reject(found.image, "name_too_long", f"more than {CUSTOM_ID_LENGTH} characters"))
        else:
            uploads.append(upload(named[found.image], named[found.mask], found.name))
    return uploads, rejected


def check_all(
    form: Form, uploads: Sequence[Upload], params: Params
) -> tuple[list[tuple[Upload, Sequence[str]]], list[Rejection]]:
    """Store nothing; return the pairs that can be worked on, each with its warnings, and why others cannot."""

    def check(one: Upload) -> tuple[Upload, Sequence[str]]:
        with _turn:
            return one, _check(form, one, params)[2].warnings

    found = list(_workers.map(lambda one: _unless_faulty(lambda: check(one), one), uploads))
    return [one for one in found if isinstance(one, tuple)], [one for one in found if isinstance(one, Rejection)]


def take_all(form: Form, uploads: Sequence[Upload], params: Params) -> tuple[list[Stored], list[Rejection]]:
    """Check and store many pairs, a few at once; return those that are stored, in their order, and why others are not.

    Raises ``StoreUnavailable`` and such.
    """
    found = list(_workers.map(lambda one: _unless_faulty(lambda: take(form, one, params), one), uploads))
    return [one for one in found if isinstance(one, Stored)], [one for one in found if isinstance(one, Rejection)]


def take(form: Form, upload: Upload, params: Params) -> Stored:
    """Decode a pair wholly; if it can be worked on, store it, and what the upstream is sent where that differs.

    Raises ``ImageFault``, :class:`Problem` 413 for a file that is too large, and ``StoreUnavailable`` and such.
    """
    at = f"inputs/{upload.job_id}"
    keys = {}
    with _turn:
        image, mask, pair = _check(form, upload, params)
        for name, data, sent, facts in (
            ("image", image, pair.sent.image, pair.image),
            ("mask", mask, pair.sent.mask, pair.mask),
        ):
            keys[f"{name}_key"] = keys[f"send_{name}_key"] = f"{at}/{name}"
            store().put(keys[f"{name}_key"], data, media_type=f"image/{facts.format}")
            if sent != data:
                keys[f"send_{name}_key"] = f"{at}/send-{name}"
                kind = "png" if sent.startswith(PNG_SIGNATURE) else "jpeg"
                store().put(keys[f"send_{name}_key"], sent, media_type=f"image/{kind}")
    return Stored(upload, asdict(pair.image), asdict(pair.mask), pair.warnings, keys)


def _check(form: Form, upload: Upload, params: Params) -> tuple[bytes, bytes, imaging.Pair]:
    image, mask = form.read(upload.image), form.read(upload.mask)
    pair = imaging.check(
        image,
        mask,
        max_pixels=settings.get().max_pixels,
        mask_invert=params.mask_invert,
        output_format=params.output_format,
    )
    return image, mask, pair


def _unless_faulty(work: Callable[[], T], candidate: Upload) -> T | Rejection:
    try:
        return work()
    except (ImageFault, Problem) as fault:
        return _reject(names.clean(candidate.image.name), fault.code, fault.detail)


def known(tx: Transaction, batch_id: str, uploads: Iterable[Upload]) -> set[str | None]:
    """Return those of the uploads' custom ids that the batch has already."""
    asked = {one.custom_id for one in uploads}
    return set(tx.scalars(select(Job.custom_id).where(Job.batch_id == batch_id, Job.custom_id.in_(asked))))


def duplicates(uploads: Iterable[Upload], known_ids: Collection[str | None]) -> list[Rejection]:
    """Return the rejections of those uploads that the batch has already."""
    return [
        _reject(names.clean(one.image.name), DUPLICATE, f"the batch has a job {one.custom_id!r} already")
        for one in uploads
        if one.custom_id in known_ids
    ]


def insert_jobs(
    tx: Transaction,
    stored: Sequence[Stored],
    params: Params,
    *,
    tenant_id: str,
    batch: Batch | None = None,
    endpoint_id: str | None = None,
    metadata: dict[str, Any] | None = None,
) -> list[Job]:
    """Write the jobs, their turns and the first event of each; their objects are stored already.

    The caller holds the lock of ``batch``'s row, whose total it has to raise.
    """
    going = holding.going(batch, len(stored))
    tags = [*order.line_up(tx, tenant_id, batch, going), *repeat(None, len(stored) - going)]
    rows = [
        Job(
            id=one.upload.job_id,
            tenant_id=tenant_id,
            batch_id=batch and batch.id,
            position=position,
            custom_id=one.upload.custom_id,
            endpoint_id=endpoint_id,
            meta=metadata or {},
            params=params.model_dump(),
            warnings=list(one.warnings),
            image=dict(one.image),
            mask=dict(one.mask),
            **one.keys,
            tag=tag or 0,
            state=State.HELD if tag is None else State.QUEUED,
        )
        for position, (one, tag) in enumerate(zip(stored, tags, strict=True), batch.total if batch else 0)
    ]
    tx.add_all(rows)
    tx.flush()
    reasons = {State.QUEUED: "accepted", State.HELD: f"accepted: {holding.REASON}"}
    events = [{"job_id": row.id, "state": row.state, "reason": reasons[State(row.state)]} for row in rows]
    if events:
        tx.execute(insert(JobEvent), events)
    return rows


def _reject(item: str, code: str, detail: str) -> Rejection:
    return Rejection(item=item, code=code, detail=detail)
