"""Items into a batch, page by page: the first may be submitted while others of the same request are still taken in.

Each page is one transaction: its jobs, their turns and the batch's total. A batch is sealed with its last page, so one
whose request did not come to its end is open and has what was taken until then.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Select, func, select, update

from api import intake, receivers, remote
from api.errors import Problem, findings, not_found, shortened, translate
from api.idempotency import Call, Hold
from api.intake import Checked, Source, Stored, Upload
from api.itemwise import Given, NoItem
from api.leases import Lease
from api.remote import Elsewhere
from cleanplate import batches, db, holding, ids, states
from cleanplate.models import Batch, Job
from cleanplate.resources import BatchOptions, Rejection

PAGE: Final = 50
"""Pairs that are committed at once."""
PAGE_ELSEWHERE: Final = 500
"""Items that are committed at once of those whose files lie elsewhere."""
JOBS_TOLD: Final = 200
"""Jobs that an answer lists; all of them are in the batch's own list."""
REJECTED_TOLD: Final = 10_000
"""Items in no job that an answer and the batch list."""

INCOMPLETE: Final = "body_incomplete"


@dataclass(slots=True)
class Admitted:
    """What became of a request's items: the first jobs, how many and which there are, and why others are none."""

    rejected: list[Rejection]
    job_ids: list[str] = field(default_factory=list)
    count: int = 0
    custom_ids: set[str] = field(default_factory=set)


Item = Upload | Given | NoItem
Taken = Stored | Given
Place = Source | Elsewhere


def page_size(place: Place, items: Sequence[Item], options: BatchOptions) -> int:
    """Return how many are committed at once: all if the batch is taken whole or not at all."""
    if options.atomic:
        return max(1, len(items))
    return PAGE_ELSEWHERE if isinstance(place, Elsewhere) else PAGE


def pages(
    place: Place, items: Sequence[Item], options: BatchOptions, to: Admitted, lease: Lease
) -> Generator[Sequence[Taken]]:
    """Check and store the pairs that are here, judge items that lie elsewhere, and yield them page by page.

    Why others are not is added to what is rejected. Items of which the lease knows that they are done are not yielded,
    but counted. Raises as :func:`api.intake.take_pages` does.
    """
    size, through = page_size(place, items, options), lease.done
    if not isinstance(place, Elsewhere):
        uploads = [one for one in items if isinstance(one, Upload)]
        yield from intake.take_pages(place, uploads, options.params, to.rejected, size)
        return
    given = [one for one in items if not isinstance(one, Upload)]
    for start in range(0, len(given), size):
        found, rejected = place.find(given[start : start + size])
        to.rejected += rejected
        before = [one for one in found if one.number < through and one.custom_id not in to.custom_ids]
        to.rejected += intake.duplicates(before, {one.custom_id for one in before} - {None})
        to.count += sum(one.custom_id is None and one.number < lease.before for one in before)
        if left := [one for one in found if one.number >= through]:
            yield left


def new(
    batch_id: str, items: Sequence[Item], but: AbstractSet[str] = frozenset()
) -> tuple[list[Item], list[Rejection]]:
    """Return the items but for pairs that the batch has, and the rejections of these if this call did not bring them.

    What lies elsewhere is looked up when it comes to its page.
    """
    uploads = [one for one in items if isinstance(one, Upload)]
    with db.transaction() as tx:
        known = intake.known(tx, batch_id, uploads)
    late = intake.duplicates(uploads, known - but)
    return [one for one in items if not isinstance(one, Upload) or one.custom_id not in known | but], late


def check_all(place: Place, items: Sequence[Item], options: BatchOptions) -> tuple[list[Checked], list[Rejection]]:
    """Store nothing; return the items that can be worked on, as far as is known, and why others cannot."""
    if isinstance(place, Elsewhere):
        found, rejected = place.find([one for one in items if not isinstance(one, Upload)])
        return [Checked(one) for one in found], rejected
    return intake.check_all(place, [one for one in items if isinstance(one, Upload)], options.params)


def check(place: Place, items: Sequence[Item], rejected: Sequence[Rejection], options: BatchOptions) -> None:
    """Raise :class:`Problem` 422 if the batch is to be taken whole or not at all, and cannot be taken whole."""
    if not options.atomic:
        return
    ahead = [*rejected, *check_all(place, items, options)[1]]
    if grave := [one for one in ahead if one.code not in intake.HARMLESS]:
        detail = f"{len(grave)} of the items cannot be worked on, and the batch is to be taken whole or not at all."
        raise Problem(422, "batch_rejected", detail, errors=findings(grave))


def begin(tx: db.Transaction, tenant_id: str, options: BatchOptions) -> tuple[Batch, str | None]:
    """Write a batch without items, and return it with the secret of its webhooks if they are new."""
    endpoint_id = secret = None
    if options.webhook_url is not None:
        endpoint_id, secret = receivers.one_off(tx, tenant_id, options.webhook_url)
    row = Batch(
        id=ids.new(ids.Kind.BATCH),
        tenant_id=tenant_id,
        name=options.name,
        params=options.params.model_dump(),
        options=options.model_dump(mode="json"),
        rejected=[],
        endpoint_id=endpoint_id,
        priority=options.priority,
        total=0,
        hold=states.Hold.CANARY if options.canary is not None else None,
        budget_credits=options.budget_credits,
    )
    tx.add(row)
    tx.flush()
    return row, secret


def insert(tx: db.Transaction, row: Batch, taken: Sequence[Taken], options: BatchOptions, to: Admitted) -> None:
    """Write the jobs of a batch whose row is locked. In parts, since rows of ten thousand jobs fill the memory."""
    if len(taken) > PAGE and isinstance(taken[0], Stored):
        holding.line_up_later(tx, row)
    for start in range(0, len(taken), PAGE):
        part = taken[start : start + PAGE]
        stored = [one for one in part if isinstance(one, Stored)]
        jobs = intake.insert_jobs(tx, stored, options.params, tenant_id=row.tenant_id, batch=row, reuse=options.reuse)
        job_ids = [job.id for job in jobs]
        job_ids += remote.insert_jobs(tx, [one for one in part if isinstance(one, Given)], options, row)
        row.total += len(job_ids)
        to.count += len(job_ids)
        to.custom_ids.update(one.custom_id for one in part if one.custom_id is not None)
        for job in jobs:
            tx.expunge(job)
        to.job_ids += job_ids[: JOBS_TOLD - len(to.job_ids)]


def done(taken: Sequence[Taken], lease: Lease) -> int:
    """Return how many items of its JSON, if it is JSON, the call is through when it has taken these, too."""
    return taken[-1].number + 1 if taken and isinstance(taken[-1], Given) else lease.done


def add(
    tenant_id: str,
    batch_id: str,
    pages: Iterable[Sequence[Taken]],
    options: BatchOptions,
    to: Admitted,
    call: Call | Hold,
) -> None:
    """Add pages of items to an open batch, each in a transaction of its own, but for those that the batch has.

    If it is sealed or cancelled meanwhile, the rest is rejected, or raises :class:`Problem` 409 when that is all.
    """
    for taken in pages:
        with db.transaction() as tx:
            row = find(tx, tenant_id, batch_id, lock=True)
            if why := closed(row):
                if not to.count:
                    raise why
                detail = f"{why.detail} {to.count} of these came before."
                to.rejected.append(intake.reject("the rest", why.code, detail))
                return
            late = intake.known(tx, row.id, taken)
            to.rejected += intake.duplicates(taken, late)
            insert(tx, row, [one for one in taken if one.custom_id not in late], options, to)
            call.note(tx, row.id, done(taken, call.lease))


def jobs(told: Admitted) -> Select[Job]:
    """Return the query for the first jobs, in the order in which they came."""
    return select(Job).where(Job.id.in_(told.job_ids)).order_by(Job.position)


def finish(tx: db.Transaction, batch_id: str, rejected: Sequence[Rejection], *, seal: bool) -> Batch:
    """Write down, once each, why items are in no job, seal the batch if it is to be, and end it if nothing is left.

    Raises :class:`Problem` 404 for a batch that was deleted meanwhile: nothing is told of it any more.
    """
    row = tx.get_one(Batch, batch_id, with_for_update={"key_share": True}, populate_existing=True)
    if row.deleted_at is not None:
        raise not_found("batch")
    told = [one.model_dump() for one in rejections([one for one in rejected if one.code != intake.DUPLICATE])]
    kept = [one for one in row.rejected if one["code"] != INCOMPLETE]
    before = {tuple(sorted(one.items())) for one in kept}
    new = [one for one in told if tuple(sorted(one.items())) not in before]
    row.rejected = [*kept, *new][: REJECTED_TOLD + 1]
    tx.flush()
    if seal:
        tx.execute(
            update(Batch).where(Batch.id == batch_id).values(sealed_at=func.coalesce(Batch.sealed_at, func.now()))
        )
        batches.settle(tx, batch_id)
    tx.refresh(row)
    return row


def note_incomplete(tx: db.Transaction, batch_id: str, count: int) -> None:
    """Write down that the request that makes the batch broke off; the next that brings items to it takes that back."""
    detail = f"the request broke off before all of it had come; {count} items of it are here"
    finish(tx, batch_id, [intake.reject("the rest", INCOMPLETE, detail)], seal=False)


def rejections(rejected: Sequence[Rejection]) -> list[Rejection]:
    """Return what an answer tells of items that are in no job."""
    return shortened(rejected, most=REJECTED_TOLD)


@contextmanager
def telling(lease: Lease) -> Iterator[None]:
    """Let what is raised say where the items are that were taken, if there are any."""
    try:
        yield
    except Exception as error:
        if lease.begun is None:
            raise
        raise interrupted(error, lease.begun, lease.done) from error


def interrupted(error: Exception, batch_id: str, done: int) -> Exception:
    """Return what to raise for a request that ended in the middle: it says where the items are that were taken."""
    told = translate(error)
    if told is None or "batch_id" in told.extra:
        return error
    left = f"send it the items after the first {done}" if done else "send it the same items again"
    detail = f"{told.detail} What was taken is in the batch {batch_id}: {left} while it is open."
    return Problem(
        told.status,
        told.code,
        detail,
        title=told.title,
        errors=told.errors,
        headers={**(told.headers or {}), "Location": f"/v1/batches/{batch_id}"},
        extra={**told.extra, "batch_id": batch_id} | ({"items_done": done} if done else {}),
    )


def find(tx: db.Transaction, tenant_id: str, batch_id: str, *, lock: bool = False) -> Batch:
    """Return the tenant's batch, on request locked. Raises :class:`Problem` 404."""
    query = select(Batch).where(Batch.id == batch_id, Batch.tenant_id == tenant_id, Batch.deleted_at.is_(None))
    row = tx.scalars(query.with_for_update(key_share=True) if lock else query).first()
    if row is None:
        raise not_found("batch")
    return row


def closed(row: Batch) -> Problem | None:
    """Return why no more items can come to the batch, or None."""
    if row.cancelling is not None:
        return Problem(409, "batch_cancelled", "The batch is cancelled: no more items can come to it.")
    if row.sealed_at is not None:
        return Problem(409, "batch_sealed", "The batch is sealed: no more items can come to it.")
    return None
