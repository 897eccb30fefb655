"""What wraps every request: its id, the answer to what nobody caught, and the most that a body may hold."""

import asyncio
import logging
import re
from contextlib import suppress

import uuid_utils
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import Problem, translate

log = logging.getLogger(__name__)

PLAIN_BODY_BYTES = 1 << 20
LINGER_BYTES = 16 << 20
LINGER_SECONDS = 5.0
PAGES_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
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
    """Refuse a body that is longer than it may be: at once when it says so, else as soon as it turns out.

    Multipart bodies, which go to the disk as they come, may hold ``multipart_bytes``; all others, which are read into
    memory, ``PLAIN_BODY_BYTES``.
    """

    def __init__(self, app: ASGIApp, multipart_bytes: int) -> None:
        self.app = app
        self.multipart_bytes = multipart_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        multipart = headers.get("content-type", "").lower().startswith("multipart/")
        limit = self.multipart_bytes if multipart else PLAIN_BODY_BYTES
        read = 0

        async def receive_counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > limit:
                raise await refusal()
            return message

        async def refusal() -> Problem:
            if "expect" not in headers:  # who asks before sending gets the answer at once
                await _read_on(receive)
            return _too_large(limit)

        if int(headers.get("content-length", 0)) > limit:  # the server has refused what is no number
            raise await refusal()
        await self.app(scope, receive_counted, send)


async def _read_on(receive: Receive) -> None:
    """Read and drop a little more: most clients listen only after they have sent, and would else see a reset."""
    left = LINGER_BYTES
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER_SECONDS):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if not message.get("more_body"):
                    return


def _too_large(limit: int) -> Problem:
    """Return the answer that also closes the connection: the rest of such a body is not worth reading."""
    detail = f"The body is larger than the {limit} bytes this call takes."
    return Problem(413, "request_too_large", detail, headers={"Connection": "close"}, extra={"limit_bytes": limit})
