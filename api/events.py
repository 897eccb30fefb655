"""``/v1/batches/{id}/events``: how a batch goes on, as server-sent events that can be taken up again anywhere."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Header, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event
from sqlalchemy import Select, bindparam, literal_column, select

from api.auth import Authenticated, caller
from api.documentation import answers
from api.errors import Problem, not_found
from api.links import BaseUrl
from api.listening import Exchange, Switchboard
from cleanplate import batches, db, resources, shown
from cleanplate.models import Batch, BatchEnd, Job

PAGE: Final = 100
HEARTBEAT_SECONDS: Final = 15.0
RETRY_MILLISECONDS: Final = 2000
LONGEST_SECONDS: Final = 3600.0
"""An answer lasts no longer, so that a revoked key does not listen for ever; clients take it up again by themselves."""
OVER: Final = "end"
EXAMPLE: Final = """\
retry: 2000

event: job
data: {"id": "job_0199c8a4e2f07d6fb0d1a2b3c4d5e6f7", "status": "succeeded", ...}
id: 1

event: counts
data: {"total": 2, "queued": 0, "processing": 1, "succeeded": 1, "failed": 0, "cancelled": 0}

: waiting

event: end
data: {"id": "bat_0199c8a4e1b27c3e9f00112233445566", "status": "completed", ...}
id: end
"""

router = APIRouter(
    prefix="/v1/batches", tags=["batches"], dependencies=[Depends(caller)], responses=answers(401, 404, 422, 500, 503)
)


class EventStream(StreamingResponse):
    """Not FastAPI's own: what cannot be listened to has to be answered as a problem, before anything is sent."""

    media_type = "text/event-stream"


@dataclass(frozen=True, slots=True)
class News:
    """What a listener has not heard yet: jobs with the numbers of their ends, and the batch as it is then."""

    batch: resources.Batch
    after: int
    ends: list[tuple[int, resources.Job | None]]

    @property
    def last(self) -> int:
        return self.ends[-1][0] if self.ends else self.after

    @property
    def more(self) -> bool:
        return len(self.ends) == PAGE


@router.get(
    "/{batch_id}/events",
    response_class=EventStream,
    responses={
        200: {
            "description": "Events: `job` for each job that has ended, in the order of their ends, `counts` after "
            "them, `end` when the batch has ended, and then the answer ends, too.",
            "content": {"text/event-stream": {"schema": {"type": "string"}, "example": EXAMPLE}},
        },
        204: {"description": "You have heard `end`: there is nothing more to come."},
    },
)
async def listen_to_batch(
    who: Authenticated,
    batch_id: str,
    exchange: Exchange,
    base: BaseUrl,
    last_event_id: Annotated[
        str | None, Header(pattern=rf"^([0-9]{{1,9}}|{OVER})$", description="The last `id` that was heard.")
    ] = None,
) -> Response:
    """Tell of each job as it ends, and of the counts, until the batch has ended.

    Without `Last-Event-ID` it begins with the first job that ended; with it, after that one. No end is left out or told
    out of order. Comments come every 15 s when there is nothing to tell, and after an hour the answer ends: take
    it up again, as every browser's EventSource does by itself.
    """
    read = partial(_read, who.tenant_id, batch_id, base)
    after = int(last_event_id) if last_event_id and last_event_id != OVER else 0
    news = await exchange.read(partial(read, after))
    if last_event_id == OVER and news.batch.finished_at is not None:
        return Response(status_code=204)
    headers = {"Cache-Control": "private, no-store", "X-Accel-Buffering": "no"}
    return EventStream(_stream(exchange, read, news), headers=headers)


async def _stream(exchange: Switchboard, read: Callable[[int], News], news: News) -> AsyncIterator[bytes]:
    until = asyncio.get_running_loop().time() + LONGEST_SECONDS
    heard: resources.Counts | None = None
    yield format_sse_event(retry=RETRY_MILLISECONDS)
    with exchange.listening(news.batch.id) as bell:
        while True:
            for number, job in news.ends:
                if job is not None:
                    yield format_sse_event(event="job", data_str=job.model_dump_json(), id=str(number))
            if not news.more and news.batch.counts != heard:
                heard = news.batch.counts
                yield format_sse_event(event="counts", data_str=heard.model_dump_json())
            if not news.more and news.batch.finished_at is not None:
                yield format_sse_event(event=OVER, data_str=news.batch.model_dump_json(), id=OVER)
                return
            while not news.more and not await bell.ring(HEARTBEAT_SECONDS):
                yield format_sse_event(comment="waiting")
            if exchange.draining or asyncio.get_running_loop().time() > until:
                return
            try:
                news = await exchange.read(partial(read, news.last))
            except (
                Problem,
                *db.AWAY,
            ):  # it was deleted, or the database is away: what is next is told to who asks again
                return


def _read(tenant_id: str, batch_id: str, base: str, after: int) -> News:
    """Return what came after the end of this number, and the batch in the same snapshot: its counts are those ends."""
    mine = select(Batch).where(Batch.id == batch_id, Batch.tenant_id == tenant_id, Batch.deleted_at.is_(None))
    with db.transaction() as tx:
        tx.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        row = tx.scalars(mine).first()
        if row is None:
            raise not_found("batch")
        batch = batches.resource(tx, row)
        found = tx.execute(ends(), {"batch_id": batch_id, "after": after}).all()
    return News(batch, after, [(number, None if job.deleted_at else shown.job(job, base)) for number, job in found])


@lru_cache(maxsize=1)
def ends() -> Select[int, Job]:
    """Return the query for the jobs of ``batch_id`` that ended next after the end of number ``after``."""
    return (
        select(BatchEnd.number, Job)
        .join(Job, Job.id == BatchEnd.job_id)
        .where(BatchEnd.batch_id == bindparam("batch_id"), BatchEnd.number > bindparam("after"))
        .order_by(BatchEnd.number)
        .limit(literal_column(str(PAGE)))
    )
