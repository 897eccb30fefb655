"""Files that clients put into the store by themselves."""

import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from sqlalchemy import func, select, update

from api import middleware
from api import store as api_store
from cleanplate import db
from cleanplate.client import Client
from cleanplate.models import Upload
from cleanplate.storage import open_store
from tests.api import Api, problem
from tests.s3 import make_bucket, s3_environment, s3_server
from worker import sweep

DATA = b"\x89PNG" + b"x" * 40_000


def asked(client: httpx.Client, **body: Any) -> dict[str, Any]:
    response = client.post("/v1/uploads", json=body) if body else client.post("/v1/uploads")
    assert response.status_code == 201, response.text
    told: dict[str, Any] = response.json()
    return told


def put(url: str, data: bytes | Iterator[bytes] = DATA) -> httpx.Response:
    return httpx.put(url, content=data, timeout=30)


def test_a_file_is_put_without_a_key_and_lies_in_the_store(api: Api, client: httpx.Client) -> None:
    told = asked(client)
    assert (told["method"], told["headers"], told["max_bytes"]) == ("PUT", {}, 100_000)
    expires = datetime.fromisoformat(told["expires_at"]) - datetime.now(UTC)
    assert timedelta(hours=23) < expires <= timedelta(hours=24)
    assert put(told["url"]).status_code == 200
    key = f"uploads/{told['upload_id']}"
    assert (api.objects / key).read_bytes() == DATA
    assert put(told["url"], DATA[:10]).status_code == 200
    assert (api.objects / key).read_bytes() == DATA[:10]


def test_the_token_is_stored_as_its_digest_and_opens_for_an_hour(client: httpx.Client) -> None:
    told = asked(client)
    token = told["url"].rpartition("/")[2]
    with db.transaction() as tx:
        row = tx.get_one(Upload, told["upload_id"])
        assert token not in str(vars(row))
        tx.execute(update(Upload).where(Upload.id == row.id).values(link_expires_at=func.now()))
    problem(put(told["url"]), 404, "not_found")


def test_a_token_that_nobody_was_given_opens_nothing(api: Api) -> None:
    problem(put(f"{api.url}/uploads/{'x' * 43}"), 404, "not_found")


@pytest.mark.parametrize("body", ["true", "1", '"text"', "[]"])
def test_a_body_that_is_no_object_is_refused_as_a_whole(client: httpx.Client, body: str) -> None:
    headers = {"Content-Type": "application/json"}
    assert problem(client.post("/v1/uploads", content=body, headers=headers), 422, "validation_failed")["errors"]


def test_a_size_that_is_too_large_is_refused_before_anything_is_sent(client: httpx.Client) -> None:
    assert problem(client.post("/v1/uploads", json={"bytes": 100_001}), 413, "file_too_large")["limit_bytes"] == 100_000
    problem(client.post("/v1/uploads", json={"bytes": 0}), 422, "validation_failed")


@pytest.mark.parametrize("told_its_size", [True, False])
def test_a_file_that_is_larger_than_one_may_be_is_not_kept(api: Api, client: httpx.Client, told_its_size: bool) -> None:
    told = asked(client)
    response = put(told["url"], b"x" * 100_001 if told_its_size else iter([b"x" * 50_000] * 3))
    problem(response, 413, "request_too_large")
    assert f"uploads/{told['upload_id']}" not in api.stored()


def test_a_file_that_comes_too_slowly_is_given_up(
    api: Api, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = middleware._Body
    monkeypatch.setattr(middleware, "_Body", lambda receive, declared, limit, _: body(receive, declared, limit, 0.2))
    told = asked(client)
    address = urlsplit(told["url"])
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=100) as connection:
        connection.sendall(f"PUT {address.path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nx".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"request_timeout" in answer
    assert f"uploads/{told['upload_id']}" not in api.stored()


def test_the_client_puts_a_file_and_keeps_its_key(api: Api, client: httpx.Client, tmp_path: Any) -> None:
    file = tmp_path / "mask.png"
    file.write_bytes(DATA)
    with Client(api.url, client.headers["authorization"].removeprefix("Bearer ")) as ours:
        upload = ours.create_upload(len(DATA))
        ours.put_upload(upload, file)
    assert (api.objects / "uploads" / upload.upload_id).read_bytes() == DATA


def test_an_upload_that_nobody_named_is_swept_a_day_later(api: Api, client: httpx.Client) -> None:
    unused, named = asked(client), asked(client)
    for told in (unused, named):
        put(told["url"])
    store = open_store(api.objects.as_uri())
    with db.transaction() as tx:
        tx.execute(update(Upload).where(Upload.id == unused["upload_id"]).values(expires_at=func.now()))
    assert sweep.sweep_objects(store) == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweep, "OBJECTS_AGE", -timedelta(hours=1))
        sweep.sweep_objects(store)
    left = {key for key in api.stored() if key.startswith("uploads/")}
    assert f"uploads/{named['upload_id']}" in left
    assert f"uploads/{unused['upload_id']}" not in left
    with db.transaction() as tx:
        assert tx.scalar(select(Upload.id).where(Upload.id == unused["upload_id"])) is None


def test_on_s3_the_address_is_the_stores_own_and_signs_the_size(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    with s3_server() as endpoint:
        make_bucket(endpoint, "photos")
        for name, value in s3_environment(endpoint).items():
            monkeypatch.setenv(name, value)
        bucket = open_store("s3://photos/team")
        bucket.check()
        monkeypatch.setattr(api_store, "_open", lambda *_: bucket)
        told, any_size = asked(client, bytes=len(DATA)), asked(client)
        assert told["url"].startswith(f"{endpoint}/photos/team/uploads/{told['upload_id']}?")
        assert "content-length" in parse_qs(urlsplit(told["url"]).query)["X-Amz-SignedHeaders"][0]
        assert (told["max_bytes"], any_size["max_bytes"]) == (len(DATA), 100_000)
        assert put(told["url"]).status_code == 200
        assert bucket.get(f"uploads/{told['upload_id']}") == DATA
