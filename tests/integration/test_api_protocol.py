"""Heads of requests that do not come: each connection is answered and closed in time, whatever it sends."""

import json
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.api import Api
from tests.pictures import IMAGE, MASK

HALF = b"GET /livez HTTP/1.1\r\nHost: x\r\nX-A: "


Patience = Callable[[float], None]


@pytest.fixture(autouse=True)
def patience(configure: Callable[..., None]) -> Patience:
    """Call it to say how many seconds the API waits for a head that begins now; it waits for no longer than 0.3 s."""

    def wait(seconds: float) -> None:
        configure(CLEANPLATE_BODY_TIMEOUT_SECONDS=str(seconds))

    wait(0.3)
    return wait


@contextmanager
def connected(api: Api) -> Iterator[socket.socket]:
    address = httpx.URL(api.url)
    with socket.create_connection((address.host, address.port or 0), timeout=100) as opened:
        yield opened


def refused(line: socket.socket) -> bool:
    """Read to the end of the connection and tell whether the last answer was that of a head that did not come."""
    head, _, body = line.makefile("rb").read().rpartition(b"\r\n\r\n")
    assert b"application/problem+json" in head
    told = json.loads(body)
    assert told["request_id"]
    return b"HTTP/1.1 408 " in head and told["code"] == "request_timeout"


@pytest.mark.parametrize("sent", [b"", b"G", HALF])
def test_a_head_that_stops_is_answered(api: Api, sent: bytes) -> None:
    with connected(api) as line:
        line.sendall(sent)
        assert refused(line)


def test_a_head_that_trickles_is_answered(api: Api) -> None:
    with connected(api) as line:
        line.sendall(HALF)
        while not select.select([line], [], [], 0.05)[0]:
            line.sendall(b"a")
        assert refused(line)


def test_the_second_head_of_a_connection_has_no_more_time(api: Api, patience: Patience) -> None:
    patience(600)
    with connected(api) as line:
        line.sendall(HALF + b"a\r\n\r\n")
        assert line.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
        patience(0.3)
        line.sendall(HALF)
        assert refused(line)


def test_an_answer_may_take_longer_than_a_head(client: httpx.Client, patience: Patience) -> None:
    pair = {
        "image": ("a.jpg", IMAGE),
        "mask": ("m.png", MASK),
    }
    patience(5)
    assert client.post("/v1/jobs", params={"wait": 6}, files=pair).status_code == 202
