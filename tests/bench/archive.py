"""A ZIP of ten thousand pairs: how fast it is taken in, how soon its first item is there, and at what memory."""

import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from cleanplate.client import Client
from cleanplate.resources import BatchOptions
from tests import memory, pictures
from tests.journeys.harness import stack
from tests.servers import wait_until

PAIRS, DIFFERENT = 10_000, 50


def run(folder: Path, pairs: int = PAIRS) -> dict[str, Any]:
    """Send tiny pictures to a stack whose upstream takes one at a time, and return what was measured."""
    archive = folder / "photos.zip"
    write(archive, pairs)
    with stack(folder / "data", slots=1, latency=60.0, fast=True) as running, running.client() as client:
        batch_id = client.create_batch(BatchOptions(seal=False, reuse=False)).id
        with memory.watched(running.pid("api")) as api, ThreadPoolExecutor(1) as other:
            began = time.monotonic()
            first = other.submit(_first, client, batch_id)
            taken = client.add_archive(batch_id, archive).accepted_count
            seconds = time.monotonic() - began
        return {
            "pairs in the archive": pairs,
            "pairs taken": taken,
            "size of the archive, MB": archive.stat().st_size / 1e6,
            "pairs a second": taken / seconds,
            "first item there, s": first.result() - began,
            "all items there, s": seconds,
            "memory of api before, MB": api.before / 1e6,
            "memory of api at most, MB": api.most / 1e6,
        }


def write(archive: Path, pairs: int) -> None:
    """Write an archive of so many pairs of tiny pictures."""
    images = [pictures.encoded(pictures.scene(seed=seed), "JPEG") for seed in range(DIFFERENT)]
    mask = pictures.encoded(pictures.mask_image())
    with zipfile.ZipFile(archive, "w") as file:
        for number in range(pairs):
            file.writestr(f"shelf {number // 100}/{number:05}.jpg", images[number % DIFFERENT])
            file.writestr(f"shelf {number // 100}/{number:05}_mask.png", mask)


def _first(client: Client, batch_id: str) -> float:
    wait_until(lambda: client.batch(batch_id).counts.total)
    return time.monotonic()
