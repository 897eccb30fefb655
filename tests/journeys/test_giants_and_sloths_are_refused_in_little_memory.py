"""Bodies that never end, never come, or hold a hundred thousand parts: each is answered, and costs the API nothing."""

import contextlib
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests import memory
from tests.bench.archive import write
from tests.journeys.harness import Stack, stack
from tests.zips import Entry, crafted

GIANT = 10 << 30
LIMIT = 64 << 20
MOST = 300_000_000
BOUNDARY = "b0undary"
PART = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\nabc\r\n'.encode()
KIND = f"multipart/form-data; boundary={BOUNDARY}"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    limits = {"CLEANPLATE_MAX_REQUEST_BYTES": LIMIT, "CLEANPLATE_BODY_TIMEOUT_SECONDS": 10}
    with stack(tmp_path_factory.mktemp("data") / "data", slots=1, latency=60.0, fast=True, **limits) as started:
        yield started


@pytest.fixture(autouse=True)
def api_stays_small(running: Stack) -> Iterator[None]:
    with memory.watched(running.pid("api")) as api:
        yield
    assert api.most < MOST
    with running.client() as client:
        assert set(client.checks().values()) == {"ok"}


def post(running: Stack, body: Iterable[bytes], **headers: str) -> httpx.Response:
    told = {"Authorization": f"Bearer {running.running.api_key}", "Content-Type": KIND}
    told |= {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.post(f"{running.running.url}/v1/batches", content=body, headers=told, timeout=300)


def code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


@pytest.mark.parametrize("declared", [True, False])
def test_ten_gigabytes_are_refused(running: Stack, *, declared: bool) -> None:
    sent = 0

    def body() -> Iterator[bytes]:
        nonlocal sent
        yield PART[: -len("abc\r\n")]
        chunk = bytes(1 << 20)
        while sent < GIANT:
            sent += len(chunk)
            yield chunk

    headers = {"Content_Length": str(GIANT)} if declared else {}
    with contextlib.suppress(httpx.WriteError):  # a client that goes on sending may be cut off before it listens
        assert code(post(running, body(), **headers)) == (413, "request_too_large")
    assert sent < 4 * LIMIT


def test_a_hundred_thousand_parts_are_refused(running: Stack) -> None:
    body = PART * 100_000 + f"--{BOUNDARY}--\r\n".encode()
    assert code(post(running, [body], Content_Length=str(len(body)))) == (413, "too_many_files")


def test_a_form_of_ten_thousand_pairs_is_read(running: Stack) -> None:
    one = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="files"; filename="%s"\r\n\r\nabc\r\n'
    parts = "".join(one % f"{number}.jpg" + one % f"{number}_mask.png" for number in range(10_000))
    told = post(running, [parts.encode(), f"--{BOUNDARY}--\r\n".encode()])
    assert code(told) == (422, "no_valid_items")
    assert told.json()["errors"][0]["code"] == "unsupported_media_type"


ROOM = 15 << 20
LISTS = "[" + "[]," * (ROOM // 3) + "0]"
SOURCES = '"image": {"url": "https://example.com/a"}, "mask": {"url": "https://example.com/b"}'
BOMBS = {
    "one item": '{"items": [{' + SOURCES + ', "metadata": {"x": ' + LISTS + "}}]}",
    "very many items": '{"items": ' + LISTS + "}",
    "options": '{"items": [], "options": {"name": ' + LISTS + "}}",
    "names": '{"items": [], ' + ", ".join(f'"{number}": 0' for number in range(ROOM // 14)) + "}",
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_json_of_very_many_values_is_refused(running: Stack, bomb: str) -> None:
    assert code(post(running, [bomb.encode()], Content_Type="application/json"))[0] in {400, 422}


def test_metadata_of_very_many_values_are_taken(running: Stack) -> None:
    item = "{" + SOURCES + ', "metadata": {"x": [' + "[]," * 450 + "0]}}"
    body = '{"options": {"seal": false}, "items": [' + ",".join([item] * 10_000) + "]}"
    assert post(running, [body.encode()], Content_Type="application/json").status_code == 202


@pytest.mark.parametrize("whole_head", [True, False])
def test_a_client_that_stops_sending_is_told_so(running: Stack, *, whole_head: bool) -> None:
    address = urlsplit(running.running.url)
    head = f"POST /v1/batches HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {running.running.api_key}\r\n"
    head += f"Content-Type: {KIND}\r\nContent-Length: 100000\r\n\r\n"
    with contextlib.ExitStack() as open_:
        clients = [
            open_.enter_context(socket.create_connection((address.hostname or "", address.port or 0), timeout=300))
            for _ in range(50)
        ]
        for client in clients:
            client.sendall(head.encode() + PART if whole_head else head.encode()[:-10])
        for client in clients:
            answer = client.makefile("rb").read()
            assert answer.startswith(b"HTTP/1.1 408 ")
            assert b"request_timeout" in answer


@pytest.mark.parametrize(
    "names",
    [(f"__MACOSX/._{number}.jpg" for number in range(49_000)), ["same.jpg"] * 49_000],
    ids=["junk", "one name"],
)
def test_an_archive_of_very_many_useless_entries_is_answered(running: Stack, names: Iterable[str]) -> None:
    archive = crafted(*(Entry(name.encode(), b"x", method=0) for name in names))
    headers = {"Authorization": f"Bearer {running.running.api_key}"}
    url = f"{running.running.url}/v1/batches"
    response = httpx.post(url, files={"archive": ("a.zip", archive)}, headers=headers, timeout=300)
    assert code(response) == (422, "no_valid_items")


def test_an_archive_of_a_thousand_pairs_is_taken(running: Stack, tmp_path: Path) -> None:
    write(tmp_path / "photos.zip", 1000)
    headers = {"Authorization": f"Bearer {running.running.api_key}"}
    with (tmp_path / "photos.zip").open("rb") as file:
        response = httpx.post(
            f"{running.running.url}/v1/batches", files={"archive": file}, headers=headers, timeout=300
        )
    assert response.status_code == 202
    assert response.json()["counts"]["total"] == 1000
