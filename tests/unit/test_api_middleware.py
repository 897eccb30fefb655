import asyncio
import json
from collections.abc import Iterable
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from api import middleware
from api.errors import Problem
from api.middleware import LINGER_BYTES, PLAIN_BODY_BYTES, SLOWEST, BodyLimit, Envelope


def limited(multipart_bytes: int, timeout_seconds: float = 30.0) -> BodyLimit:
    return BodyLimit(Envelope(read_all), multipart_bytes, timeout_seconds)


async def read_all(_scope: Scope, receive: Receive, send: Send) -> None:
    """Read the body and answer 200."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"fine"})


def call(app: Any, chunks: Iterable[bytes] = (), **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Send a request to an ASGI application and return status, headers and body of its answer."""
    waiting = iter(chunks)
    sent: list[Message] = []

    async def receive() -> Message:
        chunk = next(waiting, None)
        return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}

    async def send(message: Message) -> None:
        sent.append(message)

    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    asyncio.run(app({"type": "http", "method": "POST", "path": "/x", "headers": raw}, receive, send))
    told = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], told, b"".join(message["body"] for message in sent[1:])


def answer_to(receive: Receive, app: BodyLimit) -> tuple[int, dict[str, str]]:
    """Return status and headers of the answer to a multipart body that comes as ``receive`` says."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"content-type", b"multipart/form-data"), (b"transfer-encoding", b"chunked")]
    asyncio.run(app({"type": "http", "method": "POST", "path": "/x", "headers": headers}, receive, send))
    return sent[0]["status"], {name.decode(): value.decode() for name, value in sent[0]["headers"]}


def test_a_decent_request_id_is_kept_and_another_is_replaced() -> None:
    assert call(Envelope(read_all), x_request_id="abc-1.2_3")[1]["x-request-id"] == "abc-1.2_3"
    for bad in ("", "two words", "x" * 129, "a\nb", "é"):
        assert call(Envelope(read_all), x_request_id=bad)[1]["x-request-id"].startswith("req_")


def test_what_nobody_expected_is_a_bare_500_whose_id_is_in_the_logs(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise RuntimeError("the password is swordfish")

    status, headers, body = call(Envelope(broken), x_request_id="find-me")
    assert status == 500
    assert headers["content-type"] == "application/problem+json"
    assert json.loads(body)["code"] == "internal_error"
    assert json.loads(body)["request_id"] == headers["x-request-id"] == "find-me"
    assert b"swordfish" not in body
    assert "find-me" in caplog.text
    assert "swordfish" in caplog.text


def test_what_breaks_after_the_answer_began_breaks_the_connection() -> None:
    async def half(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise Problem(409, "too_late", "Too late.")

    with pytest.raises(Problem, match="too_late"):
        call(Envelope(half))


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
@pytest.mark.parametrize(("kind", "limit"), [("multipart/form-data", 5000), ("application/json", PLAIN_BODY_BYTES)])
def test_a_body_may_be_as_long_as_its_kind_allows_and_no_longer(*, declared: bool, kind: str, limit: int) -> None:
    app = limited(5000)

    def status(length: int) -> int:
        length_header = {"content_length": str(length)} if declared else {"transfer_encoding": "chunked"}
        return call(app, (b"x" * (length - 1), b"x"), content_type=kind, **length_header)[0]

    assert status(limit) == 200
    assert status(limit + 1) == 413


def test_what_is_too_long_is_read_for_a_while_unless_the_client_asked_first() -> None:
    def left_unread(chunks: int, **headers: str) -> int:
        unread = iter([bytes(1 << 20)] * chunks)
        app = limited(10)
        call(app, unread, content_type="multipart/form-data", content_length=str(chunks << 20), **headers)
        return len(list(unread))

    assert left_unread(8) == 0
    assert left_unread(100) == 100 - (LINGER_BYTES >> 20)
    assert left_unread(8, expect="100-continue") == 8


def test_a_client_that_stalls_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "LINGER_SECONDS", 0.01)

    async def stall() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def run() -> list[Message]:
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        headers = [(b"content-length", b"9999999")]
        scope = {"type": "http", "method": "POST", "path": "/", "headers": headers}
        await limited(10)(scope, stall, send)
        return sent

    assert asyncio.run(run())[0]["status"] == 413


def test_who_sends_too_much_is_told_the_limit_and_cut_off() -> None:
    chunks = [bytes(1 << 20)] * (1 + (LINGER_BYTES >> 20))
    _, headers, body = call(limited(10), chunks, content_type="multipart/form-data", content_length="99999999")
    assert json.loads(body)["code"] == "request_too_large"
    assert json.loads(body)["limit_bytes"] == 10
    assert headers["connection"] == "close"


@pytest.mark.parametrize(
    ("kind", "given", "shown"),
    [
        ("application/json", None, None),
        ("text/html; charset=utf-8", None, middleware.PAGES_POLICY),
        ("text/html", "script-src 'self'", "script-src 'self'"),
    ],
)
def test_a_page_runs_nothing_that_it_does_not_name(kind: str, given: str | None, shown: str | None) -> None:
    async def page(_scope: Scope, _receive: Receive, send: Send) -> None:
        headers = {"content-type": kind} | ({"content-security-policy": given} if given else {})
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": raw})

    _, headers, _ = call(Envelope(page))
    assert headers.get("content-security-policy") == shown
    assert headers["x-content-type-options"] == "nosniff"


def test_a_body_that_nobody_reads_does_not_cost_the_connection() -> None:
    async def deaf(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"fine"})

    assert "connection" not in call(BodyLimit(deaf, 10, 1.0), [b"{}"], content_length="2")[1]


class Clock:
    """A client that takes its time: so many seconds go by before each chunk of its body."""

    def __init__(self, seconds: float, size: int, chunks: int) -> None:
        self.now, self._seconds, self._size, self._left = 0.0, seconds, size, chunks

    def monotonic(self) -> float:
        return self.now

    async def receive(self) -> Message:
        self.now += self._seconds
        self._left -= 1
        return {"type": "http.request", "body": bytes(self._size), "more_body": self._left > 0}


@pytest.mark.parametrize(
    ("seconds", "size", "chunks", "status"),
    [(1.0, SLOWEST + 1, 100, 200), (1.0, 1, 29, 200), (1.0, 1, 100, 408), (1.0, SLOWEST // 2, 100, 408)],
    ids=["slow", "very slow and short", "a byte a second", "half as slow as one may be"],
)
def test_a_client_may_be_slow_and_may_not_trickle(
    monkeypatch: pytest.MonkeyPatch, seconds: float, size: int, chunks: int, status: int
) -> None:
    clock = Clock(seconds, size, chunks)
    monkeypatch.setattr(middleware.time, "monotonic", clock.monotonic)
    answered, told = answer_to(clock.receive, limited(10**9))
    assert answered == status
    assert ("connection" in told) == (status == 408)


def test_a_client_that_sends_nothing_is_told_so() -> None:
    async def stall() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    assert answer_to(stall, limited(10, timeout_seconds=0.01))[0] == 408


def test_nobody_waits_for_more_of_a_body_that_has_come() -> None:
    """The application asks on whether the client has gone, for as long as its answer takes."""
    messages = [{"type": "http.request", "body": b"x", "more_body": False}]

    async def receive() -> Message:
        if messages:
            return messages.pop()
        await asyncio.sleep(0.6)
        return {"type": "http.disconnect"}

    async def outlast(scope: Scope, receive: Receive, send: Send) -> None:
        await read_all(scope, receive, send)
        assert (await receive())["type"] == "http.disconnect"

    assert answer_to(receive, BodyLimit(outlast, 10, 0.5))[0] == 200
