"""From uploaded files to jobs: pair by name, check, put both objects, write the rows. In that order.

So a pair that cannot be worked on costs nothing, and no row is without its objects. Objects whose rows were never
written (a refused duplicate, a request that failed half way) are the sweep's.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from threading import BoundedSemaphore
from typing import Any

from sqlalchemy import insert, select

from api import names
from api.errors import Problem
from api.forms import File, Form
from api.store import store
from cleanplate import ids, settings
from cleanplate.db import Transaction
from cleanplate.imaging import pair as imaging
from cleanplate.imaging import payload
from cleanplate.imaging.faults import ImageFault
from cleanplate.models import Job, JobEvent
from cleanplate.pairing import pair
from cleanplate.resources import Params, Rejection
from cleanplate.states import State

AT_ONCE = 4
CUSTOM_ID_LENGTH = 255
HIGHEST_PRIORITY = 9
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
class Checked:
    """A pair that can be worked on."""

    upload: Upload
    facts: imaging.Pair


@dataclass(frozen=True, slots=True)
class Stored:
    """A pair whose objects are stored; ``keys`` are the columns of the job that say where."""

    upload: Upload
    facts: imaging.Pair
    keys: Mapping[str, str]


def upload(image: File, mask: File, custom_id: str | None) -> Upload:
    """Give a pair the id of the job it may become: in the order of these calls, jobs are listed and take turns."""
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


def check(form: Form, candidate: Upload, params: Params) -> Checked:
    """Decode both pictures wholly. Raises ``ImageFault``, or :class:`Problem` 413 for a file that is too large."""
    with _turn:
        facts = imaging.check(
            form.read(candidate.image),
            form.read(candidate.mask),
            max_pixels=settings.get().max_pixels,
            mask_invert=params.mask_invert,
            output_format=params.output_format,
        )
    return Checked(candidate, facts)


def check_all(form: Form, uploads: Sequence[Upload], params: Params) -> tuple[list[Checked], list[Rejection]]:
    """Check many pairs, a few at once; return those that can be worked on, in their order, and why others cannot."""
    found = list(_workers.map(lambda one: _findings(form, params, one), uploads))
    return [one for one in found if isinstance(one, Checked)], [one for one in found if isinstance(one, Rejection)]


def _findings(form: Form, params: Params, candidate: Upload) -> Checked | Rejection:
    try:
        return check(form, candidate, params)
    except (ImageFault, Problem) as fault:
        return _reject(names.clean(candidate.image.name), fault.code, fault.detail)


def put(form: Form, checked: Checked, params: Params) -> Stored:
    """Store both files, and what the upstream will be sent where that differs. Raises ``StoreUnavailable`` and such."""
    at = f"inputs/{checked.upload.job_id}"
    keys = {"image_key": f"{at}/image", "mask_key": f"{at}/mask"}
    with _turn:
        image, mask = form.read(checked.upload.image), form.read(checked.upload.mask)
        store().put(keys["image_key"], image, media_type=f"image/{checked.facts.image.format}")
        store().put(keys["mask_key"], mask, media_type=f"image/{checked.facts.mask.format}")
        sent = payload.prepare(image, mask, mask_invert=params.mask_invert)
        for name, data, original in (("image", sent.image, image), ("mask", sent.mask, mask)):
            keys[f"send_{name}_key"] = keys[f"{name}_key"] if data == original else f"{at}/send-{name}"
            if data != original:
                kind = "png" if data.startswith(PNG_SIGNATURE) else "jpeg"
                store().put(keys[f"send_{name}_key"], data, media_type=f"image/{kind}")
    return Stored(checked.upload, checked.facts, keys)


def put_all(form: Form, checked: Sequence[Checked], params: Params) -> list[Stored]:
    """Store many pairs, a few at once."""
    return list(_workers.map(lambda one: put(form, one, params), checked))


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
    batch_id: str | None = None,
    first_position: int = 0,
    priority: int = 5,
    endpoint_id: str | None = None,
    metadata: dict[str, Any] | None = None,
) -> list[Job]:
    """Write the jobs and the first event of each; their objects are stored already."""
    rows = [
        Job(
            id=one.upload.job_id,
            tenant_id=tenant_id,
            batch_id=batch_id,
            position=position,
            custom_id=one.upload.custom_id,
            endpoint_id=endpoint_id,
            meta=metadata or {},
            params=params.model_dump(),
            warnings=list(one.facts.warnings),
            image=asdict(one.facts.image),
            mask=asdict(one.facts.mask),
            **one.keys,
            tag=HIGHEST_PRIORITY - priority,
        )
        for position, one in enumerate(stored, first_position)
    ]
    tx.add_all(rows)
    tx.flush()
    events = [{"job_id": row.id, "state": State.QUEUED, "reason": "accepted"} for row in rows]
    if events:
        tx.execute(insert(JobEvent), events)
    return rows


def _reject(item: str, code: str, detail: str) -> Rejection:
    return Rejection(item=item, code=code, detail=detail)
