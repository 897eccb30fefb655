"""Heads of requests that do not come: each connection is answered and closed in time, whatever it sends."""

import json
import select
import socket
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.api import Api
from tests.pictures import IMAGE, MASK

HALF = b"GET /livez HTTP/1.1\r\nHost: x\r\nX-A: "


@pytest.fixture(autouse=True)
def _impatient(configure: Callable[..., None]) -> None:
    configure(CLEANPLATE_BODY_TIMEOUT_SECONDS="0.3")


@pytest.fixture
def line(api: Api) -> Iterator[socket.socket]:
    address = httpx.URL(api.url)
    with socket.create_connection((address.host, address.port or 0), timeout=30) as opened:
        yield opened


def refused(line: socket.socket) -> bool:
    """Read to the end of the connection and tell whether the last answer was that of a head that did not come."""
    head, _, body = line.makefile("rb").read().rpartition(b"\r\n\r\n")
    assert b"application/problem+json" in head
    told = json.loads(body)
    assert told["request_id"]
    return b"HTTP/1.1 408 " in head and told["code"] == "request_timeout"


@pytest.mark.parametrize("sent", [b"", b"G", HALF])
def test_a_head_that_stops_is_answered(line: socket.socket, sent: bytes) -> None:
    line.sendall(sent)
    assert refused(line)


def test_a_head_that_trickles_is_answered(line: socket.socket) -> None:
    line.sendall(HALF)
    while not select.select([line], [], [], 0.05)[0]:
        line.sendall(b"a")
    assert refused(line)


def test_the_second_head_of_a_connection_has_no_more_time(line: socket.socket) -> None:
    line.sendall(HALF + b"a\r\n\r\n")
    assert line.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
    line.sendall(HALF)
    assert refused(line)


def test_an_answer_may_take_longer_than_a_head(client: httpx.Client) -> None:
    pair = {
        "image": ("a.jpg", IMAGE),
        "mask": ("m.png", MASK),
    }
    assert client.post("/v1/jobs", params={"wait": 1}, files=pair).status_code == 202
