"""The upstream's HTTP, and nothing else: requests out, answers back. What an answer means is decided by the steps.

Fields, addresses and statuses are those of the vendor's page for FLUX Erase; docs/upstream.md tells how sure each is.
"""

import base64
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import httpx
import yarl

from cleanplate.access import Access

SUBMIT_PATH: Final = "/v1/flux-tools/erase-v1"
SUBMIT_TIMEOUT: Final = aiohttp.ClientTimeout(total=50.0, connect=10.0, sock_connect=5.0, sock_read=20.0)
"""``connect`` is the wait for a connection, old or new; ``total`` also ends a server that stops reading."""
POLL_TIMEOUT: Final = aiohttp.ClientTimeout(total=15.0, connect=10.0, sock_connect=5.0)
# Below the idle time of common load balancers: a submit on a connection that the other side has just closed
# cannot be told from one whose answer was lost.
KEEPALIVE_SECONDS: Final = 15.0
RETRY_AFTER_MOST: Final = 120.0
COST_MOST: Final = 1e6
HOST: Final = re.compile(r"[a-z0-9._-]+|[0-9a-f:.]+", re.ASCII)
ADDRESS: Final = re.compile(
    r"([a-z]+://[a-z0-9:@\[\]._~%-]+)(?:[/?#][^\x00-\x1f\x7f\ud800-\udfff]{0,8191})?", re.ASCII | re.IGNORECASE
)
"""One whose origin no parser can read as another: it ends at the first of ``/?#`` and has nothing odd in it."""
UNREADABLE: Final = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
"""What taking an answer's JSON apart can raise."""
LOOPBACK: Final = re.compile(r"localhost|127(\.\d{1,3}){3}|::1", re.ASCII)


class NeverSentError(Exception):
    """The connection was never made, so the upstream cannot have seen the request."""


class NoAnswerError(Exception):
    """The request may have arrived, and no whole answer came back."""


class ForeignHostError(Exception):
    """An address that the key must not be sent to."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the upstream answered, whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body as JSON. Raises one of :data:`UNREADABLE`."""
        return json.loads(self.body)


def host_allowed(url: str, hosts: tuple[str, ...]) -> bool:
    """Return whether ``url`` leads to one of ``hosts``, where ``.x`` takes subdomains of x in.

    It must be https, except on loopback and for an entry that says ``http://name`` itself. Its origin is parsed by the
    library that polls it and by the one that downloads, and a host that they do not agree on is none.
    """
    address = ADDRESS.fullmatch(url)
    return address is not None and _is_named(address[1], hosts)


@lru_cache(maxsize=256)
def _is_named(origin: str, hosts: tuple[str, ...]) -> bool:
    try:
        address = yarl.URL(origin)
        host, scheme = address.host or "", address.scheme
    except (ValueError, IndexError):  # yarl stumbles over brackets before an empty host
        return False
    if not HOST.fullmatch(host) or host != _host(origin):
        return False
    if scheme == "http" and f"http://{host}" in hosts:
        return True
    if scheme != "https" and not (scheme == "http" and LOOPBACK.fullmatch(host)):
        return False
    return any(host == entry.lstrip(".") or (entry.startswith(".") and host.endswith(entry)) for entry in hosts)


@lru_cache(maxsize=4096)  # a task is polled several times at the same address
def _address(url: str, hosts: tuple[str, ...]) -> yarl.URL | None:
    return yarl.URL(url) if host_allowed(url, hosts) else None


def payload(image: bytes, mask: bytes, fields: dict[str, Any]) -> bytes:
    """Return the JSON body of a submit. Bytes are joined around base64: a quarter of what ``json.dumps`` costs."""
    rest = json.dumps(fields, separators=(",", ":"))[1:].encode()
    comma = b"," if fields else b""
    return b"".join((b'{"image":"', base64.b64encode(image), b'","mask":"', base64.b64encode(mask), b'"', comma, rest))


def extended(body: bytes, fields: Mapping[str, str]) -> bytes:
    """Return the body with more fields, the same bytes when there are none."""
    if not fields:
        return body
    rest = json.dumps(fields, separators=(",", ":"))[1:].encode()
    return b"".join((memoryview(body)[:-1], b",", rest))


class Upstream:
    """A pool of connections for one account. Its key goes to ``hosts`` only, and no redirect is followed."""

    def __init__(self, account: Access, hosts: tuple[str, ...]) -> None:
        self._base = account.base_url.rstrip("/")
        self._hosts = hosts
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=2 * account.slots + 32,
                keepalive_timeout=KEEPALIVE_SECONDS,
                ssl=httpx.create_ssl_context(trust_env=False),
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={
                "accept": "application/json",
                "content-type": "application/json",
                "user-agent": "cleanplate",
                "x-key": account.key.get_secret_value(),
            },
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    async def submit(self, body: bytes) -> Answer:
        """POST one erase job. Raises :class:`NeverSentError`, :class:`NoAnswerError` or :class:`ForeignHostError`."""
        return await self._send("POST", f"{self._base}{SUBMIT_PATH}", SUBMIT_TIMEOUT, body)

    async def poll(self, polling_url: str) -> Answer:
        """GET a task's state at the address that the upstream gave. Raises as :meth:`submit`."""
        return await self._send("GET", polling_url, POLL_TIMEOUT)

    def polling_url(self, task_id: str) -> str:
        """Return where to poll a task whose answer named no address."""
        return f"{self._base}/v1/get_result?id={quote(task_id, safe='')}"

    async def _send(self, method: str, url: str, limits: aiohttp.ClientTimeout, body: bytes | None = None) -> Answer:
        address = _address(url, self._hosts)
        if address is None:
            raise ForeignHostError(_host(url))
        try:
            call = self._session.request(method, address, data=body, timeout=limits, allow_redirects=False)
            async with call as response:
                return Answer(response.status, response.headers, await response.read())
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise NeverSentError(type(error).__name__) from error
        except (aiohttp.ClientError, OSError) as error:
            raise NoAnswerError(type(error).__name__) from error


def _host(url: str) -> str:
    try:
        return httpx.URL(url).host.lower() or "no host"
    except (httpx.InvalidURL, ValueError, TypeError):
        return "not an address"


# What the upstream says may be anything; only what a row, a log line and a clock can hold goes further.


def retry_after(answer: Answer) -> float | None:
    """Return the seconds of a Retry-After header, 120 at most, or None when there is none or it is a date."""
    try:
        seconds = float(answer.headers["retry-after"])
    except (KeyError, ValueError):
        return None
    return min(max(0.0, seconds), RETRY_AFTER_MOST) if math.isfinite(seconds) else None


def cost(value: object) -> float | None:
    """Return a price in credits, or None for what is none; a task that was accepted is accepted at any price."""
    return float(value) if isinstance(value, int | float) and 0 <= value <= COST_MOST else None


def words(text: object, most: int = 500) -> str:
    """Return the first ``most`` characters of a text with blanks for those that cannot be printed."""
    return "".join(letter if letter.isprintable() else " " for letter in str(text)[:most])
