"""``/v1/batches/{id}/results.zip``, ``.csv`` and ``.ndjson``: what came of a batch, streamed."""

import tempfile
from collections.abc import Iterator
from typing import Final

from fastapi import APIRouter, Depends, Response
from fastapi.responses import StreamingResponse
from sqlalchemy import select

from api import receipts
from api.auth import Authenticated, caller
from api.documentation import answer, answers
from api.errors import Problem, not_found
from api.store import store
from api.zipping import Archive
from cleanplate import batches, db
from cleanplate.models import Batch, Job
from cleanplate.receipt import Line
from cleanplate.resources import Batch as BatchResource
from cleanplate.storage import CHUNK_BYTES, ObjectMissing, content_disposition

EXTENSIONS: Final = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}
RECEIPT: Final = "results.csv"
STATUS_HEADER: Final = "Cleanplate-Batch-Status"
HEADERS: Final = {
    STATUS_HEADER: {
        "description": "The batch's `status` when the answer began: while it is `open` or `processing`, only what "
        "had ended by then is in it.",
        "schema": {"type": "string", "enum": ["open", "processing", "completed", "cancelled"]},
    },
    "Content-Disposition": {"description": "`attachment`.", "schema": {"type": "string"}},
}
EXPIRED: Final = {"error_code": "result_expired", "error_detail": "The result is no longer stored."}
NOTHING_YET: Final = Problem(409, "not_finished", "No job of this batch has ended yet.")

router = APIRouter(
    prefix="/v1/batches",
    tags=["batches"],
    dependencies=[Depends(caller)],
    responses=answers(401, 404, 422, 500, 503) | answer(NOTHING_YET),
)


def _file(media_type: str, description: str) -> dict[int | str, dict[str, object]]:
    content = {media_type: {"schema": {"type": "string", "format": "binary"}}}
    return {200: {"description": description, "content": content, "headers": HEADERS}}


class ZipResponse(StreamingResponse):
    media_type = "application/zip"


class CsvResponse(StreamingResponse):
    media_type = "text/csv; charset=utf-8"


class NdjsonResponse(StreamingResponse):
    media_type = "application/x-ndjson"


@router.get(
    "/{batch_id}/results.zip",
    response_class=ZipResponse,
    responses=_file("application/zip", "The pictures, and the receipt as its last entry, `results.csv`."),
)
def download_batch_results(who: Authenticated, batch_id: str) -> Response:
    """Return all results as one ZIP file.

    Entries are named by `custom_id`, made safe and unique, and stored without compression; the column `file` of the
    receipt tells which is which, and what failed or is no longer stored has none. An answer that breaks off is no
    whole ZIP file: it cannot be resumed, only asked for again.
    """
    batch = _find(who.tenant_id, batch_id)
    store().check()
    return ZipResponse(_zip(batch), headers=_headers(batch, "zip"))


@router.get(
    "/{batch_id}/results.csv", response_class=CsvResponse, responses=_file("text/csv", "The receipt, with a heading.")
)
def get_batch_receipt_csv(who: Authenticated, batch_id: str) -> Response:
    """Return the receipt as CSV: what became of each item, hashes, sizes, cost, times.

    A text that a spreadsheet would take for a formula has a `'` before it; NDJSON tells all texts as they are.
    """
    batch = _find(who.tenant_id, batch_id)
    chunks = receipts.in_blocks(receipts.as_csv(_lines(batch)))
    return CsvResponse(chunks, headers=_headers(batch, "csv"))


@router.get(
    "/{batch_id}/results.ndjson",
    response_class=NdjsonResponse,
    responses=_file("application/x-ndjson", "The receipt, an object a line."),
)
def get_batch_receipt_ndjson(who: Authenticated, batch_id: str) -> Response:
    """Return the same receipt as JSON, an object a line."""
    batch = _find(who.tenant_id, batch_id)
    chunks = receipts.in_blocks(receipts.as_ndjson(_lines(batch)))
    return NdjsonResponse(chunks, headers=_headers(batch, "ndjson"))


def _find(tenant_id: str, batch_id: str) -> BatchResource:
    """Return the batch, or answer 404, or 409 while there is nothing that could be told of it."""
    query = select(Batch).where(Batch.id == batch_id, Batch.tenant_id == tenant_id, Batch.deleted_at.is_(None))
    with db.transaction() as tx:
        row = tx.scalars(query).first()
        if row is None:
            raise not_found("batch")
        batch = batches.resource(tx, row)
    if batch.finished_at is None and not (batch.counts.succeeded + batch.counts.failed + batch.counts.cancelled):
        raise NOTHING_YET
    return batch


def _headers(batch: BatchResource, extension: str) -> dict[str, str]:
    return {
        "Content-Disposition": content_disposition(f"{batch.name or batch.id}.{extension}"),
        "Cache-Control": "private, no-store",
        STATUS_HEADER: batch.status,
    }


def _lines(batch: BatchResource) -> Iterator[Line]:
    yield from map(receipts.line, receipts.ended(batch.id))
    yield from receipts.refused(batch.rejected)


def _zip(batch: BatchResource) -> Iterator[bytes]:
    """Yield the archive. The receipt is gathered on the disk as the entries are written, and so tells of just these."""
    archive = Archive()
    with tempfile.TemporaryFile(prefix="cleanplate-") as receipt:
        receipt.write(receipts.csv_heading())
        for job in receipts.ended(batch.id):
            told = {}
            if job.result is not None:
                try:
                    picture = _open(job)
                except ObjectMissing:
                    told = EXPIRED
                else:
                    extension = EXTENSIONS[job.result["format"]]
                    told = {"file": archive.name(job.custom_id or job.id, extension, job.id)}
                    yield from archive.add(told["file"], job.finished_at, job.result["bytes"], picture)
            receipt.write(receipts.csv_row(receipts.line(job, **told)))
        for refused in receipts.refused(batch.rejected):
            receipt.write(receipts.csv_row(refused))
        size = receipt.tell()
        receipt.seek(0)
        yield from archive.add(RECEIPT, None, size, iter(lambda: receipt.read(CHUNK_BYTES), b""))
    yield archive.close()


def _open(job: Job) -> Iterator[bytes]:
    if job.purged_at is not None or job.result_key is None:
        raise ObjectMissing(job.id)
    return store().stream(job.result_key)
