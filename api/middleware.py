"""What wraps every request: its id, the answer to what nobody caught, and the most that a body may hold."""

import asyncio
import logging
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType

import uuid_utils
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import Problem, translate

log = logging.getLogger(__name__)

PLAIN_BODY_BYTES = 1 << 20
LINGER_BYTES = 16 << 20
LINGER_SECONDS = 5.0
PAGES_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
SLOWEST = 4096
"""Bytes a second."""
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)


class Envelope:
    """Give each request an id (the caller's own, if it is a decent one) and each failure an answer.

    A page may load and run nothing, unless it brings a policy of its own.

    What is expected becomes its problem. What is not is logged with the request's id and answered with a bare 500.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else f"req_{uuid_utils.uuid7().hex}"
        scope.setdefault("state", {})["request_id"] = request_id
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                headers["X-Content-Type-Options"] = "nosniff"
                headers.update(scope["state"].get("rate_limit", {}))
                if headers.get("content-type", "").startswith("text/html"):
                    headers.setdefault("Content-Security-Policy", PAGES_POLICY)
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        except Exception as error:
            problem = translate(error)
            if problem is None:
                log.exception("%s %s failed unexpectedly, request %s", scope["method"], scope["path"], request_id)
                problem = Problem(
                    500, "internal_error", "Something went wrong here; the request's id finds it in the logs."
                )
            if started:
                raise
            await problem.response(request_id)(scope, receive, send_with_headers)


class BodyLimit:
    """Refuse a body that is longer than it may be, at once when it says so, and one that does not come.

    Multipart bodies, which go to the disk as they come, may hold ``multipart_bytes``; all others, which are read into
    memory, ``PLAIN_BODY_BYTES``, unless their path begins as one of ``others`` does. A client may pause for
    ``timeout_seconds``, and be slower than ``SLOWEST`` bytes a second for as long altogether. It wraps the envelope,
    since a body that is answered before its end is read on for a while: most clients listen only after they have sent,
    and would else see a reset.
    """

    def __init__(
        self,
        app: ASGIApp,
        multipart_bytes: int,
        timeout_seconds: float,
        others: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self.app = app
        self.multipart_bytes = multipart_bytes
        self.timeout_seconds = timeout_seconds
        self.others = others

    def _limit(self, path: str, media_type: str) -> int:
        if media_type.lower().startswith("multipart/"):
            return self.multipart_bytes
        return next((limit for start, limit in self.others.items() if path.startswith(start)), PLAIN_BODY_BYTES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        limit = self._limit(scope["path"], headers.get("content-type", ""))
        declared = int(headers.get("content-length", 0))  # the server has refused what is no number
        body = _Body(receive, declared, limit, self.timeout_seconds)
        sent = declared > 0 or "transfer-encoding" in headers

        async def send_after_body(message: Message) -> None:
            if message["type"] == "http.response.start" and sent and not body.ended:
                waits = "expect" in headers or body.late  # who asks before sending gets the answer at once
                if waits or not await _read_on(receive):
                    MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        await self.app(scope, body.receive, send_after_body)


class _Body:
    """The body of one request: ``ended`` tells whether it has come whole, ``late`` whether it is given up."""

    def __init__(self, receive: Receive, declared: int, limit: int, timeout_seconds: float) -> None:
        self._receive = receive
        self._declared = declared
        self._limit = limit
        self._timeout = self._patience = timeout_seconds
        self._read = 0
        self.ended = False
        self.late = False

    async def receive(self) -> Message:
        """Return the next message. Raises :class:`Problem` 408 or 413."""
        if self.ended:
            return await self._receive()
        if self._declared > self._limit:
            raise _too_large(self._limit)
        began = time.monotonic()
        try:
            async with asyncio.timeout(min(self._timeout, self._patience)):
                message = await self._receive()
        except TimeoutError:
            message = {}
        size = len(message.get("body", b""))
        self._patience += size / SLOWEST - (time.monotonic() - began)
        if not message or self._patience <= 0:
            self.late = True
            raise _too_slow(self._timeout)
        self._read += size
        self.ended = not message.get("more_body", False)
        if self._read > self._limit:
            raise _too_large(self._limit)
        return message


async def _read_on(receive: Receive) -> bool:
    """Read and drop a little more, and tell whether that was all."""
    left = LINGER_BYTES
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER_SECONDS):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if not message.get("more_body"):
                    return True
    return False


def _too_large(limit: int) -> Problem:
    detail = f"The body is larger than the {limit} bytes this call takes."
    return Problem(413, "request_too_large", detail, extra={"limit_bytes": limit})


def _too_slow(seconds: float) -> Problem:
    detail = f"The body did not come: nothing for {seconds:g} s, or less than {SLOWEST} bytes a second for longer."
    return Problem(408, "request_timeout", detail)
