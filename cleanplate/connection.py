"""Calls of the API that are repeated until they are answered: what is below the typed client's methods."""

import io
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from cleanplate.client_errors import AbortedError, ApiError, UnreachableError, UnusableAnswerError, refusal

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)
Key = dict[str, str]

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 5.0
STRANGER_SECONDS = 10.0
TIMEOUT = httpx.Timeout(60.0, connect=5.0)
TRANSIENT = frozenset({408, 429, 502, 503, 504})
LOOPBACK = ("127.0.0.1", "localhost")


class Connection:
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

    def _get(self, model: type[M], path: str, **given: Any) -> M:
        return self._parse(model, self._repeat(lambda: self._ask("GET", path, **given)))

    def _create(self, model: type[M], attempt: Callable[[Key], httpx.Response]) -> M:
        """Make one call, however many attempts it takes: the server knows them by their key."""
        key = {"Idempotency-Key": uuid.uuid4().hex}
        return self._parse(model, self._repeat(lambda: attempt(key)))

    def _ask(self, method: str, path: str, **given: Any) -> httpx.Response:
        self._go_on()
        response = self._http.request(method, path, **given)
        if not response.is_success:
            raise refusal(response)
        return response

    def _repeat(self, attempt: Callable[[], T]) -> T:
        deadline = time.monotonic() + (self._patience if self._met else min(self._patience, STRANGER_SECONDS))
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                answer = attempt()
            except (httpx.TransportError, ApiError) as error:
                self._go_on()
                if isinstance(error, ApiError) and not _passes(error):
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

    def _open(self, content: Path | bytes, tell: Callable[[int], None] = lambda _: None) -> IO[bytes]:
        return io.BytesIO(content) if isinstance(content, bytes) else _Upload(content, self._go_on, tell)

    def _parse(self, model: type[M], response: httpx.Response) -> M:
        try:
            return model.model_validate_json(response.content)
        except ValidationError as error:
            what = f"{response.request.method} {response.request.url.path}"
            raise UnusableAnswerError(f"{self.url} does not answer {what} as a cleanplate API does") from error


class _Upload(io.FileIO):
    """A file whose reading ends when the client is aborted, so that no upload outlives an interrupt.

    ``tell`` hears how many bytes have been read.
    """

    def __init__(self, path: Path, go_on: Callable[[], None], tell: Callable[[int], None]) -> None:
        super().__init__(path)
        self._go_on = go_on
        self._tell = tell

    def read(self, size: int | None = -1, /) -> bytes:
        self._go_on()
        self._tell(self.tell())
        return super().read(-1 if size is None else size)


def _is_address(url: str) -> bool:
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL:
        return False
    return address.scheme in {"http", "https"} and bool(address.host) and not address.userinfo


def _passes(error: ApiError) -> bool:
    return error.status in TRANSIENT or error.code == "idempotency_in_progress"


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__


def _seconds(retry_after: str | None) -> float:
    return float(retry_after) if retry_after and retry_after.isdecimal() else 0.0
