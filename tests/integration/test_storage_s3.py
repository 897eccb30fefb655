"""What only S3 can do wrong as a store."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from cleanplate.storage import StoreError, StoreFull, StoreUnavailable, open_store
from cleanplate.storage.s3 import DELETE_BATCH, S3Store
from tests.s3 import s3_environment, s3_server
from tests.stores import BUCKET, PNG, keys


@contextmanager
def answering(status: int, body: str, *, length: int | None = None) -> Iterator[tuple[str, list[bytes]]]:
    """Answer every request alike; yield the URL and the bodies as they come in."""
    bodies = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # boto3 waits a second for the "100 Continue" that 1.0 does not know

        def answer(self) -> None:
            self.close_connection = True
            bodies.append(self.rfile.read(int(self.headers.get("Content-Length", 0))))
            self.send_response(status)
            self.send_header("Content-Length", str(length or len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body.encode())

        do_GET = do_HEAD = do_PUT = do_POST = answer  # noqa: N815 - the names are http.server's

        def log_message(self, *_arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", bodies
        finally:
            server.shutdown()
            thread.join()


def error(code: str) -> str:
    return f"<Error><Code>{code}</Code><Message>secret words</Message></Error>"


@pytest.mark.parametrize(
    ("status", "code", "raised", "requests"),
    [
        (403, "AccessDenied", StoreUnavailable, 1),
        (503, "SlowDown", StoreUnavailable, 3),
        (403, "QuotaExceeded", StoreFull, 1),
        (507, "XMinioStorageFull", StoreFull, 1),
    ],
)
def test_an_answer_of_s3_becomes_our_error(
    status: int, code: str, raised: type[StoreError], requests: int, s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(status, error(code)) as (url, bodies):
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        monkeypatch.setattr(time, "sleep", lambda _seconds: None)
        with pytest.raises(raised) as refused:
            open_store(s3_url).put("a", b"x", media_type=PNG)
    assert len(bodies) == requests
    assert code in str(refused.value)
    assert "secret words" not in str(refused.value)


def test_a_refused_stat_is_not_a_missing_object(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(403, error("AccessDenied")) as (url, _):
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        with pytest.raises(StoreUnavailable):
            open_store(s3_url).stat("a")


def test_a_body_that_breaks_off_is_never_taken_for_the_object(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(200, "half", length=8) as (url, _):
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        with pytest.raises(StoreUnavailable):
            open_store(s3_url).get("a")


def test_an_s3_that_nobody_answers_for_is_unavailable(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(200, "") as (url, _):
        pass
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    with pytest.raises(StoreUnavailable) as unavailable:
        open_store(s3_url).check()
    assert url not in str(unavailable.value)


def test_deletes_go_a_thousand_at_a_time(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(200, "<DeleteResult/>") as (url, bodies):
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        open_store(s3_url).delete(str(n) for n in range(2 * DELETE_BATCH + 1))
    assert [body.count(b"<Key>") for body in bodies] == [DELETE_BATCH, DELETE_BATCH, 1]


def test_an_object_that_s3_keeps_is_told(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = "<DeleteResult><Error><Key>a</Key><Code>AccessDenied</Code></Error></DeleteResult>"
    with answering(200, kept) as (url, _):
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        with pytest.raises(StoreUnavailable, match="kept 1 of 2 objects: AccessDenied"):
            open_store(s3_url).delete(["a", "b"])


def test_prefixes_of_a_bucket_are_stores_apart(s3_url: str) -> None:
    one, other = open_store(f"{s3_url}/one"), open_store(f"{s3_url}/other")
    one.put("a", b"1", media_type=PNG)
    other.put("b", b"2", media_type=PNG)
    assert keys(one) == {"a"}
    assert keys(open_store(s3_url)) == {"one/a", "other/b"}


def test_objects_that_others_keep_under_the_prefix_are_not_listed(s3_url: str) -> None:
    store = S3Store(BUCKET, s3_url.rpartition("/")[2])
    store._client.put_object(Bucket=BUCKET, Key=f"{store._prefix}folder/")
    store.put("folder/a", b"x", media_type=PNG)
    assert keys(store) == {"folder/a"}


def test_an_object_opened_at_its_plain_address_is_saved_not_shown(s3_url: str) -> None:
    store = S3Store(BUCKET, s3_url.rpartition("/")[2])
    store.put("a", b"picture", media_type=PNG)
    head = store._client.head_object(Bucket=BUCKET, Key=store._name("a"))
    assert (head["ContentType"], head["ContentDisposition"]) == (PNG, "attachment")


def test_racing_threads_open_one_client(s3_url: str) -> None:
    store = S3Store(BUCKET, s3_url.rpartition("/")[2])
    with ThreadPoolExecutor(8) as pool:
        clients = set(pool.map(lambda _: id(store._client), range(8)))
    assert len(clients) == 1


def test_a_bucket_is_made_by_the_migration_and_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_server() as endpoint:
        for name, value in s3_environment(endpoint).items():
            monkeypatch.setenv(name, value)
        fresh = open_store("s3://not-there-yet/prefix")
        with pytest.raises(StoreUnavailable):
            fresh.check()
        fresh.prepare()
        fresh.put("kept", b"x", media_type="image/png")
        fresh.prepare()
        assert fresh.get("kept") == b"x"


def test_presigned_urls_name_the_address_that_clients_know(monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_server() as endpoint:
        for name, value in s3_environment(endpoint).items():
            monkeypatch.setenv(name, value)
        known = open_store("s3://some-bucket", "https://photos.example.com")
        url = known.presign("results/x.png", filename="x.png", ttl_seconds=60)
        assert url is not None
        assert url.startswith("https://photos.example.com/some-bucket/results/x.png?")
        assert endpoint not in url
