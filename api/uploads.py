"""``/v1/uploads``: room for a file that a client puts into the store by itself, and the door of a store without one."""

import hashlib
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import IO, Annotated, Final

from fastapi import APIRouter, Depends, Request, Response
from fastapi.concurrency import run_in_threadpool
from sqlalchemy import func, select

from api import examples, forms, idempotency
from api.auth import Authenticated, caller
from api.documentation import answers, example
from api.errors import Problem, not_found
from api.idempotency import Once
from api.links import BaseUrl
from api.remote import UPLOAD_KEPT
from api.store import store
from cleanplate import db, ids, items, settings
from cleanplate.models import Upload

LINK_KEPT: Final = timedelta(hours=1)
DOOR: Final = "/uploads/"
"""Where files are put when the store has no addresses: what follows is a token, and no key is asked for."""

router = APIRouter(prefix="/v1/uploads", tags=["uploads"], dependencies=[Depends(caller)])
door = APIRouter(include_in_schema=False)


@router.post(
    "",
    status_code=201,
    responses={
        **example(201, "Room for one file.", examples.UPLOAD),
        **answers(400, 401, 403, 408, 413, 422, 500, 503),
        **idempotency.ANSWERS,
    },
)
def create_upload(who: Authenticated, once: Once, base: BaseUrl, wanted: items.NewUpload | None = None) -> items.Upload:
    """Make room for one image or mask: put the file to `url`, then name `upload_id` in the items of a batch.

    One upload may serve many items, such as one mask for all. What is not named within a day is deleted.
    """
    limit = settings.get().max_file_bytes
    size = wanted.bytes if wanted else None
    if size is not None and size > limit:
        detail = f"The file has {size} bytes and the most that is taken is {limit}."
        raise Problem(413, "file_too_large", detail, extra={"bytes": size, "limit_bytes": limit})
    id_ = ids.new(ids.Kind.UPLOAD)
    url = store().presign_put(f"uploads/{id_}", ttl_seconds=int(LINK_KEPT.total_seconds()), size=size)
    token = None if url else secrets.token_urlsafe(32)
    now = datetime.now(UTC)
    with db.transaction() as tx:
        row = Upload(
            id=id_,
            tenant_id=who.tenant_id,
            token_sha256=token and _digest(token),
            link_expires_at=func.now() + LINK_KEPT,
            expires_at=func.now() + UPLOAD_KEPT,
        )
        tx.add(row)
        made = items.Upload(
            upload_id=id_,
            url=url or f"{base.rstrip('/')}{DOOR}{token}",
            headers={},
            url_expires_at=now + LINK_KEPT,
            max_bytes=size or limit,
            expires_at=now + UPLOAD_KEPT,
        )
        return once.keep(tx, made, secret=True)


async def _received(token: str, request: Request) -> AsyncIterator[tuple[str, IO[bytes]]]:
    """Read the body into a file without a name, if the token is one that still opens; yield the upload's id and it."""
    upload_id = await run_in_threadpool(_opened_by, token)
    spool = await run_in_threadpool(forms.spool)
    try:
        async for chunk in request.stream():
            await run_in_threadpool(forms.write, spool, chunk)
        yield upload_id, spool
    finally:
        await run_in_threadpool(spool.close)


@door.put(f"{DOOR}{{token}}")
def put_upload(received: Annotated[tuple[str, IO[bytes]], Depends(_received, scope="function")]) -> Response:
    """Take the file of an upload, in the place of one that was put before."""
    upload_id, file = received
    file.seek(0)
    store().put(f"uploads/{upload_id}", file, media_type="application/octet-stream")
    return Response()


def _opened_by(token: str) -> str:
    with db.transaction() as tx:
        mine = (Upload.token_sha256 == _digest(token), Upload.link_expires_at > func.now())
        upload_id = tx.scalar(select(Upload.id).where(*mine))
    if upload_id is None:
        raise not_found("upload")
    return upload_id


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
