"""What a call asked for, as a hash that is taken while its body streams past."""

import hashlib
from typing import Final

from fastapi import Request
from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

FIRST_MARK: Final = 1024
MARK_BITS: Final = 5


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
    """SHA-256 of a body without its multipart ``boundary``, which clients choose anew for each try.

    ``marks`` are the digests of its first so many bytes, at numbers of which each is at most 7% more than the one
    before and that are the same for every body: so a part of a body can be compared with another one of any length.
    """

    def __init__(self, boundary: bytes) -> None:
        self._delimiter = b"\r\n--" + boundary if boundary else b""
        self._sha256 = hashlib.sha256()
        self._held = b"\r\n" if boundary else b""  # the first delimiter stands at the very beginning
        self._size, self._next = 0, FIRST_MARK
        self.marks = {0: self._sha256.hexdigest()}

    def update(self, chunk: bytes) -> None:
        """Take the next bytes; a delimiter may be spread over several calls."""
        if not self._delimiter:
            self._hash(chunk)
            return
        *whole, rest = (self._held + chunk).split(self._delimiter)
        for part in whole:
            self._hash(part + b"\r\n--")
        sure = max(0, len(rest) - len(self._delimiter) + 1)
        self._hash(rest[:sure])
        self._held = rest[sure:]

    def hexdigest(self) -> str:
        """Return the digest of all that has come so far."""
        whole = self._sha256.copy()
        whole.update(self._held)
        return whole.hexdigest()

    def _hash(self, data: bytes) -> None:
        while self._size + len(data) >= self._next:
            until_mark = self._next - self._size
            self._sha256.update(data[:until_mark])
            data, self._size = data[until_mark:], self._next
            self.marks[self._size] = self._sha256.hexdigest()
            self._next += 1 << (self._size.bit_length() - MARK_BITS)
        self._sha256.update(data)
        self._size += len(data)


def fingerprint(request: Request) -> str:
    """Return what tells this call from others: method, path, query, and as much of the body as it has read."""
    return _fingerprint(request, request.state.body_digest.hexdigest())


def so_far(request: Request) -> str:
    """Return what tells this call, of whose body more will come, from others: as ``N:``, by its first N bytes."""
    size, digest = next(reversed(list(request.state.body_digest.marks.items())))
    return f"{size}:{_fingerprint(request, digest)}"


def sure(request: Request) -> int | None:
    """Return of how many bytes of the body :func:`so_far` tells, or None for a call that has no name."""
    digest: BodyDigest | None = getattr(request.state, "body_digest", None)
    return None if digest is None else next(reversed(digest.marks))


def is_partial(found: str) -> bool:
    """Tell whether a fingerprint is one of a call whose body had not come whole."""
    return ":" in found


def begins_alike(request: Request, found: str) -> bool | None:
    """Tell whether this call begins as that of the partial fingerprint, or return None if too little has come yet."""
    size = int(found.partition(":")[0])
    digest = request.state.body_digest.marks.get(size)
    return None if digest is None else found == f"{size}:{_fingerprint(request, digest)}"


def _fingerprint(request: Request, digest: str) -> str:
    call = f"{request.method} {request.url.path}?{request.url.query}\n{digest}"
    return hashlib.sha256(call.encode()).hexdigest()
