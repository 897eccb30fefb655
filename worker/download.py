"""Fetch a result from the upstream's delivery host. The address is signed: it is a secret and takes no key."""

import time
from typing import Final

import httpx

from cleanplate.outcomes import DownloadFailure, ErrorCode, NotDownloaded, Unusable
from worker.bfl import host_allowed

TIMEOUT: Final = httpx.Timeout(connect=5.0, read=15.0, write=5.0, pool=5.0)
WHOLE_SECONDS: Final = 60.0
LARGEST_BYTES: Final = 512 << 20
REFUSALS: Final = frozenset({401, 403, 404, 410})


def download(client: httpx.Client, url: str, hosts: tuple[str, ...]) -> bytes | DownloadFailure:
    """Return the bytes at ``url``, or why there are none: a refusal (ask for a fresh address) or what passes."""
    if not host_allowed(url, hosts):
        return Unusable(ErrorCode.FOREIGN_HOST, "the result lies on a foreign host; nothing was fetched from there")
    try:
        with client.stream("GET", url, timeout=TIMEOUT) as response:
            if response.status_code in REFUSALS:
                return Unusable(ErrorCode.RESULT_EXPIRED, f"the delivery host refused ({response.status_code})")
            if response.status_code != httpx.codes.OK:
                return NotDownloaded(f"the delivery host answered {response.status_code}")
            return _read(response)
    except httpx.HTTPError as error:
        return NotDownloaded(f"the download broke off ({type(error).__name__})")


def _read(response: httpx.Response) -> bytes | DownloadFailure:
    ends = time.monotonic() + WHOLE_SECONDS
    data = bytearray()
    for chunk in response.iter_bytes():
        data += chunk
        if len(data) > LARGEST_BYTES:
            return Unusable(ErrorCode.RESULT_INVALID, f"the result is larger than {LARGEST_BYTES} bytes")
        if time.monotonic() > ends:
            return NotDownloaded(f"the download took longer than {WHOLE_SECONDS:g} s")
    return bytes(data)
