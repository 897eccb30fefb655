"""What a receiver sees of us, and what an address that is forbidden does not."""

import os
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from threading import Event, Thread

import httpcore
import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cleanplate import outbound
from cleanplate.outbound import ForbiddenAddress, client, read_limited

LOOPBACK = (IPv4Network("127.0.0.0/8"),)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
NAME = "hooks.example.test"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def port_of(listener: socket.socket) -> int:
    return listener.getsockname()[1]


def saw_nobody(listener: socket.socket) -> bool:
    """A handshake is the kernel's work: a connection that was made would be waiting here by now."""
    listener.setblocking(False)
    try:
        listener.accept()[0].close()
    except BlockingIOError:
        return True
    return False


@contextmanager
def receiver(listener: socket.socket, answer: Callable[[socket.socket], None]) -> Iterator[list[bytes]]:
    """Give each connection's first bytes to the list and the connection to ``answer``."""
    received: list[bytes] = []
    ended = Event()

    def serve() -> None:
        while not ended.is_set():
            with suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    if not ended.is_set():
                        received.append(connection.recv(65536))
                        answer(connection)

    thread = Thread(target=serve)
    thread.start()
    try:
        yield received
    finally:
        ended.set()
        socket.create_connection(listener.getsockname()[:2]).close()  # wakes the accept
        thread.join()


def says(data: bytes) -> Callable[[socket.socket], None]:
    """Answer, and keep the connection for as long as the client does."""

    def say(connection: socket.socket) -> None:
        connection.sendall(data)
        connection.settimeout(5)
        connection.recv(1)

    return say


def leads_to(*addresses: str) -> Callable[[str, int], Sequence[str]]:
    return lambda _host, _port: addresses


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", "127.1", "2130706433", "[::ffff:127.0.0.1]"])
def test_loopback_by_any_name_sees_no_packet(host: str, listener: socket.socket) -> None:
    with client((), timeout_seconds=5) as http, pytest.raises(httpx.ConnectError) as refused:
        http.post(f"http://{host}:{port_of(listener)}/hook", content=b"secret")
    assert isinstance(refused.value, ForbiddenAddress)
    assert saw_nobody(listener)


def test_an_allowed_network_is_reached_under_the_name_that_was_asked_for(listener: socket.socket) -> None:
    with (
        receiver(listener, says(OK)) as received,
        client(LOOPBACK, timeout_seconds=5, resolve=leads_to("127.0.0.1")) as http,
    ):
        answer = http.post(f"http://{NAME}:{port_of(listener)}/hook", content=b"body")
    assert answer.text == "ok"
    assert received[0].startswith(b"POST /hook HTTP/1.1\r\nHost: " + f"{NAME}:{port_of(listener)}\r\n".encode())
    assert b"identity" in received[0]


def test_one_forbidden_address_among_several_refuses_them_all(listener: socket.socket) -> None:
    both = leads_to("127.0.0.1", "10.0.0.1")
    with client(LOOPBACK, timeout_seconds=5, resolve=both) as http, pytest.raises(ForbiddenAddress):
        http.get(f"http://{NAME}:{port_of(listener)}/")
    assert saw_nobody(listener)


def test_a_name_that_is_rebound_between_requests_is_judged_anew(listener: socket.socket) -> None:
    answers = iter([["127.0.0.1"], ["169.254.169.254"]])
    with (
        receiver(listener, says(OK)) as received,
        client(LOOPBACK, timeout_seconds=5, resolve=lambda _host, _port: next(answers)) as http,
    ):
        url = f"http://{NAME}:{port_of(listener)}/"
        assert http.get(url).text == "ok"
        with pytest.raises(ForbiddenAddress):
            http.get(url)
    assert len(received) == 1


def test_a_name_that_is_rebound_before_we_connect_is_refused(listener: socket.socket) -> None:
    answers = iter([["93.184.215.14"], ["127.0.0.1"]])
    url = f"http://{NAME}:{port_of(listener)}/"
    outbound.check_url(url, ())
    next(answers)  # what whoever looked before would have seen
    with (
        client((), timeout_seconds=5, resolve=lambda _host, _port: next(answers)) as http,
        pytest.raises(ForbiddenAddress),
    ):
        http.get(url)
    assert saw_nobody(listener)


def test_what_is_dialled_is_the_address_that_was_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([["93.184.215.14"], ["127.0.0.1"]])
    dialled = []

    def dial(_self: object, host: str, *_arguments: object) -> httpcore.NetworkStream:
        dialled.append(host)
        raise httpcore.ConnectError

    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", dial)
    with (
        client((), timeout_seconds=5, resolve=lambda _host, _port: next(answers)) as http,
        pytest.raises(httpx.ConnectError) as failed,
    ):
        http.get(f"http://{NAME}/")
    assert not isinstance(failed.value, ForbiddenAddress)
    assert dialled == ["93.184.215.14"]


def test_an_address_that_nobody_answers_at_leaves_time_for_the_next(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    dial, waited = httpcore.SyncBackend.connect_tcp, []

    def slow(self: httpcore.SyncBackend, host: str, port: int, timeout: float, *rest: None) -> httpcore.NetworkStream:
        waited.append(timeout)
        if host == "127.0.0.2":
            raise httpcore.ConnectTimeout
        return dial(self, host, port, timeout, *rest)

    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", slow)
    with (
        receiver(listener, says(OK)),
        client(LOOPBACK, timeout_seconds=9, resolve=leads_to("127.0.0.2", "127.0.0.2", "127.0.0.1")) as http,
    ):
        assert http.get(f"http://{NAME}:{port_of(listener)}/").text == "ok"
    assert waited == pytest.approx([3, 4.5, 9], abs=0.5)


def test_a_redirect_is_not_followed(listener: socket.socket) -> None:
    with socket.create_server(("127.0.0.1", 0)) as inside:
        target = f"http://127.0.0.1:{port_of(inside)}/"
        redirect = f"HTTP/1.1 307 Temporary Redirect\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n".encode()
        with receiver(listener, says(redirect)) as received, client(LOOPBACK, timeout_seconds=5) as http:
            answer = http.post(f"http://127.0.0.1:{port_of(listener)}/", content=b"body")
        assert answer.status_code == 307
        assert len(received) == 1
        assert saw_nobody(inside)


def test_a_redirect_that_a_caller_follows_is_judged_too(listener: socket.socket) -> None:
    redirect = b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n"
    with (
        receiver(listener, says(redirect)) as received,
        client(LOOPBACK, timeout_seconds=5) as http,
        pytest.raises(ForbiddenAddress),
    ):
        http.get(f"http://127.0.0.1:{port_of(listener)}/", follow_redirects=True)
    assert len(received) == 1


def test_a_proxy_in_the_environment_is_not_asked(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as proxy, receiver(listener, says(OK)):
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port_of(proxy)}")
        with client(LOOPBACK, timeout_seconds=5) as http:
            assert http.get(f"http://127.0.0.1:{port_of(listener)}/").text == "ok"
        assert saw_nobody(proxy)


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "file:///etc/passwd", "127.0.0.1/"])
def test_only_http_goes_out(url: str) -> None:
    with client(LOOPBACK, timeout_seconds=5) as http, pytest.raises(httpx.UnsupportedProtocol):
        http.get(url)


@pytest.mark.parametrize("host", ["a..b", "a" * 64 + ".example"])
def test_a_name_that_is_none_is_a_connect_error(host: str) -> None:
    with client((), timeout_seconds=5) as http, pytest.raises(httpx.ConnectError, match="resolved"):
        http.get(f"http://{host}/")


def test_a_name_without_an_address_is_a_connect_error() -> None:
    def unknown(_host: str, _port: int) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with client((), timeout_seconds=5, resolve=unknown) as http, pytest.raises(httpx.ConnectError, match="not known"):
        http.get(f"http://{NAME}/")


def test_a_port_that_nobody_listens_at_is_a_connect_error(listener: socket.socket) -> None:
    port = port_of(listener)
    listener.close()
    for addresses in (("127.0.0.1", "127.0.0.1"), ()):
        with (
            client(LOOPBACK, timeout_seconds=5, resolve=leads_to(*addresses)) as http,
            pytest.raises(httpx.ConnectError),
        ):
            http.get(f"http://{NAME}:{port}/")


# Slow and endless answers


def drips(start: bytes, piece: bytes) -> Callable[[socket.socket], None]:
    """Answer a little at a time, far faster than any one read times out, until we hang up."""

    def drip(connection: socket.socket) -> None:
        connection.sendall(start)
        connection.settimeout(0.05)
        while True:
            connection.sendall(piece)
            with suppress(TimeoutError):
                if connection.recv(1) == b"":
                    return

    return drip


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"x", id="body"),
        pytest.param(b"HTTP/1.1 200 OK\r\n", b"X-Drip: x\r\n", id="headers"),
        pytest.param(b"", b"", id="silence"),
    ],
)
def test_an_answer_that_drips_ends_at_the_deadline(start: bytes, piece: bytes, listener: socket.socket) -> None:
    with receiver(listener, drips(start, piece)), client(LOOPBACK, timeout_seconds=0.6) as http:
        began = time.monotonic()
        with (
            pytest.raises(httpx.ReadTimeout),
            http.stream("GET", f"http://127.0.0.1:{port_of(listener)}/") as response,
        ):
            read_limited(response)
        assert 0.5 < time.monotonic() - began < 2


def test_a_handshake_that_nobody_answers_ends_at_the_deadline(listener: socket.socket) -> None:
    with receiver(listener, drips(b"", b"")), client(LOOPBACK, timeout_seconds=0.6) as http:
        began = time.monotonic()
        with pytest.raises(httpx.ConnectTimeout):
            http.get(f"https://127.0.0.1:{port_of(listener)}/")
        assert time.monotonic() - began < 2


def test_of_a_long_answer_only_the_beginning_is_read(listener: socket.socket) -> None:
    sent = []

    def endless(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 52428800\r\n\r\n")
        with suppress(OSError):
            for _ in range(800):
                connection.sendall(bytes(65536))
                sent.append(65536)

    with receiver(listener, endless), client(LOOPBACK, timeout_seconds=5) as http:
        with http.stream("GET", f"http://127.0.0.1:{port_of(listener)}/") as response:
            assert read_limited(response) == bytes(65536)
            assert response.is_closed
        with http.stream("GET", f"http://127.0.0.1:{port_of(listener)}/") as response:
            assert read_limited(response, limit=10) == bytes(10)
    assert sum(sent) < 30 << 20  # what the kernel's buffers took; far from twice 50 MiB


def test_a_body_that_would_unpack_to_more_is_left_packed(listener: socket.socket) -> None:
    packed = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 6\r\n\r\npacked"
    with (
        receiver(listener, says(packed)),
        client(LOOPBACK, timeout_seconds=5) as http,
        http.stream("GET", f"http://127.0.0.1:{port_of(listener)}/") as response,
    ):
        assert read_limited(response) == b"packed"


# TLS


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A certificate of its own authority for ``NAME``, which the client is told to trust."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(
            subject, subject, key.public_key(), 1, now - timedelta(hours=1), now + timedelta(hours=1)
        )
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "certificate.pem"
    pem = serialization.Encoding.PEM
    path.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + signed.public_bytes(pem)
    )
    monkeypatch.setenv("SSL_CERT_FILE", os.fspath(path))
    outbound._tls.cache_clear()
    yield path
    outbound._tls.cache_clear()


def test_a_certificate_is_held_against_the_name_though_we_dial_the_address(
    certificate: Path, listener: socket.socket
) -> None:
    context, asked_for = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), []
    context.load_cert_chain(certificate)
    context.sni_callback = lambda _socket, name, _context: asked_for.append(name)
    port = port_of(listener)
    with (
        context.wrap_socket(listener, server_side=True) as secure,
        receiver(secure, says(OK)) as received,
        client(LOOPBACK, timeout_seconds=5, resolve=leads_to("127.0.0.1")) as http,
    ):
        assert http.get(f"https://{NAME}:{port}/").text == "ok"
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            http.get(f"https://other.example.test:{port}/")
    assert asked_for == [NAME, "other.example.test"]
    assert len(received) == 1


def test_ipv6_is_dialled_as_well() -> None:
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    with listener:
        url = f"http://[::1]:{port_of(listener)}/"
        with client((), timeout_seconds=5) as http, pytest.raises(ForbiddenAddress):
            http.get(url)
        assert saw_nobody(listener)
        listener.setblocking(True)
        with receiver(listener, says(OK)), client((IPv6Network("::1/128"),), timeout_seconds=5) as http:
            assert http.get(url).text == "ok"
