"""``/v1/batches``: many pairs in, paired by their names, and how they are doing."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from pydantic import ValidationError
from sqlalchemy import func, select, update

from api import examples, idempotency, intake, receivers, remote
from api.auth import Authenticated, caller
from api.documentation import REF, answers, example, file, form, or_json
from api.errors import Problem, findings, invalid, not_found
from api.forms import Form
from api.idempotency import Once
from api.intake import Stored, Upload
from api.links import BaseUrl
from api.listing import BatchFilters, JobFilters, filtered, page
from api.remote import MultipartOrBatch, MultipartOrItems, Remote, Sent, SentBatch
from cleanplate import batches, db, ids, resources
from cleanplate.items import NewBatch, NewItems
from cleanplate.models import Batch, Job
from cleanplate.resources import Accepted, BatchOptions, Page, Rejection

router = APIRouter(
    prefix="/v1/batches", tags=["batches"], dependencies=[Depends(caller)], responses=answers(401, 422, 500, 503)
)

FILES = {"type": "array", "items": file("`NAME.ext` and its mask `NAME_mask.png`, and so on.")}
WRITES = answers(400, 403, 413, 415, 507) | idempotency.ANSWERS


@router.post(
    "",
    status_code=202,
    responses={
        **example(202, "Accepted; results will follow.", examples.NEW_BATCH, {"Location": "Where the batch is."}),
        **WRITES,
    },
    openapi_extra=or_json(
        form(
            {"files": FILES, "options": {"$ref": REF.format(model="BatchOptions")}},
            required=[],
            encoding={"options": {"contentType": "application/json"}},
        ),
        NewBatch,
    ),
)
def create_batch(who: Authenticated, sent: MultipartOrBatch, once: Once, response: Response) -> resources.Batch:
    """Take many images and masks, paired by their names; what cannot be worked on is in `rejected`, with why.

    Or take, as JSON, where each image and its mask lie: they are fetched and checked later, and a job whose pair cannot
    be worked on fails.
    """
    options = sent.options if isinstance(sent, SentBatch) else _options(sent)
    if options.webhook_url is not None:
        receivers.check_url(options.webhook_url)
    with db.transaction() as tx:
        candidates, rejected = _find_items(tx, who.tenant_id, sent, options)
    taken, rejected = _take(sent, candidates, rejected, options)
    if options.seal and not taken:
        raise Problem(422, "no_valid_items", "There is no pair to work on in this batch.", errors=findings(rejected))
    with db.transaction() as tx:
        endpoint_id = secret = None
        if options.webhook_url is not None:
            endpoint_id, secret = receivers.one_off(tx, who.tenant_id, options.webhook_url)
        row = Batch(
            id=ids.new(ids.Kind.BATCH),
            tenant_id=who.tenant_id,
            name=options.name,
            params=options.params.model_dump(),
            options=options.model_dump(mode="json"),
            rejected=[one.model_dump() for one in rejected],
            endpoint_id=endpoint_id,
            priority=options.priority,
            total=0,
            sealed_at=func.now() if options.seal else None,
        )
        tx.add(row)
        tx.flush()
        row.total = len(_insert(tx, row, taken, options))
        response.headers["Location"] = f"/v1/batches/{row.id}"
        return once.keep(tx, batches.resource(tx, row, secret=secret), secret=secret is not None)


@router.post(
    "/{batch_id}/items",
    status_code=202,
    responses={**example(202, "What became of each item.", examples.ACCEPTED), **WRITES, **answers(404, 409)},
    openapi_extra=or_json(form({"files": FILES}, required=["files"]), NewItems),
)
def add_batch_items(who: Authenticated, batch_id: str, sent: MultipartOrItems, once: Once, base: BaseUrl) -> Accepted:
    """Add items to an unsealed batch. One that the batch has already is refused, so a call may safely be repeated.

    Of JSON that holds only for items with a `custom_id`.
    """
    if isinstance(sent, Form):
        sent.only(files={"files"}, fields=())
    with db.transaction() as tx:
        options = BatchOptions(**_open(tx, who.tenant_id, batch_id).options)
        candidates, rejected = _find_items(tx, who.tenant_id, sent, options)
        known = intake.known(tx, batch_id, candidates)
    rejected += intake.duplicates(candidates, known)
    taken, rejected = _take(sent, [one for one in candidates if one.custom_id not in known], rejected, options)
    with db.transaction() as tx:
        row = _open(tx, who.tenant_id, batch_id, lock=True)
        late = intake.known(tx, batch_id, taken)
        rejected += intake.duplicates(taken, late)
        jobs = _insert(tx, row, [one for one in taken if one.custom_id not in late], options)
        row.total += len(jobs)
        before = {(one["item"], one["code"]) for one in row.rejected}
        told = [one for one in rejected if one.code != intake.DUPLICATE and (one.item, one.code) not in before]
        row.rejected = [*row.rejected, *(one.model_dump() for one in told)]
        batch = batches.resource(tx, row)
        accepted = [resources.job(job, base) for job in jobs]
        return once.keep(tx, Accepted(accepted=accepted, rejected=rejected, batch=batch))


@router.post("/{batch_id}/seal", responses=example(200, "The batch.", examples.BATCH) | answers(403, 404))
def seal_batch(who: Authenticated, batch_id: str) -> resources.Batch:
    """Say that no more items will come, so that the batch can end. Sealing twice changes nothing."""
    with db.transaction() as tx:
        mine = update(Batch).where(Batch.id == batch_id, Batch.tenant_id == who.tenant_id)
        if not tx.scalar(mine.values(sealed_at=func.coalesce(Batch.sealed_at, func.now())).returning(Batch.id)):
            raise not_found("batch")
        batches.settle(tx, batch_id)
        return batches.resource(tx, tx.get_one(Batch, batch_id))


@router.get("", responses=example(200, "One page, newest first.", examples.BATCH_PAGE) | answers(400))
def list_batches(who: Authenticated, wanted: Annotated[BatchFilters, Query()]) -> Page[resources.Batch]:
    """List your batches, newest first."""
    mine = filtered(select(Batch).where(Batch.tenant_id == who.tenant_id), Batch, wanted)
    with db.transaction() as tx:
        rows, cursor = page(tx, mine, Batch, wanted, newest_first=True)
        return Page(data=batches.page(tx, rows), next_cursor=cursor)


@router.get("/{batch_id}", responses=example(200, "The batch.", examples.BATCH) | answers(404))
def get_batch(who: Authenticated, batch_id: str) -> resources.Batch:
    """Return one batch with live counts."""
    with db.transaction() as tx:
        return batches.resource(tx, _find(tx, who.tenant_id, batch_id))


@router.get(
    "/{batch_id}/jobs", responses=example(200, "One page, in the order of ids.", examples.JOB_PAGE) | answers(400, 404)
)
def list_batch_jobs(
    who: Authenticated, batch_id: str, wanted: Annotated[JobFilters, Query()], base: BaseUrl
) -> Page[resources.Job]:
    """List a batch's jobs in the order in which they came."""
    its = filtered(select(Job).where(Job.batch_id == batch_id), Job, wanted)
    with db.transaction() as tx:
        _find(tx, who.tenant_id, batch_id)
        rows, cursor = page(tx, its, Job, wanted, newest_first=False)
    return Page(data=[resources.job(row, base) for row in rows], next_cursor=cursor)


def _options(sent: Form) -> BatchOptions:
    sent.only(files={"files"}, fields={"options"})
    try:
        return BatchOptions.model_validate_json(sent.fields.get("options", "{}"))
    except ValidationError as error:
        raise invalid(error, "/options") from None


def _find_items(
    tx: db.Transaction, tenant_id: str, sent: Form | Sent, options: BatchOptions
) -> tuple[Sequence[Upload | Remote], list[Rejection]]:
    if isinstance(sent, Form):
        return intake.find_pairs(sent.files, options.mask_suffix)
    return remote.find(tx, tenant_id, sent.items)


def _take(
    sent: Form | Sent, candidates: Sequence[Upload | Remote], rejected: Sequence[Rejection], options: BatchOptions
) -> tuple[Sequence[Stored | Remote], list[Rejection]]:
    """Check and store the pairs that are here; a batch that is to be taken whole or not at all is checked whole before.

    Those that are not here are taken as they are.
    """
    uploads = [one for one in candidates if isinstance(one, Upload)]
    if options.atomic:
        ahead = [*rejected, *(intake.check_all(sent, uploads, options.params) if isinstance(sent, Form) else ())]
        if grave := [one for one in ahead if one.code not in intake.HARMLESS]:
            detail = f"{len(grave)} of the items cannot be worked on, and the batch is to be taken whole or not at all."
            raise Problem(422, "batch_rejected", detail, errors=findings(grave))
    if not isinstance(sent, Form):
        return [one for one in candidates if isinstance(one, Remote)], list(rejected)
    stored, faulty = intake.take_all(sent, uploads, options.params)
    return stored, [*rejected, *faulty]


def _insert(tx: db.Transaction, row: Batch, taken: Sequence[Stored | Remote], options: BatchOptions) -> list[Job]:
    stored = [one for one in taken if isinstance(one, Stored)]
    remotes = [one for one in taken if isinstance(one, Remote)]
    jobs = intake.insert_jobs(tx, stored, options.params, tenant_id=row.tenant_id, batch=row)
    return jobs + remote.insert_jobs(tx, remotes, options.params, row)


def _find(tx: db.Transaction, tenant_id: str, batch_id: str, *, lock: bool = False) -> Batch:
    query = select(Batch).where(Batch.id == batch_id, Batch.tenant_id == tenant_id)
    row = tx.scalars(query.with_for_update(key_share=True) if lock else query).first()
    if row is None:
        raise not_found("batch")
    return row


def _open(tx: db.Transaction, tenant_id: str, batch_id: str, *, lock: bool = False) -> Batch:
    row = _find(tx, tenant_id, batch_id, lock=lock)
    if row.cancelling is not None:
        raise Problem(409, "batch_cancelled", "The batch is cancelled: no more items can come to it.")
    if row.sealed_at is not None:
        raise Problem(409, "batch_sealed", "The batch is sealed: no more items can come to it.")
    return row
