"""The receipt of a batch: a line for each job that has ended and for each item that never became a job."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import Select, bindparam, literal_column, select

from cleanplate import db
from cleanplate.models import Job
from cleanplate.receipt import Line
from cleanplate.resources import Rejection
from cleanplate.states import RULES, TERMINAL, State

PAGE: Final = 200
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


COLUMNS: Final = tuple(Line.model_fields)


def ended(batch_id: str) -> Iterator[Job]:
    """Yield the batch's jobs that have ended, in the order of their ids; no transaction is open in between."""
    after = ""
    while True:
        with db.transaction() as tx:
            rows = tx.scalars(page(), {"batch_id": batch_id, "after": after}).all()
        yield from rows
        if len(rows) < PAGE:
            return
        after = rows[-1].id


@lru_cache(maxsize=1)
def page() -> Select[Job]:
    """Return the query for the jobs of ``batch_id`` that have ended and whose ids come next after ``after``."""
    over: list[Any] = [literal_column(f"'{state}'") for state in sorted(TERMINAL)]
    of_batch = (Job.batch_id == bindparam("batch_id"), Job.id > bindparam("after"))
    return (
        select(Job)
        .where(*of_batch, Job.state.in_(over), Job.deleted_at.is_(None))
        .order_by(Job.batch_id, Job.id)
        .limit(literal_column(str(PAGE)))
    )


def line(job: Job, **told: Any) -> Line:
    """Return the line of a job that has ended; ``told`` are fields that the row does not know, or knows otherwise."""
    image, mask, result = job.image or {}, job.mask or {}, job.result or {}
    facts: dict[str, Any] = {
        "position": job.position,
        "custom_id": job.custom_id,
        "job_id": job.id,
        "status": RULES[State(job.state)].status,
        "error_code": job.error_code,
        "error_detail": job.error_detail,
        "result_sha256": result.get("sha256"),
        "result_bytes": result.get("bytes"),
        "result_format": result.get("format"),
        "outside_mask_max_delta": result.get("outside_mask_max_delta"),
        "reused_from": result.get("reused_from"),
        "width": image.get("width"),
        "height": image.get("height"),
        "image_sha256": image.get("sha256"),
        "image_bytes": image.get("bytes"),
        "mask_sha256": mask.get("sha256"),
        "mask_bytes": mask.get("bytes"),
        "mask_coverage": mask.get("coverage"),
        "cost_credits": job.cost_credits,
        "attempts": job.attempts,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
    }
    return Line(**facts | told)


def refused(rejected: Iterable[Rejection]) -> Iterator[Line]:
    """Yield the lines of items that never became a job; ``custom_id`` is the name that they came under."""
    for one in rejected:
        yield Line(custom_id=one.item, status="rejected", error_code=one.code, error_detail=one.detail)


def as_ndjson(lines: Iterable[Line]) -> Iterator[bytes]:
    """Yield the lines as JSON, each ended by a line feed."""
    for one in lines:
        yield one.model_dump_json().encode() + b"\n"


def as_csv(lines: Iterable[Line]) -> Iterator[bytes]:
    """Yield the lines as CSV (RFC 4180) in UTF-8, a heading first."""
    yield csv_heading()
    yield from map(csv_row, lines)


def csv_heading() -> bytes:
    return _row(COLUMNS)


def csv_row(one: Line) -> bytes:
    """Return the line as a row; a text that a spreadsheet would take for a formula has a ``'`` before it."""
    told = one.model_dump(mode="json")
    return _row([_cell(told[name]) for name in COLUMNS])


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _row(cells: Sequence[Any]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerow(cells)
    return text.getvalue().encode()


def in_blocks(chunks: Iterable[bytes], size: int = 1 << 16) -> Iterator[bytes]:
    """Join small chunks into blocks of about ``size`` bytes: each that is sent costs a turn of a thread."""
    block = bytearray()
    for chunk in chunks:
        block += chunk
        if len(block) >= size:
            yield bytes(block)
            block.clear()
    yield bytes(block)
