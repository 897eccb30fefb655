"""Answers that are slow, endless or of somebody else: none takes more than its time, its bytes or its name allow."""

import os
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import IPv6Network
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cleanplate import outbound
from cleanplate.outbound import ForbiddenAddress, client, read_limited
from tests.receivers import LOOPBACK, NAME, OK, leads_to, port_of, receiver, saw_nobody, says


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
            pytest.raises(httpx.TimeoutException),
            http.stream("GET", f"http://127.0.0.1:{port_of(listener)}/") as response,
        ):
            read_limited(response)
        assert time.monotonic() - began > 0.5


def test_a_handshake_that_nobody_answers_ends_at_the_deadline(listener: socket.socket) -> None:
    with (
        receiver(listener, drips(b"", b"")),
        client(LOOPBACK, timeout_seconds=0.6) as http,
        pytest.raises(httpx.ConnectTimeout),
    ):
        http.get(f"https://127.0.0.1:{port_of(listener)}/")


def test_of_a_long_answer_only_the_beginning_is_read(listener: socket.socket) -> None:
    sent = []

    def endless(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 52428800\r\n\r\n")
        with suppress(OSError):
            for _ in range(800):
                connection.sendall(bytes(65536))
                sent.append(65536)

    with receiver(listener, endless), client(LOOPBACK, timeout_seconds=100) as http:
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
        client(LOOPBACK, timeout_seconds=100) as http,
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
        client(LOOPBACK, timeout_seconds=100, resolve=leads_to("127.0.0.1")) as http,
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
        with client((), timeout_seconds=100) as http, pytest.raises(ForbiddenAddress):
            http.get(url)
        assert saw_nobody(listener)
        listener.setblocking(True)
        with receiver(listener, says(OK)), client((IPv6Network("::1/128"),), timeout_seconds=100) as http:
            assert http.get(url).text == "ok"
