"""``/v1/batches``: many pairs in, paired by their names, and how they are doing."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from pydantic import ValidationError
from sqlalchemy import func, update

from api import admission, examples, idempotency, incoming, quote, receivers
from api.admission import Admitted, Item, Place
from api.arriving import ArrivingBatch, ArrivingItems, DryRun
from api.auth import Authenticated, Caller, caller
from api.bodies import MultipartOrBatch, MultipartOrItems
from api.documentation import REF, answers, example, file, form, or_json
from api.errors import Problem, findings, invalid, not_found
from api.forms import Form
from api.idempotency import Call, Once
from api.itemwise import Sent, SentBatch
from api.links import BaseUrl
from api.listing import BatchFilters, JobFilters, cut, of_batch, of_tenant
from api.remote import Elsewhere
from cleanplate import batches, db, resources, shown
from cleanplate.items import NewBatch, NewItems
from cleanplate.models import Batch
from cleanplate.quoted import Quote
from cleanplate.resources import Accepted, BatchOptions, Page, Rejection

router = APIRouter(
    prefix="/v1/batches", tags=["batches"], dependencies=[Depends(caller)], responses=answers(401, 422, 500, 503)
)

FILES = {"type": "array", "items": file("`NAME.ext` and its mask `NAME_mask.png`, and so on.")}
ARCHIVE = file("In place of `files`, a ZIP of the same; it may have a `manifest.csv`.")
WRITES = answers(400, 403, 408, 413, 415, 507) | idempotency.ANSWERS_OF_WORK


@router.post(
    "",
    status_code=202,
    response_model=None,  # by status: a Batch or a Quote
    responses={
        **example(200, "The findings of a dry run.", examples.QUOTE),
        **example(202, "Accepted; results will follow.", examples.NEW_BATCH, {"Location": "Where the batch is."}),
        **WRITES,
    },
    openapi_extra=or_json(
        form(
            "NewBatchFiles",
            {"files": FILES, "archive": ARCHIVE, "options": {"$ref": REF.format(model="BatchOptions")}},
            required=[],
            encoding={"options": {"contentType": "application/json"}},
        ),
        NewBatch,
    ),
)
def create_batch(
    who: Authenticated,
    sent: MultipartOrBatch,
    arrived: ArrivingBatch,
    once: Once,
    response: Response,
    *,
    dry_run: DryRun = False,
) -> resources.Batch | Quote:
    """Take many images and masks, paired by their names; what cannot be worked on is in `rejected`, with why.

    Or take, as JSON, where each image and its mask lie: they are fetched and checked later, and a job whose pair cannot
    be worked on fails.

    With `options` before its files, or its `items`, these are worked on from the first on while the rest still arrives.
    """
    with admission.telling(once.lease):
        count = arrived.admitted.count if arrived else 0
        return _create_batch(who, sent, once, response, count, dry_run=dry_run)


def _create_batch(
    who: Caller, sent: Form | SentBatch, once: Call, response: Response, count: int, *, dry_run: bool
) -> resources.Batch | Quote:
    options = sent.options if isinstance(sent, SentBatch) else _options(sent)
    if options.webhook_url is not None:
        receivers.check_url(options.webhook_url)
    place, items, rejected = _find(who.tenant_id, sent, options)
    if dry_run:
        response.status_code = 200
        good, faulty = admission.check_all(place, items, options)
        return quote.quote(who.tenant_id, good, [*rejected, *faulty], options)
    batch_id, secret = once.lease.begun, None
    if batch_id is not None:
        items, _ = admission.new(batch_id, items)
        with db.transaction() as tx:
            secret = receivers.untold(tx, batch_id)
    admission.check(place, items, rejected, options)
    admitted = Admitted(rejected, count=count)
    with closing(admission.pages(place, items, options, admitted, once.lease)) as pages:
        if batch_id is None:
            taken = next(pages, [])
            if options.seal and not taken:
                detail = "There is no pair to work on in this batch."
                raise Problem(422, "no_valid_items", detail, errors=findings(rejected))
            with db.transaction() as tx:
                row, secret = admission.begin(tx, who.tenant_id, options)
                batch_id = row.id
                admission.insert(tx, row, taken, options, admitted)
                if len(items) <= admission.page_size(place, items, options):
                    row = admission.finish(tx, batch_id, rejected, seal=options.seal)
                    response.headers["Location"] = f"/v1/batches/{batch_id}"
                    return once.keep(tx, batches.resource(tx, row, secret=secret), secret=secret is not None)
                once.note(tx, batch_id, admission.done(taken, once.lease))
        response.headers["Location"] = f"/v1/batches/{batch_id}"
        admission.add(who.tenant_id, batch_id, pages, options, admitted, once)
    with db.transaction() as tx:
        row = admission.finish(tx, batch_id, rejected, seal=options.seal)
        return once.keep(tx, batches.resource(tx, row, secret=secret), secret=secret is not None)


@router.post(
    "/{batch_id}/items",
    status_code=202,
    responses={**example(202, "What became of each item.", examples.ACCEPTED), **WRITES, **answers(404, 409)},
    openapi_extra=or_json(form("NewItemsFiles", {"files": FILES, "archive": ARCHIVE}, required=[]), NewItems),
)
def add_batch_items(
    who: Authenticated, batch_id: str, sent: MultipartOrItems, arrived: ArrivingItems, once: Once, base: BaseUrl
) -> Accepted:
    """Add items to an unsealed batch. One that the batch has already is refused, so a call may safely be repeated.

    Of JSON that holds for items with a `custom_id`, and under an `Idempotency-Key` for all.
    """
    with admission.telling(once.lease):
        return _add_items(who, batch_id, sent, arrived.admitted, once, base)


def _add_items(who: Caller, batch_id: str, sent: Form | Sent, before: Admitted, once: Call, base: str) -> Accepted:
    if isinstance(sent, Form):
        sent.only(files=incoming.FIELDS, fields=())
    with db.transaction() as tx:
        row = admission.find(tx, who.tenant_id, batch_id)
        if (why := admission.closed(row)) and not before.count:
            raise why
        options = BatchOptions(**row.options)
    place, items, rejected = _find(who.tenant_id, sent, options)
    admitted = replace(before, rejected=rejected)
    items, late = admission.new(batch_id, items, but=admitted.custom_ids)
    rejected += late
    admission.check(place, items, rejected, options)
    with closing(admission.pages(place, items, options, admitted, once.lease)) as pages:
        admission.add(who.tenant_id, batch_id, pages, options, admitted, once)
    with db.transaction() as tx:
        batch = batches.resource(tx, admission.finish(tx, batch_id, rejected, seal=False))
        jobs = [shown.job(job, base) for job in tx.scalars(admission.jobs(admitted))]
        told = admission.rejections(rejected)
        answer = Accepted(accepted=jobs, accepted_count=admitted.count, rejected=told, batch=batch)
        return once.keep(tx, answer)


@router.post("/{batch_id}/seal", responses=example(200, "The batch.", examples.BATCH) | answers(403, 404))
def seal_batch(who: Authenticated, batch_id: str) -> resources.Batch:
    """Say that no more items will come, so that the batch can end. Sealing twice changes nothing."""
    with db.transaction() as tx:
        mine = update(Batch).where(Batch.id == batch_id, Batch.tenant_id == who.tenant_id, Batch.deleted_at.is_(None))
        if not tx.scalar(mine.values(sealed_at=func.coalesce(Batch.sealed_at, func.now())).returning(Batch.id)):
            raise not_found("batch")
        batches.settle(tx, batch_id)
        return batches.resource(tx, tx.get_one(Batch, batch_id))


@router.get("", responses=example(200, "One page, newest first.", examples.BATCH_PAGE) | answers(400))
def list_batches(who: Authenticated, wanted: Annotated[BatchFilters, Query()]) -> Page[resources.Batch]:
    """List your batches, newest first."""
    mine = of_tenant(Batch, who.tenant_id, wanted)
    with db.transaction() as tx:
        rows, cursor = cut(tx.scalars(mine).all(), wanted)
        return Page(data=batches.page(tx, rows), next_cursor=cursor)


@router.get("/{batch_id}", responses=example(200, "The batch.", examples.BATCH) | answers(404))
def get_batch(who: Authenticated, batch_id: str) -> resources.Batch:
    """Return one batch with live counts."""
    with db.transaction() as tx:
        return batches.resource(tx, admission.find(tx, who.tenant_id, batch_id))


@router.get(
    "/{batch_id}/jobs", responses=example(200, "One page, in the order of ids.", examples.JOB_PAGE) | answers(400, 404)
)
def list_batch_jobs(
    who: Authenticated, batch_id: str, wanted: Annotated[JobFilters, Query()], base: BaseUrl
) -> Page[resources.Job]:
    """List a batch's jobs in the order in which they came."""
    its = of_batch(batch_id, wanted)
    with db.transaction() as tx:
        admission.find(tx, who.tenant_id, batch_id)
        rows, cursor = cut(tx.scalars(its).all(), wanted)
    return Page(data=[shown.job(row, base) for row in rows], next_cursor=cursor)


def _options(sent: Form) -> BatchOptions:
    sent.only(files=incoming.FIELDS, fields={"options"})
    try:
        return BatchOptions.model_validate_json(sent.fields.get("options", "{}"))
    except ValidationError as error:
        raise invalid(error, "/options") from None


def _find(tenant_id: str, sent: Form | Sent, options: BatchOptions) -> tuple[Place, Sequence[Item], list[Rejection]]:
    """Return where the items are, what they are, and why others are none."""
    return incoming.find(sent, options) if isinstance(sent, Form) else (Elsewhere(tenant_id), sent.items, [])
