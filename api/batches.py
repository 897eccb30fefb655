"""``/v1/batches``: many pairs in, paired by their names, and how they are doing."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from pydantic import ValidationError
from sqlalchemy import func, select, update

from api import examples, idempotency, intake, quote, receivers
from api.auth import Authenticated, caller
from api.documentation import REF, answers, example, file, form
from api.errors import Problem, findings, invalid, not_found
from api.forms import Form, Multipart
from api.idempotency import Once
from api.intake import Stored, Upload
from api.links import BaseUrl
from api.listing import BatchFilters, JobFilters, filtered, page
from cleanplate import batches, db, ids, resources
from cleanplate.models import Batch, Job
from cleanplate.quoted import Quote
from cleanplate.resources import Accepted, BatchOptions, Page, Rejection
from cleanplate.states import Hold

router = APIRouter(
    prefix="/v1/batches", tags=["batches"], dependencies=[Depends(caller)], responses=answers(401, 422, 500, 503)
)

DryRun = Annotated[bool, Query(description="Check everything; store, create and pay nothing.")]
FILES = {"type": "array", "items": file("`NAME.ext` and its mask `NAME_mask.png`, and so on.")}
WRITES = answers(400, 403, 413, 415, 507) | idempotency.ANSWERS


@router.post(
    "",
    status_code=202,
    responses={
        **example(200, "The findings of a dry run.", examples.QUOTE),
        **example(202, "Accepted; results will follow.", examples.NEW_BATCH, {"Location": "Where the batch is."}),
        **WRITES,
    },
    openapi_extra=form(
        {"files": FILES, "options": {"$ref": REF.format(model="BatchOptions")}},
        required=[],
        encoding={"options": {"contentType": "application/json"}},
    ),
)
def create_batch(
    who: Authenticated, sent: Multipart, once: Once, response: Response, *, dry_run: DryRun = False
) -> resources.Batch | Quote:
    """Take many images and masks, paired by their names; what cannot be worked on is in `rejected`, with why."""
    options = _options(sent)
    if options.webhook_url is not None:
        receivers.check_url(options.webhook_url)
    uploads, unpaired = intake.find_pairs(sent.files, options.mask_suffix)
    if dry_run:
        response.status_code = 200
        good, faulty = intake.check_all(sent, uploads, options.params)
        return quote.quote(good, [*unpaired, *faulty], options)
    stored, rejected = _take(sent, uploads, unpaired, options)
    if options.seal and not stored:
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
            hold=Hold.CANARY if options.canary is not None else None,
            budget_credits=options.budget_credits,
            sealed_at=func.now() if options.seal else None,
        )
        tx.add(row)
        tx.flush()
        row.total = len(_insert(tx, row, stored, options))
        response.headers["Location"] = f"/v1/batches/{row.id}"
        return once.keep(tx, batches.resource(tx, row, secret=secret), secret=secret is not None)


@router.post(
    "/{batch_id}/items",
    status_code=202,
    responses={**example(202, "What became of each item.", examples.ACCEPTED), **WRITES, **answers(404, 409)},
    openapi_extra=form({"files": FILES}, required=["files"]),
)
def add_batch_items(who: Authenticated, batch_id: str, sent: Multipart, once: Once, base: BaseUrl) -> Accepted:
    """Add items to an unsealed batch. One that the batch has already is refused, so a call may safely be repeated."""
    sent.only(files={"files"}, fields=())
    with db.transaction() as tx:
        options = BatchOptions(**_open(tx, who.tenant_id, batch_id).options)
        uploads, rejected = intake.find_pairs(sent.files, options.mask_suffix)
        known = intake.known(tx, batch_id, uploads)
    rejected += intake.duplicates(uploads, known)
    uploads = [one for one in uploads if one.custom_id not in known]
    stored, rejected = _take(sent, uploads, rejected, options)
    with db.transaction() as tx:
        row = _open(tx, who.tenant_id, batch_id, lock=True)
        late = intake.known(tx, batch_id, [one.upload for one in stored])
        rejected += intake.duplicates([one.upload for one in stored], late)
        jobs = _insert(tx, row, [one for one in stored if one.upload.custom_id not in late], options)
        row.total += len(jobs)
        told = [one.model_dump() for one in rejected if one.code != intake.DUPLICATE]
        row.rejected = [*row.rejected, *(one for one in told if one not in row.rejected)]
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


def _take(
    sent: Form, uploads: Sequence[Upload], rejected: Sequence[Rejection], options: BatchOptions
) -> tuple[list[Stored], list[Rejection]]:
    """Check and store the pairs; a batch that is to be taken whole or not at all is checked whole before."""
    if options.atomic:
        findings_ahead = [*rejected, *intake.check_all(sent, uploads, options.params)[1]]
        if grave := [one for one in findings_ahead if one.code not in intake.HARMLESS]:
            detail = f"{len(grave)} of the items cannot be worked on, and the batch is to be taken whole or not at all."
            raise Problem(422, "batch_rejected", detail, errors=findings(grave))
    stored, faulty = intake.take_all(sent, uploads, options.params)
    return stored, [*rejected, *faulty]


def _insert(tx: db.Transaction, row: Batch, stored: Sequence[Stored], options: BatchOptions) -> list[Job]:
    return intake.insert_jobs(tx, stored, options.params, tenant_id=row.tenant_id, batch=row)


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
