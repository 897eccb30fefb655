"""``/v1/jobs``: one pair in, and everything about a job out."""

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse, StreamingResponse
from pydantic import BeforeValidator, Field, Json, ValidationError
from pydantic_core import PydanticCustomError
from sqlalchemy import select

from api import examples, idempotency, intake, receivers
from api.auth import Authenticated, Caller, caller
from api.documentation import REF, answers, example, file, form
from api.errors import Problem, invalid, not_found
from api.forms import Form, Multipart
from api.idempotency import Call, Once
from api.links import BaseUrl
from api.listening import Exchange
from api.listing import JobFilters, cut, of_tenant
from api.store import store
from cleanplate import db, resources, shown
from cleanplate.items import CUSTOM_ID_LENGTH, METADATA_BYTES
from cleanplate.models import Job
from cleanplate.resources import Page, Params
from cleanplate.states import TERMINAL, State
from cleanplate.storage import ObjectMissing, content_disposition

LINK_SECONDS = 3600
WAIT_MOST = 60

_EXTENSIONS = {"png": "png", "jpeg": "jpg", "webp": "webp"}
PICTURES = {f"image/{name}": {"schema": {"type": "string", "format": "binary"}} for name in _EXTENSIONS}

router = APIRouter(
    prefix="/v1/jobs", tags=["jobs"], dependencies=[Depends(caller)], responses=answers(401, 422, 500, 503)
)


def _brief(raw: Any) -> Any:
    if len(raw) > METADATA_BYTES:
        raise PydanticCustomError("value_error", f"more than {METADATA_BYTES} bytes")
    return raw


class JobFields(Params):
    """The fields of a job's form beside its two files."""

    custom_id: str | None = Field(None, min_length=1, max_length=CUSTOM_ID_LENGTH, description="Your name for it.")
    metadata: Annotated[Json[dict[str, Any]], BeforeValidator(_brief)] = Field(
        {},
        description="A JSON object of yours that comes back with the job.",
        json_schema_extra={"default": "{}"},  # as it is sent: a text
    )
    webhook_url: str | None = Field(None, max_length=2048, description="Hears when the job ends.")
    reuse: bool = Field(
        True,
        description="With the same image, mask and params as another job of yours it shares that one's result and is "
        "not paid. `false`: it is paid anew.",
    )


@router.post(
    "",
    status_code=202,
    responses={
        **example(200, "It has ended, within the time to wait.", examples.JOB, {"Location": "Where the job is."}),
        **example(202, "Accepted; its results will follow.", examples.QUEUED_JOB, {"Location": "Where the job is."}),
        **answers(400, 403, 408, 413, 415, 507),
        **idempotency.ANSWERS_OF_WORK,
    },
    openapi_extra=form(
        "NewJob",
        {
            "image": file("The photograph: JPEG, PNG, WebP, AVIF or HEIC."),
            "mask": file("White is what to erase; of the same size as the image."),
            **JobFields.model_json_schema(ref_template=REF)["properties"],
        },
        required=["image", "mask"],
    ),
)
async def create_job(
    who: Authenticated,
    sent: Multipart,
    once: Once,
    response: Response,
    base: BaseUrl,
    request: Request,
    exchange: Exchange,
    wait: Annotated[float, Query(ge=0, le=WAIT_MOST, description="Seconds to hold the answer back.")] = 0,
) -> resources.Job:
    """Take one image and its mask. Both are checked before anything is stored or paid.

    With `wait` the answer is held back until the job has ended, and is 200 then, whatever the end; after that time it
    is 202 and the job as it is. The job goes on in either case, and also when you hang up; sent again under the same
    `Idempotency-Key` the call is answered at once, by the job as it was accepted.
    """
    job = await run_in_threadpool(_create, who, sent, once, response, base)
    if not wait:
        return job
    await run_in_threadpool(sent.spool.close)  # not held while waiting
    if await exchange.until_ended(request, job.id, wait):
        response.status_code = 200
    now = await exchange.read(partial(get_job, who, job.id, base))
    return now.model_copy(update={"webhook_secret": job.webhook_secret})


def _create(who: Caller, sent: Form, once: Call, response: Response, base: str) -> resources.Job:
    sent.only(files={"image", "mask"}, fields=JobFields.model_fields)
    try:
        fields = JobFields.model_validate(sent.fields)
    except ValidationError as error:
        raise invalid(error) from None
    params = Params(**fields.model_dump(include=set(Params.model_fields)))
    upload = intake.upload(sent.one("image"), sent.one("mask"), fields.custom_id)
    if fields.webhook_url is not None:
        receivers.check_url(fields.webhook_url)
    stored = intake.take(sent, upload, params)
    with db.transaction() as tx:
        endpoint_id = secret = None
        if fields.webhook_url is not None:
            endpoint_id, secret = receivers.one_off(tx, who.tenant_id, fields.webhook_url)
        (row,) = intake.insert_jobs(
            tx,
            [stored],
            params,
            tenant_id=who.tenant_id,
            reuse=fields.reuse,
            endpoint_id=endpoint_id,
            metadata=fields.metadata,
        )
        response.headers["Location"] = f"/v1/jobs/{row.id}"
        job = shown.job(row, base).model_copy(update={"webhook_secret": secret})
        return once.keep(tx, job, secret=secret is not None)


@router.get("", responses=example(200, "One page, newest first.", examples.JOB_PAGE) | answers(400))
def list_jobs(who: Authenticated, wanted: Annotated[JobFilters, Query()], base: BaseUrl) -> Page[resources.Job]:
    """List your jobs, newest first."""
    mine = of_tenant(Job, who.tenant_id, wanted)
    with db.transaction() as tx:
        rows, cursor = cut(tx.scalars(mine).all(), wanted)
    return Page(data=[shown.job(row, base) for row in rows], next_cursor=cursor)


@router.get("/{job_id}", responses=example(200, "The job.", examples.JOB) | answers(404))
def get_job(who: Authenticated, job_id: str, base: BaseUrl) -> resources.Job:
    """Return one job."""
    with db.transaction() as tx:
        return shown.job(_find(tx, who.tenant_id, job_id), base)


@router.get(
    "/{job_id}/result",
    response_class=StreamingResponse,
    responses={
        200: {"description": "The picture, from a store without addresses.", "content": PICTURES},
        302: {"description": f"To an address of the store that works for {LINK_SECONDS} s without a key."},
        304: {"description": "You have it: `If-None-Match` names its SHA-256."},
        **answers(404, 409, 410),
    },
)
def get_job_result(who: Authenticated, job_id: str, request: Request) -> Response:
    """Return the erased picture."""
    with db.transaction() as tx:
        row = _find(tx, who.tenant_id, job_id)
    if State(row.state) not in TERMINAL:
        raise Problem(409, "not_finished", f"The job has not ended yet: it is {row.state}.")
    if row.result_key is None or row.result is None:
        raise Problem(409, "no_result", f"The job {row.state} and has no result.")
    if row.purged_at is not None:
        raise _expired()
    etag = f'"{row.result["sha256"]}"'
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers={"ETag": etag})
    filename = f"{row.custom_id or row.id}.{_EXTENSIONS[row.result['format']]}"
    link = store().presign(row.result_key, filename=filename, ttl_seconds=LINK_SECONDS)
    if link is not None:
        if store().stat(row.result_key) is None:
            raise _expired()
        return RedirectResponse(link, 302, headers={"Cache-Control": "no-store"})
    try:
        chunks = store().stream(row.result_key)
    except ObjectMissing:
        raise _expired() from None
    headers = {
        "Content-Disposition": content_disposition(filename),
        "Content-Length": str(row.result["bytes"]),
        "ETag": etag,
        "Cache-Control": "private, no-cache",
    }
    return StreamingResponse(chunks, media_type=f"image/{row.result['format']}", headers=headers)


def _expired() -> Problem:
    return Problem(410, "result_expired", "The result is no longer stored.")


def _find(tx: db.Transaction, tenant_id: str, job_id: str) -> Job:
    row = tx.scalars(select(Job).where(Job.id == job_id, Job.tenant_id == tenant_id, Job.deleted_at.is_(None))).first()
    if row is None:
        raise not_found("job")
    return row
