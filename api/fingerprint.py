"""What a call asked for, as a hash that is taken while its body streams past."""

import hashlib

from fastapi import Request
from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Fingerprint:
    """Hash the bodies of the calls that their clients named, so that :func:`fingerprint` knows them."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or "idempotency-key" not in (headers := Headers(scope=scope)):
            await self.app(scope, receive, send)
            return
        _, options = parse_options_header(headers.get("content-type"))
        body = scope.setdefault("state", {})["body_digest"] = BodyDigest(options.get(b"boundary", b""))

        async def receive_hashed() -> Message:
            message = await receive()
            body.update(message.get("body", b""))
            return message

        await self.app(scope, receive_hashed, send)


class BodyDigest:
    """SHA-256 of a body without its multipart ``boundary``, which clients choose anew for each try."""

    def __init__(self, boundary: bytes) -> None:
        self._delimiter = b"\r\n--" + boundary if boundary else b""
        self._sha256 = hashlib.sha256()
        self._held = b"\r\n" if boundary else b""  # the first delimiter stands at the very beginning

    def update(self, chunk: bytes) -> None:
        """Take the next bytes; a delimiter may be spread over several calls."""
        if not self._delimiter:
            self._sha256.update(chunk)
            return
        *whole, rest = (self._held + chunk).split(self._delimiter)
        for part in whole:
            self._sha256.update(part + b"\r\n--")
        sure = max(0, len(rest) - len(self._delimiter) + 1)
        self._sha256.update(rest[:sure])
        self._held = rest[sure:]

    def hexdigest(self) -> str:
        """Return the digest of all that has come so far."""
        whole = self._sha256.copy()
        whole.update(self._held)
        return whole.hexdigest()


def fingerprint(request: Request) -> str:
    """Return what tells this call from others: method, path, query, and as much of the body as it has read."""
    call = f"{request.method} {request.url.path}?{request.url.query}\n{request.state.body_digest.hexdigest()}"
    return hashlib.sha256(call.encode()).hexdigest()
