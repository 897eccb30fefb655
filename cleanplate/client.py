"""A typed client of Cleanplate's own REST API, for the CLI, the demo and the tests.

Every call is repeated for as long as the client's patience lasts: those that create carry an ``Idempotency-Key``, so
that they happen once, and the others do no harm when they are made twice. All methods may be called from several
threads.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx
from pydantic import BaseModel

from cleanplate.api_keys import ApiKey, NewApiKey
from cleanplate.cancelled import CancelledBatch, CancelledJob
from cleanplate.client_errors import UnusableAnswerError, refusal
from cleanplate.client_out import WaysOut
from cleanplate.client_webhooks import Webhooks
from cleanplate.connection import Key
from cleanplate.items import Item, NewBatch, NewItems, NewUpload, Upload
from cleanplate.quoted import Quote
from cleanplate.resources import Accepted, Batch, BatchOptions, Job, Page, Upstream
from cleanplate.retrying import Retrying, RetryingBatch
from cleanplate.states import InFlight

M = TypeVar("M", bound=BaseModel)
Tell = Callable[[int], None]

UPLOAD_TIMEOUT = httpx.Timeout(300.0, connect=5.0)
ARCHIVE_TIMEOUT = httpx.Timeout(3600.0, connect=5.0)


def _to_nobody(_: int) -> None:
    pass


@dataclass(frozen=True, slots=True)
class _Load:
    """What is streamed, each file by its field and its name; ``tell`` hears how many bytes have been sent."""

    files: list[tuple[str, str, Path | bytes]]
    timeout: httpx.Timeout
    tell: Tell = _to_nobody

    @classmethod
    def of_files(cls, files: Sequence[tuple[str, Path | bytes]]) -> Self:
        return cls([("files", name, content) for name, content in files], UPLOAD_TIMEOUT)

    @classmethod
    def of_archive(cls, archive: Path | bytes, tell: Tell) -> Self:
        return cls([("archive", "archive.zip", archive)], ARCHIVE_TIMEOUT, tell)


def _part(options: BatchOptions) -> tuple[str, tuple[None, str, str]]:
    """Return the part of a form that holds the options."""
    return "options", (None, options.model_dump_json(exclude_none=True), "application/json")


class Client(WaysOut, Webhooks):
    """The calls of the API, each a method; all raise ``ClientError``."""

    def create_batch(self, options: BatchOptions) -> Batch:
        """Create a batch without items; ``options.seal`` must be False."""
        form = [_part(options)]
        return self._create(Batch, lambda key: self._ask("POST", "/v1/batches", files=form, headers=key))

    def quote(self, options: BatchOptions, files: Sequence[tuple[str, Path | bytes]]) -> Quote:
        """Ask what a batch of these images and masks would come to; nothing is stored or paid."""
        return self._quote(options, _Load.of_files(files))

    def quote_archive(self, options: BatchOptions, archive: Path | bytes, tell: Tell = _to_nobody) -> Quote:
        """Ask the same of a ZIP of pairs; ``tell`` hears how many of its bytes have been sent."""
        return self._quote(options, _Load.of_archive(archive, tell))

    def _quote(self, options: BatchOptions, load: _Load) -> Quote:
        form, dry = [_part(options)], {"dry_run": "true"}
        return self._parse(Quote, self._repeat(lambda: self._send("/v1/batches", load, form, params=dry)))

    def add_items(self, batch_id: str, files: Sequence[tuple[str, Path | bytes]]) -> Accepted:
        """Send images and their masks, each under its name, to an unsealed batch; files are streamed from the disk."""
        return self._add(batch_id, _Load.of_files(files))

    def add_archive(self, batch_id: str, archive: Path | bytes, tell: Tell = _to_nobody) -> Accepted:
        """Send a ZIP of pairs, with an optional ``manifest.csv``, to an unsealed batch; answered when all is read.

        It is streamed from the disk; ``tell`` hears how many of its bytes have been sent.
        """
        return self._add(batch_id, _Load.of_archive(archive, tell))

    def _add(self, batch_id: str, load: _Load) -> Accepted:
        return self._create(Accepted, lambda key: self._send(f"/v1/batches/{batch_id}/items", load, headers=key))

    def _send(self, path: str, load: _Load, form: Sequence[Any] = (), **given: Any) -> httpx.Response:
        """Post the form and the load, whose files are read from their beginning."""
        with ExitStack() as opened:
            parts = [
                (field, (name, opened.enter_context(self._open(content, load.tell)), "application/octet-stream"))
                for field, name, content in load.files
            ]
            return self._ask("POST", path, files=[*form, *parts], timeout=load.timeout, **given)

    def create_batch_of(self, items: Sequence[Item], options: BatchOptions) -> Batch:
        """Create a batch of items whose files lie elsewhere, up to 10,000."""
        body = NewBatch(items=list(items), options=options).model_dump(mode="json", exclude_unset=True)
        given = {"json": body, "timeout": UPLOAD_TIMEOUT}
        return self._create(Batch, lambda key: self._ask("POST", "/v1/batches", headers=key, **given))

    def add_items_of(self, batch_id: str, items: Sequence[Item]) -> Accepted:
        """Add such items to an unsealed batch."""
        body = NewItems(items=list(items)).model_dump(mode="json", exclude_unset=True)
        given = {"json": body, "timeout": UPLOAD_TIMEOUT}
        path = f"/v1/batches/{batch_id}/items"
        return self._create(Accepted, lambda key: self._ask("POST", path, headers=key, **given))

    def create_upload(self, size: int | None = None) -> Upload:
        """Make room for one file; of ``size`` bytes alone, when that is given."""
        body = NewUpload(bytes=size).model_dump(exclude_none=True)
        return self._create(Upload, lambda key: self._ask("POST", "/v1/uploads", json=body, headers=key))

    def put_upload(self, upload: Upload, content: Path | bytes) -> None:
        """Put the file of an upload, at the address that it names; the key stays behind."""

        def attempt() -> None:
            with self._open(content) as file:
                given: dict[str, Any] = {"headers": upload.headers, "content": file, "timeout": UPLOAD_TIMEOUT}
                request = self._http.build_request(upload.method, upload.url, **given)
                request.headers.pop("Authorization", None)
                response = self._http.send(request)
            if not response.is_success:
                raise refusal(response)

        self._repeat(attempt)

    def seal(self, batch_id: str) -> Batch:
        """Say that no more items will come."""
        return self._parse(Batch, self._repeat(lambda: self._ask("POST", f"/v1/batches/{batch_id}/seal")))

    def cancel_batch(self, batch_id: str, in_flight: InFlight = InFlight.FINISH) -> CancelledBatch:
        """Stop what was not submitted yet and let the rest be finished, or abandoned; the answer says what that saves.

        Asked again because an answer was lost, the server says what the repetition saves: nothing more.
        """
        return self._cancel(CancelledBatch, f"/v1/batches/{batch_id}", in_flight)

    def cancel_job(self, job_id: str, in_flight: InFlight = InFlight.FINISH) -> CancelledJob:
        """Do the same with one job."""
        return self._cancel(CancelledJob, f"/v1/jobs/{job_id}", in_flight)

    def release(self, batch_id: str, budget_credits: float | None = None) -> Batch:
        """Let go what is held of a batch, beyond its canary or at its budget, which becomes ``budget_credits``."""
        how = {} if budget_credits is None else {"budget_credits": budget_credits}
        path = f"/v1/batches/{batch_id}/release"
        return self._parse(Batch, self._repeat(lambda: self._ask("POST", path, params=how)))

    def retry_batch(self, batch_id: str, retrying: RetryingBatch) -> Batch:
        """Make a child batch of what failed. Each job is retried once."""
        path, body = f"/v1/batches/{batch_id}/retry", retrying.model_dump(exclude_unset=True)
        return self._create(Batch, lambda key: self._ask("POST", path, json=body, headers=key))

    def retry_job(self, job_id: str, retrying: Retrying) -> Job:
        """Do the same with one job, which gets a child of its own."""
        path, body = f"/v1/jobs/{job_id}/retry", retrying.model_dump(exclude_unset=True)
        return self._create(Job, lambda key: self._ask("POST", path, json=body, headers=key))

    def batch(self, batch_id: str) -> Batch:
        return self._get(Batch, f"/v1/batches/{batch_id}")

    def batch_jobs(
        self, batch_id: str, *, status: str | None = None, cursor: str | None = None, limit: int = 200
    ) -> Page[Job]:
        """Return one page of the batch's jobs, in the order of their ids."""
        given = {"status": status, "cursor": cursor, "limit": limit}
        params = {name: value for name, value in given.items() if value is not None}
        return self._get(Page[Job], f"/v1/batches/{batch_id}/jobs", params=params)

    def job(self, job_id: str) -> Job:
        return self._get(Job, f"/v1/jobs/{job_id}")

    def create_job(
        self, image: tuple[str, Path | bytes], mask: tuple[str, Path | bytes], *, wait: float = 0, **fields: Any
    ) -> Job:
        """Send one pair; ``fields`` are those of the form (``dilate_pixels``, ``custom_id`` ...).

        The answer is held back until the job has ended, for ``wait`` seconds (up to 60) at most.
        """
        timeout = httpx.Timeout(60.0 + wait, connect=5.0)

        def attempt(key: Key) -> httpx.Response:
            with self._open(image[1]) as image_file, self._open(mask[1]) as mask_file:
                files = {"image": (image[0], image_file), "mask": (mask[0], mask_file)}
                given = {"files": files, "data": fields, "params": {"wait": wait}}
                return self._ask("POST", "/v1/jobs", headers=key, timeout=timeout, **given)

        return self._create(Job, attempt)

    def create_api_key(self, wanted: NewApiKey) -> ApiKey:
        """Make a key of the same team; its ``key`` is only in this answer. Takes a key of scope ``admin``."""
        body = wanted.model_dump(mode="json")
        return self._create(ApiKey, lambda key: self._ask("POST", "/v1/api-keys", json=body, headers=key))

    def api_keys(self, *, cursor: str | None = None) -> Page[ApiKey]:
        """Return one page of the team's keys, newest first."""
        return self._get(Page[ApiKey], "/v1/api-keys", params={"cursor": cursor} if cursor else {})

    def api_key(self, key_id: str) -> ApiKey:
        return self._get(ApiKey, f"/v1/api-keys/{key_id}")

    def revoke_api_key(self, key_id: str) -> ApiKey:
        """Revoke a key of the team; within seconds nothing is answered to it any more."""
        return self._parse(ApiKey, self._repeat(lambda: self._ask("POST", f"/v1/api-keys/{key_id}/revoke")))

    def upstream(self) -> Upstream:
        return self._get(Upstream, "/v1/upstream")

    def checks(self) -> dict[str, str]:
        """Tell at once how what the API leans on is, by part; nothing when no such API answers."""
        try:
            told = self._http.get("/readyz").json()
            return {str(part): str(how) for part, how in told["checks"].items()}
        except (httpx.TransportError, ValueError, LookupError, TypeError, AttributeError):
            return {}

    def download(self, job: Job, target: Path) -> None:
        """Put the result of ``job`` at ``target``, whole or not at all, and only if its SHA-256 is the server's.

        The answer may lead to another host; the key stays behind (httpx drops ``Authorization`` across origins).
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.part")
        for last in (False, False, True):
            try:
                self._repeat(lambda: self._fetch(job, part))
            except UnusableAnswerError:
                part.unlink(missing_ok=True)
                if last:
                    raise
            else:
                part.replace(target)
                return

    def _fetch(self, job: Job, part: Path) -> None:
        digest = hashlib.sha256()
        with self._http.stream("GET", f"/v1/jobs/{job.id}/result", follow_redirects=True) as response:
            if not response.is_success:
                response.read()
                if response.history:
                    raise UnusableAnswerError(f"the store answers {response.status_code} for the result of {job.id}")
                raise refusal(response)
            with part.open("wb") as file:
                for chunk in response.iter_bytes(1 << 16):
                    self._go_on()
                    digest.update(chunk)
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
        if job.result and digest.hexdigest() != job.result.sha256:
            raise UnusableAnswerError(f"the result of {job.id} came damaged: its SHA-256 is not the server's")

    def _cancel(self, model: type[M], path: str, in_flight: InFlight) -> M:
        how = {"in_flight": in_flight.value}
        return self._parse(model, self._repeat(lambda: self._ask("POST", f"{path}/cancel", params=how)))
