"""One suite for both stores: a directory, and S3 over the wire."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from cleanplate.storage import CHUNK_BYTES, ObjectMissing, Store, StoreUnavailable, open_store
from cleanplate.storage.directory import DirectoryStore
from tests.stores import PNG, keys, writer


@pytest.fixture(params=["directory", "s3"])
def url(request: pytest.FixtureRequest) -> str:
    if request.param == "s3":
        return request.getfixturevalue("s3_url")
    return request.getfixturevalue("directory").as_uri()


@pytest.fixture
def store(url: str) -> Store:
    return open_store(url)


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
