"""How long calls are made again, with what pauses, and what ends them."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from cleanplate import client_out, connection
from cleanplate.client import Client
from cleanplate.client_errors import AbortedError, ApiError, UnreachableError
from cleanplate.resources import BatchOptions
from tests.fake_api import FakeApi, answering, parts, problem

OPEN = BatchOptions(seal=False)
LONG = 3600.0


@dataclass
class Clock:
    """A clock that nothing but the pauses of clients moves."""

    now: float = 0.0
    pauses: list[float] = field(default_factory=list)

    def monotonic(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.now += seconds
        self.pauses.append(seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()

    class Event(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            made.pause(timeout or 0.0)
            return self.is_set()

    monkeypatch.setattr(connection, "time", made)
    monkeypatch.setattr(connection, "threading", SimpleNamespace(Event=Event))
    return made


@pytest.mark.parametrize(
    "trouble",
    [
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("late"),
        problem(502, "bad"),
        problem(503, "away"),
        problem(429, "x"),
    ],
)
def test_a_call_that_is_safe_is_made_again_until_it_is_answered(
    api: FakeApi, trouble: httpx.Response | Exception
) -> None:
    heard: list[str | None] = []
    api.before = answering(trouble, trouble)
    with api.client(on_wait=heard.append) as client:
        assert client.create_batch(OPEN).status == "open"
    assert len(api.requests) == 3
    assert [note is None for note in heard] == [False, False, True]


def test_files_are_read_from_the_start_again_when_they_are_sent_again(api: FakeApi, tmp_path: Path) -> None:
    image = tmp_path / "a.jpg"
    image.write_bytes(b"image" * 50_000)
    batch = api.client().create_batch(OPEN)
    bodies = []

    def lose_the_first_answer(request: httpx.Request) -> None:
        if request.url.path.endswith("/items"):
            bodies.append([content for _, _, content in parts(request)])
            if len(bodies) == 1:
                raise httpx.ReadError("cut")

    api.after = lose_the_first_answer
    with api.client() as client:
        answer = client.add_items(batch.id, [("a.jpg", image), ("a_mask.png", b"mask")])
    assert bodies == [[b"image" * 50_000, b"mask"]] * 2
    assert [refused.code for refused in answer.rejected] == ["duplicate_custom_id"]
    assert len(api.jobs) == 1


def test_retry_after_is_honoured(api: FakeApi, clock: Clock) -> None:
    api.before = answering(problem(429, "rate_limited", **{"retry-after": "7"}))
    with api.client() as client:
        client.upstream()
    assert clock.pauses == [7.0]


def test_patience_ends(api: FakeApi, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "FIRST_PAUSE_SECONDS", 1.0)
    api.before = lambda _: httpx.ConnectError("refused")
    with (
        api.client(patience_seconds=9.5) as client,
        pytest.raises(UnreachableError, match=r"http://api\.test .*refused"),
    ):
        client.upstream()
    assert (clock.pauses, len(api.requests)) == ([1.0, 2.0, 4.0], 4)


def test_a_server_that_never_answered_is_given_up_sooner_than_one_that_did(
    api: FakeApi, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "FIRST_PAUSE_SECONDS", 1.0)
    with api.client(patience_seconds=100.0) as client:
        api.before = lambda _: httpx.ConnectError("refused")
        with pytest.raises(UnreachableError):
            client.upstream()
        assert 5.0 < sum(clock.pauses) <= connection.STRANGER_SECONDS
        api.before = lambda _: None
        client.upstream()
        clock.pauses.clear()
        api.before = lambda _: httpx.ConnectError("refused")
        with pytest.raises(UnreachableError):
            client.upstream()
        assert 90.0 < sum(clock.pauses) <= 100.0


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        ("create_batch", [OPEN]),
        ("create_endpoint", ["http://127.0.0.1:1/"]),
        ("create_job", [("a.jpg", b"i"), ("m.png", b"m")]),
        ("add_items", ["bat_1", [("a.jpg", b"i")]]),
    ],
)
def test_every_try_of_a_call_that_creates_has_the_same_key_and_every_call_another(
    api: FakeApi, call: str, arguments: list[Any]
) -> None:
    with api.client() as client:
        for _ in range(2):
            api.before = answering(
                httpx.ReadTimeout("late"), problem(409, "idempotency_in_progress"), problem(422, "x")
            )
            with pytest.raises(ApiError, match="x"):
                getattr(client, call)(*arguments)
    first, *others = (request.headers["idempotency-key"] for request in api.requests)
    assert others[:2] == [first, first]
    assert len(set(others[2:])) == 1
    assert others[2] != first


def abort_ends(client: Client, call: Callable[[], object], waiting: threading.Event) -> bool:
    """Tell whether the call, which waits by then for longer than a test may last, ends when the client is aborted."""
    errors: list[Exception] = []

    def run() -> None:
        try:
            call()
        except AbortedError as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    waiting.wait()
    client.abort()
    thread.join()
    return len(errors) == 1


def test_an_abort_ends_a_call_that_waits_for_the_server(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "FIRST_PAUSE_SECONDS", LONG / 2)
    monkeypatch.setattr(connection, "STRANGER_SECONDS", LONG)
    waiting = threading.Event()
    api.before = lambda _: httpx.ConnectError("refused")
    client = api.client(patience_seconds=LONG, on_wait=lambda _: waiting.set())
    assert abort_ends(client, client.upstream, waiting)


def test_an_abort_ends_the_pause_before_a_broken_line_is_taken_up_again(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_out, "AGAIN_SECONDS", LONG)
    broken = threading.Event()

    def line() -> Iterator[bytes]:
        yield b""
        broken.set()
        raise httpx.ReadError("broken")

    api.before = lambda _: httpx.Response(200, content=line())
    client = api.client()
    assert abort_ends(client, lambda: list(client.events("bat_1")), broken)


def test_an_abort_ends_an_upload_in_the_middle_of_a_file(api: FakeApi, tmp_path: Path) -> None:
    image = tmp_path / "a.jpg"
    image.write_bytes(bytes(1 << 20))
    client = api.client()
    batch = client.create_batch(OPEN)
    api.before = lambda _: client.abort()
    with pytest.raises(AbortedError):
        client.add_items(batch.id, [("a.jpg", image)])
