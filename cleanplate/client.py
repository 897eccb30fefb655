"""A typed client of Cleanplate's own REST API, for the CLI, the demo and the tests.

Calls that do no harm when they are made twice are repeated for as long as the client's patience lasts: every GET, the
creation of an empty batch, the items of a batch (the server refuses a ``custom_id`` it already has), the seal and
cancellations. All methods may be called from several threads.
"""

import hashlib
import io
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from cleanplate.cancelled import CancelledBatch, CancelledJob
from cleanplate.client_errors import AbortedError, ApiError, UnreachableError, UnusableAnswerError, refusal
from cleanplate.quoted import Quote
from cleanplate.resources import Accepted, Batch, BatchOptions, Endpoint, Job, Page, Upstream
from cleanplate.retrying import Retrying, RetryingBatch
from cleanplate.states import InFlight

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 5.0
STRANGER_SECONDS = 10.0
TIMEOUT = httpx.Timeout(60.0, connect=5.0)
UPLOAD_TIMEOUT = httpx.Timeout(300.0, connect=5.0)
TRANSIENT = frozenset({429, 502, 503, 504})
LOOPBACK = ("127.0.0.1", "localhost")


class Client:
    """The API at ``url``, as the tenant of ``api_key``.

    ``patience_seconds`` bounds how long a repeatable call is tried, or ten seconds while the server has never answered:
    then it is more likely not there than away. ``on_wait`` hears why it is waiting, and None as soon as there is an
    answer again. Raises ValueError when ``url`` is no http(s) address, or holds a password. All methods raise
    ``ClientError``.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None,
        *,
        patience_seconds: float = 120.0,
        on_wait: Callable[[str | None], None] = lambda _: None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        if not _is_address(url):
            raise ValueError("no http(s) address without user and password")
        self.url = url.rstrip("/")
        self._patience = patience_seconds
        self._met = False
        self._on_wait = on_wait
        self._aborted = threading.Event()
        self._waiting = False
        self._http = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=TIMEOUT,
            transport=transport,
            mounts=dict.fromkeys((f"all://{host}" for host in LOOPBACK), transport),  # no proxy leads to this machine
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.abort()
        self._http.close()

    def abort(self) -> None:
        """Make every call under way in other threads, and every later one, end soon with :class:`AbortedError`."""
        self._aborted.set()

    def create_batch(self, options: BatchOptions) -> Batch:
        """Create a batch without items; ``options.seal`` must be False."""
        form = {"options": (None, options.model_dump_json(exclude_none=True), "application/json")}
        return self._parse(Batch, self._repeat(lambda: self._ask("POST", "/v1/batches", files=form)))

    def quote(self, options: BatchOptions, files: Sequence[tuple[str, Path | bytes]]) -> Quote:
        """Ask what a batch of these images and masks would come to; nothing is stored or paid."""

        def attempt() -> httpx.Response:
            with ExitStack() as opened:
                parts: list[Any] = [("options", (None, options.model_dump_json(exclude_none=True), "application/json"))]
                parts += self._parts(opened, files)
                dry: dict[str, Any] = {"params": {"dry_run": "true"}, "timeout": UPLOAD_TIMEOUT}
                return self._ask("POST", "/v1/batches", files=parts, **dry)

        return self._parse(Quote, self._repeat(attempt))

    def add_items(self, batch_id: str, files: Sequence[tuple[str, Path | bytes]]) -> Accepted:
        """Send images and their masks, each under its name, to an unsealed batch; files are streamed from the disk."""

        def attempt() -> httpx.Response:
            with ExitStack() as opened:
                parts = self._parts(opened, files)
                return self._ask("POST", f"/v1/batches/{batch_id}/items", files=parts, timeout=UPLOAD_TIMEOUT)

        return self._parse(Accepted, self._repeat(attempt))

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
        """Make a child batch of what failed. Never repeated: the server refuses to retry a job twice."""
        path, body = f"/v1/batches/{batch_id}/retry", retrying.model_dump(exclude_unset=True)
        return self._parse(Batch, self._once(lambda: self._ask("POST", path, json=body)))

    def retry_job(self, job_id: str, retrying: Retrying) -> Job:
        """Do the same with one job, which gets a child of its own."""
        path, body = f"/v1/jobs/{job_id}/retry", retrying.model_dump(exclude_unset=True)
        return self._parse(Job, self._once(lambda: self._ask("POST", path, json=body)))

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

    def create_job(self, image: tuple[str, Path | bytes], mask: tuple[str, Path | bytes], **fields: Any) -> Job:
        """Send one pair; ``fields`` are those of the form (``dilate_pixels``, ``custom_id`` ...). Never repeated."""
        with self._open(image[1]) as image_file, self._open(mask[1]) as mask_file:
            files = {"image": (image[0], image_file), "mask": (mask[0], mask_file)}
            return self._parse(Job, self._once(lambda: self._ask("POST", "/v1/jobs", files=files, data=fields)))

    def create_endpoint(self, url: str, events: Sequence[str] = ()) -> Endpoint:
        """Register a receiver of webhooks; its ``secret`` is only in this answer. Never repeated."""
        body = {"url": url, "events": list(events)}
        return self._parse(Endpoint, self._once(lambda: self._ask("POST", "/v1/webhook-endpoints", json=body)))

    def upstream(self) -> Upstream:
        return self._get(Upstream, "/v1/upstream")

    def ready(self) -> bool:
        """Tell at once whether the API and what it leans on are up; False also when nothing answers."""
        try:
            return self._http.get("/readyz").is_success
        except httpx.TransportError:
            return False

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

    def _get(self, model: type[M], path: str, **given: Any) -> M:
        return self._parse(model, self._repeat(lambda: self._ask("GET", path, **given)))

    def _cancel(self, model: type[M], path: str, in_flight: InFlight) -> M:
        how = {"in_flight": in_flight.value}
        return self._parse(model, self._repeat(lambda: self._ask("POST", f"{path}/cancel", params=how)))

    def _ask(self, method: str, path: str, **given: Any) -> httpx.Response:
        self._go_on()
        response = self._http.request(method, path, **given)
        if not response.is_success:
            raise refusal(response)
        return response

    def _once(self, attempt: Callable[[], T]) -> T:
        try:
            return attempt()
        except httpx.TransportError as error:
            raise UnreachableError(f"{self.url} does not answer ({_words(error)})") from error

    def _repeat(self, attempt: Callable[[], T]) -> T:
        deadline = time.monotonic() + (self._patience if self._met else min(self._patience, STRANGER_SECONDS))
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                answer = attempt()
            except (httpx.TransportError, ApiError) as error:
                self._go_on()
                if isinstance(error, ApiError) and error.status not in TRANSIENT:
                    raise
                wait = max(pause, _seconds(error.retry_after)) if isinstance(error, ApiError) else pause
                left = deadline - time.monotonic()
                if wait > left:
                    raise UnreachableError(f"{self.url} does not answer ({_words(error)})") from error
                self._waiting = True
                self._on_wait(f"waiting for {self.url}, up to {left:.0f} s more ({_words(error)})")
            else:
                self._met = True
                if self._waiting:
                    self._waiting = False
                    self._on_wait(None)
                return answer
            self._aborted.wait(wait)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _go_on(self) -> None:
        if self._aborted.is_set():
            raise AbortedError("interrupted")

    def _parts(self, opened: ExitStack, files: Sequence[tuple[str, Path | bytes]]) -> list[Any]:
        return [
            ("files", (name, opened.enter_context(self._open(content)), "application/octet-stream"))
            for name, content in files
        ]

    def _open(self, content: Path | bytes) -> IO[bytes]:
        return io.BytesIO(content) if isinstance(content, bytes) else _Upload(content, self._go_on)

    def _parse(self, model: type[M], response: httpx.Response) -> M:
        try:
            return model.model_validate_json(response.content)
        except ValidationError as error:
            what = f"{response.request.method} {response.request.url.path}"
            raise UnusableAnswerError(f"{self.url} does not answer {what} as a cleanplate API does") from error


class _Upload(io.FileIO):
    """A file whose reading ends when the client is aborted, so that no upload outlives an interrupt."""

    def __init__(self, path: Path, go_on: Callable[[], None]) -> None:
        super().__init__(path)
        self._go_on = go_on

    def read(self, size: int | None = -1, /) -> bytes:
        self._go_on()
        return super().read(-1 if size is None else size)


def _is_address(url: str) -> bool:
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL:
        return False
    return address.scheme in {"http", "https"} and bool(address.host) and not address.userinfo


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__


def _seconds(retry_after: str | None) -> float:
    return float(retry_after) if retry_after and retry_after.isdecimal() else 0.0
