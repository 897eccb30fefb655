"""Fetch an input from where its item says that it lies: a URL, an upload, or a bucket that the operator allows.

No more of it is held than the largest file may have, and what is told of a failure names a host, never a whole URL:
that may be signed.
"""

import time
from collections.abc import Iterable, Mapping
from typing import Final

import httpx

from cleanplate import buckets, outbound, settings
from cleanplate.outcomes import ErrorCode, NotFetched, Rejected
from cleanplate.storage import ObjectMissing, Store, StoreUnavailable

SECONDS: Final = 60.0
HOPS: Final = 5
PASSING: Final = frozenset({408, 425, 429})

Fetched = bytes | NotFetched | Rejected


def fetch(store: Store, source: Mapping[str, str]) -> Fetched:
    """Return the bytes, or why there are none. Raises ``StoreUnavailable`` and such when our own store is away."""
    limit = settings.get().max_file_bytes
    try:
        match source:
            case {"url": url}:
                found = _from_url(url, limit + 1)
            case {"s3": address}:
                found = _from_bucket(address, limit + 1)
            case _:
                found = _joined(store.stream(f"uploads/{source['upload_id']}"), limit + 1)
    except ObjectMissing as missing:
        upload = source.get("upload_id")
        why = f"nothing was put to the upload {upload}" if upload else f"there is no {missing}"
        return Rejected(ErrorCode.INPUT_MISSING, why)
    if isinstance(found, bytes) and len(found) > limit:
        return Rejected(ErrorCode.INPUT_INVALID, f"file_too_large: it has more than {limit} bytes")
    return found


def _from_url(url: str, limit: int) -> Fetched:
    """Follow redirects by hand: each hop is judged as the first is, by the address that is connected to."""
    ends = time.monotonic() + SECONDS
    allow = settings.get().allow_private_networks
    for _ in range(HOPS):
        host = httpx.URL(url).host
        try:
            outbound.check_url(url, allow)
            left = max(ends - time.monotonic(), 0.001)
            with outbound.client(allow, timeout_seconds=left) as client, client.stream("GET", url) as response:
                if response.next_request is None:
                    return _answer(response, host, limit)
                url = str(response.next_request.url)
        except (outbound.ForbiddenUrl, outbound.ForbiddenAddress) as error:
            return Rejected(ErrorCode.INPUT_FORBIDDEN, f"{host}: {error}")
        except httpx.HTTPError as error:
            return NotFetched(f"{host} gave no answer ({type(error).__name__})")
    return Rejected(ErrorCode.INPUT_UNREACHABLE, f"{host} is the end of {HOPS} redirects")


def _answer(response: httpx.Response, host: str, limit: int) -> Fetched:
    status = response.status_code
    if status == httpx.codes.OK:
        return outbound.read_limited(response, limit)
    if status in PASSING or response.is_server_error:
        return NotFetched(f"{host} answered {status}")
    return Rejected(ErrorCode.INPUT_UNREACHABLE, f"{host} answered {status}")


def _from_bucket(address: str, limit: int) -> Fetched:
    """Ask once more whether it is allowed: the list may have become shorter since the item came."""
    from cleanplate.storage import foreign  # boto3 takes half a second, and most installations need none

    bucket, key = buckets.parse(address)
    if not buckets.is_allowed(bucket, key, settings.get().import_buckets):
        return Rejected(ErrorCode.INPUT_FORBIDDEN, "CLEANPLATE_IMPORT_BUCKETS does not name this place")
    try:
        return foreign.read(bucket, key, limit)
    except StoreUnavailable as error:
        return NotFetched(str(error))


def _joined(chunks: Iterable[bytes], limit: int) -> bytes:
    data = bytearray()
    for chunk in chunks:
        data += chunk
        if len(data) >= limit:
            break
    return bytes(data[:limit])
