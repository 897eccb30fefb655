"""What only a directory can do wrong as a store."""

import os
import signal
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cleanplate.storage import StoreFull, StoreUnavailable, open_store
from tests.stores import PNG, keys, writer


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
