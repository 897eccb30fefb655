"""The only way out to addresses that users give, guarded against server-side request forgery.

A name is resolved here, every address it has is judged, and the connection goes to an address that was judged, so
nothing that DNS answers a moment later matters. A connection carries one request and has one deadline for all of it,
so that no receiver can hold us by sending a byte at a time.
"""

import re
import time
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from ssl import SSLContext
from typing import Any

import httpcore
import httpx

from cleanplate.lookups import Lookups

Address = IPv4Address | IPv6Address
Networks = tuple[IPv4Network | IPv6Network, ...]
Resolve = Callable[[str, int, float], Sequence[str]]
"""Returns all addresses of a host, for a port, in the order to try them; raises ``TimeoutError`` after so many seconds,
and ``OSError`` or ``UnicodeError`` if it has none."""

LOOKUPS = Lookups()
ANSWER_BYTES = 64 << 10
MAX_URL_LENGTH = 2048
MAX_NAME_LENGTH = 253
MAX_PORT = 65535

# Where `is_global` says yes, or did in some release of Python: IANA's special-purpose registries and one cloud's own.
_NOT_PUBLIC = (
    IPv4Network("168.63.129.16/32"),  # what every virtual machine on Azure asks for its configuration
    IPv4Network("192.0.0.0/24"),  # IETF protocols: 192.0.0.9 is whichever gateway is nearest
    IPv4Network("192.88.99.0/24"),  # relays of 6to4
    IPv4Network("224.0.0.0/4"),  # multicast
    IPv6Network("2001::/23"),  # IETF protocols, Teredo among them
    IPv6Network("2002::/16"),  # 6to4
    IPv6Network("3fff::/20"),  # documentation
)
_UNICAST_V6 = IPv6Network("2000::/3")  # all that IANA has given out for use; outside it, NAT64 alone leads anywhere
_NAT64 = IPv6Network("64:ff9b::/96")
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"\d+|0x[0-9a-f]*")  # "127.1" and "0x7f000001" are addresses to some resolvers


class ForbiddenAddress(httpx.ConnectError):
    """The address is not public and not allowed, so that nothing was sent to it."""

    def __init__(self) -> None:
        super().__init__("the address is not public, nor within CLEANPLATE_ALLOW_PRIVATE_NETWORKS")


class ForbiddenUrl(ValueError):  # noqa: N818 - says what is so, as ForbiddenAddress does
    """The URL cannot be one to send to; ``code`` is stable, ``detail`` is for people, neither repeats the URL."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class Guard:
    """Judges addresses: those of the public internet pass, and those within the networks that the operator allows."""

    def __init__(self, allow: Networks) -> None:
        self._allow = allow

    def check_address(self, address: Address) -> None:
        """Raise ``ForbiddenAddress`` unless the address may be reached."""
        if any(address in network for network in self._allow):
            return
        if address in _NAT64:
            self.check_address(IPv4Address(int(address) & 0xFFFFFFFF))
        elif (
            not address.is_global
            or (isinstance(address, IPv6Address) and address not in _UNICAST_V6)
            or any(address in network for network in _NOT_PUBLIC)
        ):
            raise ForbiddenAddress


def check_url(url: str, allow: Networks) -> None:
    """Raise ``ForbiddenUrl`` unless this is an http(s) URL with a host, a literal address of which may be reached.

    A name is not resolved here, but judged by its addresses at each connection. The codes: ``url_too_long``,
    ``url_invalid``, ``url_scheme``, ``url_credentials``, ``url_not_public``.
    """
    if len(url) > MAX_URL_LENGTH:
        raise ForbiddenUrl("url_too_long", f"The URL is longer than {MAX_URL_LENGTH} characters.")
    try:
        parsed = httpx.URL(url)
        host = parsed.host and parsed.raw_host.decode()
    except (httpx.InvalidURL, ValueError):
        raise ForbiddenUrl("url_invalid", "The URL cannot be understood.") from None
    if parsed.scheme not in {"http", "https"}:
        raise ForbiddenUrl("url_scheme", "The URL has to begin with https:// or http://.")
    if parsed.userinfo:
        raise ForbiddenUrl("url_credentials", "The URL must not hold a user name or password.")
    if parsed.port is not None and not 0 < parsed.port <= MAX_PORT:
        raise ForbiddenUrl("url_invalid", "The port of the URL is no port.")
    try:
        Guard(allow).check_address(ip_address(host))
    except ForbiddenAddress as error:
        raise ForbiddenUrl("url_not_public", f"The URL leads nowhere we go: {error}.") from None
    except ValueError:
        if not _is_name(host):
            raise ForbiddenUrl("url_invalid", "The URL has no valid host name.") from None


def _is_name(host: str) -> bool:
    labels = host.removesuffix(".").split(".")
    return (
        len(host) <= MAX_NAME_LENGTH
        and all(_LABEL.fullmatch(label) for label in labels)
        and not _NUMBER.fullmatch(labels[-1])
    )


def client(allow: Networks, *, timeout_seconds: float, resolve: Resolve = LOOKUPS.resolve) -> httpx.Client:
    """Return a client that reaches public addresses and the allowed networks, and nothing else.

    It follows no redirect, asks no proxy, keeps no connection, and gives a request, from looking up its host to the
    last byte read, so many seconds together. Failures are httpx's own, such as ``httpx.ReadTimeout`` past the deadline;
    ``ForbiddenAddress`` is among its connect errors, and is raised before anything is sent when even one of the
    addresses of a name is forbidden.
    """
    transport = _Transport(_Backend(Guard(allow), resolve, timeout_seconds))
    # A body that is sent plain cannot unpack to more than was read of it.
    headers = {"Accept-Encoding": "identity"}
    return httpx.Client(transport=transport, timeout=timeout_seconds, headers=headers, trust_env=False)


def read_limited(response: httpx.Response, limit: int = ANSWER_BYTES) -> bytes:
    """Return the first ``limit`` bytes of a streamed body, or all of a shorter one, and close the response.

    Raise ``httpx.ReadTimeout`` when the request's deadline passes before.
    """
    body = bytearray()
    try:
        for chunk in response.iter_raw():
            body += chunk
            if len(body) >= limit:
                break
    finally:
        response.close()
    return bytes(body[:limit])


@lru_cache(maxsize=1)
def _tls() -> SSLContext:
    return httpx.create_ssl_context()  # 35 ms, so once a process


class _Transport(httpx.HTTPTransport):
    """httpx's transport, which maps httpcore's errors, over a pool that dials by our backend."""

    def __init__(self, backend: httpcore.NetworkBackend) -> None:
        super().__init__(verify=_tls())
        self._pool = httpcore.ConnectionPool(
            ssl_context=_tls(), max_connections=None, max_keepalive_connections=0, network_backend=backend
        )


class _Backend(httpcore.NetworkBackend):
    def __init__(self, guard: Guard, resolve: Resolve, seconds: float) -> None:
        self._guard = guard
        self._resolve = resolve
        self._seconds = seconds
        self._dialler = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        deadline = _Deadline(self._seconds)
        failure: Exception = httpcore.ConnectError("the host has no address")
        addresses = self._addresses(host, port, deadline.left(httpcore.ConnectTimeout, timeout))
        for waiting, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
            share = deadline.left(httpcore.ConnectTimeout, timeout) / waiting
            try:
                stream = self._dialler.connect_tcp(address, port, share, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return _Stream(stream, deadline)
        raise failure

    def _addresses(self, host: str, port: int, seconds: float) -> Sequence[str]:
        try:
            addresses = self._resolve(host, port, seconds)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout("the host is not resolved in time") from error
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"the host cannot be resolved: {error}") from error
        for address in addresses:
            self._guard.check_address(ip_address(address))
        return addresses


class _Deadline:
    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self, expired: type[httpcore.TimeoutException], timeout: float | None) -> float:
        """Return the seconds that an operation may take, or raise ``expired``."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise expired("the whole request took too long")
        return left if timeout is None else min(left, timeout)


class _Stream(httpcore.NetworkStream):
    """A stream of which every operation ends by one deadline."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: _Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._deadline.left(httpcore.ReadTimeout, timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._deadline.left(httpcore.WriteTimeout, timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = self._deadline.left(httpcore.ConnectTimeout, timeout)
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, left), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
