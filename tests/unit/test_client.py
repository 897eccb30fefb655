import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from cleanplate import client_out
from cleanplate import connection as module
from cleanplate.client import Client
from cleanplate.client_errors import (
    AbortedError,
    ApiError,
    AuthError,
    CreditsError,
    NotFoundError,
    UnreachableError,
    UnusableAnswerError,
)
from cleanplate.resources import BatchOptions, Job
from cleanplate.states import InFlight
from tests.fake_api import FakeApi, parts, problem

OPEN = BatchOptions(seal=False)


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(module, "LONGEST_PAUSE_SECONDS", 0.002)
    return FakeApi()


def answering(*answers: httpx.Response | Exception) -> Any:
    left = list(answers)
    return lambda _: left.pop(0) if left else None


def finished_job(client: Client) -> Job:
    batch = client.create_batch(OPEN)
    client.add_items(batch.id, [("a.jpg", b"image"), ("a_mask.png", b"mask")])
    client.seal(batch.id)
    assert client.batch(batch.id).finished_at is not None
    (job,) = client.batch_jobs(batch.id).data
    return job


def test_a_batch_goes_in_and_comes_out_as_the_contracts_objects(api: FakeApi, tmp_path: Path) -> None:
    with api.client() as client:
        job = finished_job(client)
        client.download(job, tmp_path / "deep" / "a.png")
    assert (job.custom_id, job.image.sha256) == ("a", hashlib.sha256(b"image").hexdigest())
    assert (tmp_path / "deep" / "a.png").read_bytes() == f"the result of {job.id}".encode()
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.png"]
    assert {request.headers["authorization"] for request in api.requests} == {"Bearer cp_secret"}


def test_a_cancellation_says_what_it_saved_and_may_be_repeated(api: FakeApi) -> None:
    with api.client() as client:
        batch = client.create_batch(OPEN)
        files = [(f"{name}{end}", b"x") for name in "abc" for end in (".jpg", "_mask.png")]
        first, *_ = client.add_items(batch.id, files).accepted
        assert client.cancel_job(first.id, InFlight.ABANDON).status == "cancelled"
        api.before = answering(problem(503, "away"))
        saved = client.cancel_batch(batch.id).saved
    assert (saved.stopped, saved.credits, saved.in_flight, saved.in_flight_policy) == (2, 10.0, 0, "finish")
    assert api.requests[-1].url.params["in_flight"] == "finish"
    assert api.count("POST", f"/v1/batches/{batch.id}/cancel") == 2


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


def test_retry_after_is_honoured(api: FakeApi) -> None:
    api.before = answering(problem(429, "rate_limited", **{"retry-after": "1"}))
    started = time.monotonic()
    with api.client() as client:
        client.upstream()
    assert time.monotonic() - started >= 1


def test_patience_ends(api: FakeApi) -> None:
    api.before = lambda _: httpx.ConnectError("refused")
    with (
        api.client(patience_seconds=0.05) as client,
        pytest.raises(UnreachableError, match=r"http://api\.test .*refused"),
    ):
        client.upstream()
    assert len(api.requests) > 2


def test_a_server_that_never_answered_is_given_up_sooner_than_one_that_did(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STRANGER_SECONDS", 0.0)
    away = httpx.ConnectError("refused")
    with api.client() as client:
        api.before = answering(away)
        with pytest.raises(UnreachableError):
            client.upstream()
        client.upstream()
        api.before = answering(away, away)
        client.upstream()


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


@pytest.mark.parametrize(
    ("status", "kind"), [(401, AuthError), (403, AuthError), (402, CreditsError), (404, NotFoundError), (422, ApiError)]
)
def test_a_refusal_is_told_by_its_kind_and_not_repeated(api: FakeApi, status: int, kind: type[ApiError]) -> None:
    api.before = lambda _: problem(status, "some_code")
    with api.client() as client, pytest.raises(kind) as caught:
        client.upstream()
    error = caught.value
    assert (error.status, error.code, error.detail) == (status, "some_code", "because of some_code")
    assert error.request_id == "req_1"
    assert len(api.requests) == 1


def test_a_refusal_that_is_no_problem_document_is_told_too(api: FakeApi) -> None:
    api.before = lambda _: httpx.Response(400, text="<h1>no</h1>", headers={"x-request-id": "req_2"})
    with api.client() as client, pytest.raises(ApiError) as caught:
        client.upstream()
    assert (caught.value.code, caught.value.detail, caught.value.request_id) == ("http_400", "Bad Request", "req_2")


def test_another_server_is_not_taken_for_the_api(api: FakeApi) -> None:
    api.before = lambda _: httpx.Response(200, text="<h1>It works!</h1>")
    with api.client() as client, pytest.raises(UnusableAnswerError, match="as a cleanplate API does"):
        client.upstream()


def test_the_key_stays_behind_when_a_result_is_on_another_host(api: FakeApi, tmp_path: Path) -> None:
    with api.client() as client:
        job = finished_job(client)
        content = f"the result of {job.id}".encode()
        api.before = answering(
            httpx.Response(302, headers={"location": "https://store.test/signed?x=1"}),
            httpx.Response(200, content=content),
        )
        client.download(job, tmp_path / "a.png")
    ours, theirs = api.requests[-2:]
    assert (ours.url.host, theirs.url.host) == ("api.test", "store.test")
    assert "authorization" in ours.headers
    assert "authorization" not in theirs.headers


def test_a_stores_refusal_gets_a_fresh_url_and_is_not_taken_for_the_apis(api: FakeApi, tmp_path: Path) -> None:
    with api.client() as client:
        job = finished_job(client)
        api.before = answering(
            httpx.Response(302, headers={"location": "https://store.test/expired"}), httpx.Response(403)
        )
        client.download(job, tmp_path / "a.png")
    assert (tmp_path / "a.png").exists()


def test_a_result_that_comes_damaged_is_fetched_again_and_never_put_in_place(api: FakeApi, tmp_path: Path) -> None:
    with api.client() as client:
        job = finished_job(client)
        api.before = answering(*[httpx.Response(200, content=b"damaged")] * 3)
        with pytest.raises(UnusableAnswerError, match="damaged"):
            client.download(job, tmp_path / "a.png")
        assert list(tmp_path.iterdir()) == []
        client.download(job, tmp_path / "a.png")
    assert (tmp_path / "a.png").exists()


def abort_ends(client: Client, call: Callable[[], object], waiting: threading.Event) -> bool:
    """Tell whether the call, which waits by then, ends soon when the client is aborted."""
    errors: list[Exception] = []

    def run() -> None:
        try:
            call()
        except AbortedError as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert waiting.wait(10)
    client.abort()
    thread.join(5)
    return len(errors) == 1


def test_an_abort_ends_a_call_that_waits_for_the_server(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 9.0)
    waiting = threading.Event()
    api.before = lambda _: httpx.ConnectError("refused")
    client = api.client(on_wait=lambda _: waiting.set())
    assert abort_ends(client, client.upstream, waiting)


def test_an_abort_ends_the_pause_before_a_broken_line_is_taken_up_again(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_out, "AGAIN_SECONDS", 9.0)
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


def test_ready_tells_at_once_and_never_raises(api: FakeApi) -> None:
    api.before = lambda _: httpx.ConnectError("refused")
    assert not api.client().ready()
    api.before = lambda _: httpx.Response(503)
    assert not api.client().ready()
    api.before = lambda _: httpx.Response(200)
    assert api.client().ready()


@pytest.mark.parametrize("url", ["", "ftp://host", "host:8000", "http://", "http://x:port", "http://me:hunter2@host"])
def test_an_address_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="no http") as caught:
        Client(url, None)
    assert "hunter2" not in str(caught.value)
