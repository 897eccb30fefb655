"""Objects that no row names are deleted in time, and nothing else is."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cleanplate import db
from cleanplate.storage import Store
from tests import rows
from worker import sweep
from worker.sweep import Sweeper

pytestmark = pytest.mark.usefixtures("database")

DAY = 24 * 3600


def put(store: Store, directory: Path, key: str, *, age_seconds: float = 2 * DAY) -> str:
    store.put(key, b"x", media_type="image/png")
    long_ago = time.time() - age_seconds
    os.utime(directory / "objects" / key, (long_ago, long_ago))
    return key


def test_only_objects_that_no_row_names_and_that_are_a_day_old_are_deleted(store: Store, tmp_path: Path) -> None:
    with db.transaction() as tx:
        known = rows.job(tx)
    kept = [
        put(store, tmp_path, f"inputs/{known}/image"),
        put(store, tmp_path, f"inputs/{known}/send-mask"),
        put(store, tmp_path, f"results/{known}.png"),
        put(store, tmp_path, "inputs/job_young/image", age_seconds=DAY - 60),
        put(store, tmp_path, "elsewhere/job_old/image"),
    ]
    put(store, tmp_path, "inputs/job_old/image")
    put(store, tmp_path, "inputs/job_old/mask")
    put(store, tmp_path, "results/job_old.webp")
    assert sweep.sweep_objects(store) == 3
    assert sorted(
        stat.key for prefix in ("inputs/", "results/", "elsewhere/") for stat in store.list(prefix)
    ) == sorted(kept)
    assert sweep.sweep_objects(store) == 0


def test_many_objects_are_swept_page_by_page(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "BATCH", 3)
    for number in range(10):
        put(store, tmp_path, f"inputs/job_{number}/image")
    assert sweep.sweep_objects(store) == 10
    assert list(store.list("inputs/")) == []


def test_a_store_that_is_away_when_it_should_be_swept_brings_nobody_down(
    sweeper: Sweeper, configure: Callable[..., None], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no directory")
    configure(STORAGE_URL=(tmp_path / "file").as_uri())
    sweeper._objects_at = 0.0
    sweeper._round()
    assert sweeper._objects_at > time.monotonic() + sweep.OBJECTS_EVERY_SECONDS / 2
