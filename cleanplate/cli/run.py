"""Brings batches to their end: sends what is left, hears what has ended, saves results, shows how it stands."""

import time
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from functools import partial
from pathlib import Path
from queue import Empty

from cleanplate.cli.follow import Follower
from cleanplate.cli.held import HeldError, in_the_way, pauses, stands_still, words
from cleanplate.cli.manifest import BatchLine, Content, Fault, ItemLine, Manifest
from cleanplate.cli.pool import Done, Pool
from cleanplate.cli.progress import Progress, Standing
from cleanplate.cli.report import Report, described
from cleanplate.cli.saving import save
from cleanplate.cli.upload import Sending, Uploader
from cleanplate.client import Client
from cleanplate.client_errors import ApiError, NotFoundError
from cleanplate.pairing import Pair
from cleanplate.resources import Accepted, Batch, Job, Picture
from cleanplate.states import Status

TICK_SECONDS = 0.5
UPSTREAM_EVERY_SECONDS = 2.0
CREDITS_GRACE_SECONDS = 5.0
UPLOADS, DOWNLOADS = 3, 4
REFUSED_WHOLE = frozenset({"archive_rejected", "manifest_invalid"})


class OutOfCreditsError(Exception):
    """The upstream account has no credits left and nothing is moving any more; the text is the upstream's."""


class Run:
    """One run over any number of batches. With a manifest results are saved beside it, without none are."""

    def __init__(self, client: Client, progress: Progress, report: Report, manifest: Manifest | None) -> None:
        self._client = client
        self._progress = progress
        self._report = report
        self._manifest = manifest
        self._followers: dict[str, Follower] = {}
        self._awaited: dict[str, set[str] | None] = {}
        self._retried: set[str] = set()
        self._sending: Sending | None = None
        self._expected = self._unsent = self._settled = self._failed = 0
        self._done: Done = Done()
        self._uploads = Pool(UPLOADS, self._done)
        self._downloads = Pool(DOWNLOADS, self._done)
        self._upstream_due = 0.0
        self._still: tuple[int, float] | None = None

    def follow(self, follower: Follower, names: AbstractSet[str] | None = None, *, retried: bool = False) -> None:
        """Await the jobs called ``names`` of a batch, besides those awaited already, or all it has and will have.

        Of a batch that was ``retried`` those count that succeeded: the others are its child's.
        """
        batch_id = follower.batch.id
        self._followers[batch_id] = follower
        self._retried |= {batch_id} if retried else set()
        if names is None:
            self._awaited[batch_id] = None
        else:
            self._expected += len(names)
            self._awaited[batch_id] = (self._awaited.get(batch_id) or set()) | names

    def send(self, uploader: Uploader, chunks: Iterable[list[Pair]]) -> None:
        """Send pairs, whose batch is followed, and seal that batch when all of them have been sent."""

        def sent(count: int, refused: list[ItemLine]) -> None:
            self._unsent -= count
            for line in refused:
                self._forget(line.batch_id, line.name)
                self._settle(line)
            if not self._uploads.left:
                self.seal(uploader.batch_id)

        for chunk in chunks:
            self._unsent += len(chunk)
            self._uploads.submit(partial(uploader.send, chunk), partial(sent, len(chunk)))

    def send_archive(self, batch_id: str, archive: Path, pairs: int) -> None:
        """Send a ZIP of about so many pairs, whose batch is followed; seal that, or cancel it if the ZIP is refused."""
        self._sending = sending = Sending(batch_id, archive.name, pairs, archive.stat().st_size)

        def sent(_: Accepted) -> None:
            self._sending = None
            self.seal(batch_id)

        def send() -> Accepted:
            try:
                return self._client.add_archive(batch_id, archive, sending.tell)
            except ApiError as error:
                if error.code in REFUSED_WHOLE and not self._client.batch(batch_id).counts.total:
                    self._client.cancel_batch(batch_id)
                raise

        self._uploads.submit(send, sent)

    def seal(self, batch_id: str) -> None:
        self._client.seal(batch_id)
        if self._manifest:
            self._manifest.write(BatchLine(id=batch_id, url=self._client.url, sealed=True))

    def fetch(self, manifest: Manifest, line: ItemLine) -> None:
        """Download once more what had succeeded before."""
        self._expected += 1

        def again() -> ItemLine:
            try:
                return save(self._client, manifest, line, self._client.job(str(line.job_id)))
            except NotFoundError as error:
                return line.model_copy(update={"error": Fault(code="lost", detail=str(error))})

        self._downloads.submit(again, partial(self._settle, earlier=True))

    def take(self, follower: Follower, job: Job) -> None:
        """Settle a job that has ended, unless its name has gone into another batch since."""
        name = job.custom_id or job.id
        awaited = self._awaited[follower.batch.id]
        elsewhere = follower.batch.id in self._retried and job.status is not Status.SUCCEEDED
        if elsewhere or (awaited is not None and name not in awaited):
            return
        self._forget(follower.batch.id, name)
        known = self._manifest.items.get(name) if self._manifest else None
        settle = partial(self._settle, earlier=bool(known and known.job_id == job.id))
        line = _line(known, follower.batch.id, name, job)
        if job.status is Status.SUCCEEDED and self._manifest:
            self._downloads.submit(partial(save, self._client, self._manifest, line, job), settle)
        else:
            settle(line)

    def until_settled(self) -> None:
        """Return when all that is awaited has ended and is saved.

        Raises :class:`OutOfCreditsError`, ``HeldError``, ``ClientError``, and ``OSError`` where the folder cannot be
        written.
        """
        while True:
            for follower in self._unsettled():
                for job in follower.look():
                    self.take(follower, job)
                if follower.over and not self._uploads.left:
                    self._give_up(follower.batch.id)
            self._progress.show(self._standing())
            if not (self._unsettled() or self._uploads.left or self._downloads.left):
                return
            self._look_for_held()
            self._look_at_upstream()
            if self._sending:
                self._progress.note(self._sending.words())
            self._work_off(time.monotonic() + TICK_SECONDS)

    def _work_off(self, until: float) -> None:
        while (left := until - time.monotonic()) > 0:
            try:
                settle = self._done.get(timeout=left)
            except Empty:
                return
            settle()

    def going_on(self) -> list[str]:
        """Return the ids of the batches that have not ended and whose jobs are awaited."""
        return [follower.batch.id for follower in self._unsettled()]

    def _unsettled(self) -> list[Follower]:
        return [
            follower
            for batch_id, follower in self._followers.items()
            if not follower.over and self._awaited[batch_id] != set()
        ]

    def _forget(self, batch_id: str, name: str) -> None:
        awaited = self._awaited[batch_id]
        if awaited is not None:
            awaited.discard(name)

    def _give_up(self, batch_id: str) -> None:
        """Fail what the server should have and does not: the batch has ended without it."""
        for name in sorted(self._awaited[batch_id] or ()):
            self._forget(batch_id, name)
            if self._manifest:
                fault = Fault(code="lost", detail="the server has no job for it")
                self._settle(self._manifest.items[name].model_copy(update={"status": Status.FAILED, "error": fault}))

    def _settle(self, line: ItemLine, *, earlier: bool = False) -> None:
        if self._manifest:
            self._manifest.write(line)
        self._settled += 1
        self._report.item(line, earlier=earlier)
        for warning in () if earlier else self._report.warn(line):
            self._progress.say(f"{line.name}: {warning}")
        if line.error:
            self._failed += 1
            self._progress.say(described(line))

    def _standing(self) -> Standing:
        batches = [follower.batch for follower in self._unsettled()]
        open_ended = [follower for batch_id, follower in self._followers.items() if self._awaited[batch_id] is None]
        there = sum(_counted(follower.batch, self._retried) for follower in open_ended)
        unsent = self._unsent
        if self._sending:
            unsent += max(0, self._sending.pairs - self._followers[self._sending.batch_id].batch.counts.total)
        etas = [batch.eta_seconds for batch in batches if batch.eta_seconds is not None]
        return Standing(
            total=self._expected + there + unsent - self._unsent,
            settled=self._settled,
            failed=self._failed,
            unsent=unsent,
            queued=sum(batch.counts.queued for batch in batches),
            processing=sum(batch.counts.processing for batch in batches),
            saving=self._downloads.left,
            eta_seconds=max(etas, default=None),
        )

    def _look_for_held(self) -> None:
        batches = [follower.batch for follower in self._unsettled()]
        if batches and not self._uploads.left and not self._downloads.left and all(map(stands_still, batches)):
            raise HeldError("; ".join(map(words, batches)))

    def _look_at_upstream(self) -> None:
        now = time.monotonic()
        if now < self._upstream_due:
            return
        self._upstream_due = now + UPSTREAM_EVERY_SECONDS
        upstream = self._client.upstream()
        self._progress.note(in_the_way(upstream))
        empty = upstream.paused and any(account.paused_reason == "credits" for account in upstream.accounts)
        moves = not empty or upstream.slots_used or self._uploads.left or self._downloads.left
        if moves or self._still is None or self._still[0] != self._settled:
            self._still = None if moves else (self._settled, now)
        elif now - self._still[1] >= CREDITS_GRACE_SECONDS:
            raise OutOfCreditsError(pauses(upstream))


def _counted(batch: Batch, retried: AbstractSet[str]) -> int:
    """Return how many jobs of a batch are awaited when all are."""
    return batch.counts.succeeded if batch.id in retried else batch.counts.total


def _line(known: ItemLine | None, batch_id: str, name: str, job: Job) -> ItemLine:
    """Return what to remember of a job that has ended; ``known`` is what the manifest says under its name."""
    if known is None or known.batch_id != batch_id:
        image, mask = _content(job.image), _content(job.mask)
        known = ItemLine(name=name, batch_id=batch_id, params=job.params, image=image, mask=mask)
    error = None
    if job.status is not Status.SUCCEEDED:
        error = Fault(code=job.error.code, detail=job.error.detail) if job.error else Fault(code=job.status, detail="")
    told = {"status": job.status, "job_id": job.id, "error": error, "cost_credits": job.cost_credits}
    return known.model_copy(update=told | {"warnings": job.warnings})


def _content(picture: Picture | None) -> Content:
    """One that was never imported is like no file that is in the folder."""
    return Content(sha256=picture.sha256, bytes=picture.bytes) if picture else Content(sha256="", bytes=0)
