"""Hears of the jobs of a batch as they end, without reading the whole batch again each time."""

from collections import deque
from collections.abc import Iterator

from cleanplate.client import Client
from cleanplate.resources import Batch, Counts, Job
from cleanplate.states import Status

PAGE = 100
UNFINISHED = frozenset({Status.QUEUED, Status.PROCESSING})


class Follower:
    """One batch. ``names`` holds the ``custom_id`` of every job seen; ``over`` is when all have ended and been told.

    Jobs are claimed nearly in the order of their ids, so most pages are either all ended, and never read again, or all
    queued, and not read yet: a look costs a page or two, however large the batch is.
    """

    def __init__(self, client: Client, batch: Batch) -> None:
        self.batch = batch
        self.names: set[str] = set()
        self.over = False
        self._client = client
        self._ended: set[str] = set()
        self._open: list[str | None] = [None]
        self._known: set[str | None] = {None}

    def look(self) -> list[Job]:
        """Return the jobs that have ended since the last look."""
        self.batch = self._client.batch(self.batch.id)
        ended = _ended(self.batch.counts)
        found: list[Job] = []
        if len(self._ended) < ended:
            found += [job for job in self._walk() if self._is_news(job)]
        if len(self._ended) < ended:
            found += self.look_at_all()
        self.over = self.batch.finished_at is not None
        return found

    def look_at_all(self) -> list[Job]:
        """Read every page, and return the jobs that have ended and were not handed out before."""
        self._open, self._known = [None], {None}
        return [job for job in self._walk(to_the_end=True) if self._is_news(job)]

    def _walk(self, *, to_the_end: bool = False) -> Iterator[Job]:
        ahead, self._open = deque(self._open), []
        while ahead:
            cursor = ahead.popleft()
            page = self._client.batch_jobs(self.batch.id, cursor=cursor, limit=PAGE)
            if page.next_cursor and page.next_cursor not in self._known:
                self._known.add(page.next_cursor)
                ahead.append(page.next_cursor)
            if not page.next_cursor or any(job.status in UNFINISHED for job in page.data):
                self._open.append(cursor)
            yield from page.data
            if not to_the_end and all(job.status is Status.QUEUED for job in page.data):
                self._open += ahead
                return

    def _is_news(self, job: Job) -> bool:
        self.names.add(job.custom_id or job.id)
        if job.status in UNFINISHED or job.id in self._ended:
            return False
        self._ended.add(job.id)
        return True


def _ended(counts: Counts) -> int:
    return counts.succeeded + counts.failed + counts.cancelled
