"""One suite for both stores: a directory, and S3 over the wire."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest

from cleanplate.storage import CHUNK_BYTES, ObjectMissing, Store, StoreError, StoreFull, StoreUnavailable, open_store
from cleanplate.storage.directory import DirectoryStore
from cleanplate.storage.s3 import DELETE_BATCH, S3Store
from tests.s3 import make_bucket, s3_environment, s3_server

BUCKET = "pictures"
PNG = "image/png"
prefixes = count()


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3_server() as url:
        make_bucket(url, BUCKET)
        yield url


@pytest.fixture
def s3_url(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in s3_environment(endpoint).items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/test-{next(prefixes)}"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    open_store((tmp_path / "objects").as_uri()).prepare()
    return tmp_path / "objects"


@pytest.fixture(params=["directory", "s3"])
def url(request: pytest.FixtureRequest) -> str:
    if request.param == "s3":
        return request.getfixturevalue("s3_url")
    return request.getfixturevalue("directory").as_uri()


@pytest.fixture
def store(url: str) -> Store:
    return open_store(url)


def keys(store: Store, prefix: str = "", **filters: datetime) -> set[str]:
    return {stat.key for stat in store.list(prefix, **filters)}


# What both do


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, 3 * CHUNK_BYTES + 1])
def test_what_was_put_comes_back_whole_and_in_chunks(store: Store, size: int) -> None:
    data = os.urandom(size)
    store.put("jobs/1/image", data, media_type=PNG)
    assert store.get("jobs/1/image") == data
    chunks = list(store.stream("jobs/1/image"))
    assert b"".join(chunks) == data
    assert max(map(len, chunks), default=0) <= CHUNK_BYTES


def test_a_put_replaces(store: Store) -> None:
    store.put("a", b"first", media_type=PNG)
    store.put("a", b"2nd", media_type=PNG)
    assert store.get("a") == b"2nd"
    assert keys(store) == {"a"}


def test_a_missing_object_is_told_before_the_first_chunk(store: Store) -> None:
    store.put("dir/there", b"x", media_type=PNG)
    for key in ("dir/gone", "gone/gone", "dir", "dir/there/below"):
        with pytest.raises(ObjectMissing) as missing:
            store.stream(key)
        assert not missing.value.retryable
        with pytest.raises(ObjectMissing):
            store.get(key)
        assert store.stat(key) is None


def test_a_stream_that_nobody_finishes_leaves_nothing_open(store: Store) -> None:
    store.put("a", bytes(2 * CHUNK_BYTES), media_type=PNG)
    for _ in range(60):  # more than the client has connections
        store.stream("a")


def test_stat_tells_size_and_time(store: Store) -> None:
    before = datetime.now(UTC) - timedelta(seconds=2)
    store.put("a", b"12345", media_type=PNG)
    stat = store.stat("a")
    assert stat is not None
    assert (stat.key, stat.size) == ("a", 5)
    assert before < stat.modified < datetime.now(UTC) + timedelta(seconds=2)
    assert [(stat.key, stat.size)] == [(listed.key, listed.size) for listed in store.list("")]


def test_deleting_twice_is_deleting_once(store: Store) -> None:
    for key in ("a/1", "a/2", "b"):
        store.put(key, b"x", media_type=PNG)
    store.delete(["a/1", "never/was", "b"])
    store.delete(key for key in ("a/1", "b"))
    store.delete([])
    assert keys(store) == {"a/2"}


def test_a_prefix_is_a_string_not_a_directory(store: Store) -> None:
    put = {"a/1", "a/2", "a/b/3", "ab/4", "c"}
    for key in put:
        store.put(key, b"x", media_type=PNG)
    assert keys(store) == put
    assert keys(store, "a") == put - {"c"}
    assert keys(store, "a/") == {"a/1", "a/2", "a/b/3"}
    assert keys(store, "a/b") == {"a/b/3"}
    assert keys(store, "nothing/like/it/") == set()


def test_a_listing_is_complete_beyond_its_first_page(store: Store) -> None:
    put = {f"{n % 7}/{n}" for n in range(130)}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: store.put(key, key.encode(), media_type=PNG), put))
    assert keys(store) == put


def test_a_listing_by_age_leaves_out_what_is_younger(store: Store) -> None:
    store.put("a", b"x", media_type=PNG)
    now = datetime.now(UTC)
    assert keys(store, older_than=now - timedelta(minutes=1)) == set()
    assert keys(store, older_than=now + timedelta(minutes=1)) == {"a"}


def test_a_key_that_is_none_is_refused_by_every_call(store: Store) -> None:
    calls: list[Callable[[str], object]] = [
        lambda key: store.put(key, b"", media_type=PNG),
        store.get,
        store.stream,
        store.stat,
        lambda key: store.delete([key]),
        lambda key: store.presign(key, filename="x", ttl_seconds=1),
        lambda key: list(store.list(f"{key}/..")),
    ]
    for key in ("", "../a", "/etc/passwd", "a/../../b", "a//b", ".put-a", "a/"):
        for call in calls:
            with pytest.raises(ValueError, match="not a key"):
                call(key)


def test_threads_share_a_store(store: Store) -> None:
    def there_and_back(n: int) -> bool:
        data = str(n).encode() * 1000
        store.put(f"t/{n % 10}/{n}", data, media_type=PNG)
        return store.get(f"t/{n % 10}/{n}") == data

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(there_and_back, range(100)))


def test_a_store_is_opened_anew_in_another_process(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put("a", b"x", media_type=PNG)
    before = dict(vars(store))
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert store.get("a") == b"x"
    assert "_opened" not in before or vars(store)["_opened"] != before["_opened"]


WRITER = """
import sys
import tempfile
import time
from cleanplate.storage import open_store
store, letter = open_store(sys.argv[1]), sys.argv[2].encode()
print("ready", flush=True)
for n in range(int(sys.argv[3])):
    store.put("shared/one", letter * 400_000, media_type="image/png")
"""


@contextmanager
def writer(url: str, letter: str, times: int) -> Iterator[subprocess.Popen[str]]:
    """Put the same object over and over from a process of its own."""
    command = [sys.executable, "-c", WRITER, url, letter, str(times)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def test_a_reader_never_sees_half_of_what_processes_write_over_each_other(store: Store, url: str) -> None:
    store.put("shared/one", b"a" * 400_000, media_type=PNG)
    with writer(url, "b", 30) as one, writer(url, "c", 30) as other:
        while one.poll() is None or other.poll() is None:
            data = store.get("shared/one")
            assert data == data[:1] * 400_000
        assert (one.returncode, other.returncode) == (0, 0)
    assert keys(store) == {"shared/one"}


def every_call(store: Store) -> list[Callable[[], object]]:
    return [
        store.check,
        lambda: store.put("a", b"x", media_type=PNG),
        lambda: store.get("a"),
        lambda: store.stream("a"),
        lambda: store.stat("a"),
        lambda: store.delete(["a"]),
        lambda: list(store.list("")),
    ]


def test_a_store_that_is_gone_is_unavailable_not_empty(
    store: Store, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("a", b"x", media_type=PNG)
    store.check()
    if isinstance(store, DirectoryStore):
        directory.rename(directory.with_name("elsewhere"))
    else:
        monkeypatch.setattr(store, "_bucket", "no-such-bucket")
    for call in every_call(store):
        with pytest.raises(StoreUnavailable) as unavailable:
            call()
        assert unavailable.value.retryable
    assert not isinstance(store, DirectoryStore) or not directory.exists()


def test_only_s3_has_links(store: Store) -> None:
    link = store.presign("a/b", filename="Stuhl für 20 €.png", ttl_seconds=77)
    if isinstance(store, DirectoryStore):
        assert link is None
        return
    assert link is not None
    store.put("a/b", b"picture", media_type=PNG)
    answer = httpx.get(link, trust_env=False)
    assert answer.content == b"picture"
    assert answer.headers["content-type"] == PNG
    assert answer.headers["content-disposition"].startswith("attachment; ")
    assert "filename*=UTF-8''Stuhl%20f%C3%BCr%2020%20%E2%82%AC.png" in answer.headers["content-disposition"]
    assert httpx.URL(link).params["X-Amz-Expires"] == "77"


# What only a directory can do wrong


def left_in(directory: Path) -> list[str]:
    """Return what lies in the directory beside its mark."""
    return [path.name for path in directory.iterdir() if path.name != ".cleanplate-store"]


def test_the_place_where_a_disk_should_be_mounted_is_not_taken_for_an_empty_store(directory: Path) -> None:
    store = open_store(directory.as_uri())
    store.put("inputs/1", b"x", media_type=PNG)
    directory.rename(directory.with_name("unmounted"))
    directory.mkdir()
    for call in (lambda: store.get("inputs/1"), lambda: store.stat("inputs/1"), store.check):
        with pytest.raises(StoreUnavailable):
            call()
    with pytest.raises(StoreUnavailable):
        store.put("inputs/2", b"x", media_type=PNG)
    assert list(directory.iterdir()) == []


def test_a_full_disk_is_told_and_leaves_nothing(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(directory.as_uri())

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(StoreFull):
            store.put("a", b"x", media_type=PNG)
    assert left_in(directory) == []


def test_a_writer_killed_in_the_middle_leaves_nothing_that_counts(directory: Path) -> None:
    store = open_store(directory.as_uri())
    for n in range(5):
        with writer(directory.as_uri(), "x", 1_000_000) as process:
            while not keys(store):
                assert process.poll() is None
            process.send_signal(signal.SIGKILL)
        assert keys(store) == {"shared/one"}
        assert store.get("shared/one") == b"x" * 400_000
        (directory / "shared" / f".put-{n}").write_bytes(b"half")
    store.delete(keys(store, older_than=datetime.now(UTC) - timedelta(minutes=1)))
    assert (directory / "shared" / ".put-0").exists()
    store.delete(keys(store, older_than=datetime.now(UTC) + timedelta(minutes=1)))
    assert left_in(directory) == []


def test_an_emptied_directory_goes_with_its_last_object(directory: Path) -> None:
    store = open_store(directory.as_uri())
    store.put("a/b/1", b"x", media_type=PNG)
    store.put("a/2", b"x", media_type=PNG)
    store.delete(["a/b/1"])
    assert [path.name for path in (directory / "a").iterdir()] == ["2"]
    store.delete(["a/2"])
    assert directory.is_dir()
    assert left_in(directory) == []


def test_a_put_survives_a_delete_that_takes_its_directory_away(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(directory.as_uri())
    store.put("deep/er/1", b"x", media_type=PNG)
    make_temporary, deletes = tempfile.mkstemp, iter(["deep/er/1"])

    def after_a_delete(**arguments: Any) -> tuple[int, str]:
        store.delete(deletes)
        return make_temporary(**arguments)

    monkeypatch.setattr(tempfile, "mkstemp", after_a_delete)
    store.put("deep/er/2", b"x", media_type=PNG)
    assert keys(store) == {"deep/er/2"}


def test_files_that_others_leave_in_the_directory_are_not_listed(directory: Path) -> None:
    store = open_store(directory.as_uri())
    (directory / ".DS_Store").touch()
    (directory / "not a key.txt").touch()
    assert keys(store) == set()


def test_a_directory_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnavailable):
        open_store((tmp_path / "file" / "objects").as_uri()).prepare()


# What only S3 can do wrong


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
