"""How many pairs a second the intake takes: checked, stored and committed, from several clients at once."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from cleanplate.resources import BatchOptions
from tests import photographs
from tests.bench import figures
from tests.journeys.harness import stack

PAIRS, CHUNK, CLIENTS = 160, 8, 4


def run(folder: Path) -> dict[str, Any]:
    """Upload photographs of 1 MP to a stack whose upstream takes one at a time, and return what was measured."""
    images = photographs.write(folder / "photos", PAIRS)
    chunks = [images[start : start + CHUNK] for start in range(0, PAIRS, CHUNK)]
    with stack(folder / "data", slots=1, latency=60.0, fast=True) as running, running.client() as client:
        batch = client.create_batch(BatchOptions(seal=False, reuse=False))

        def upload(chunk: list[Path]) -> int:
            files = [(path.name, path) for image in chunk for path in (image, _mask(image))]
            return len(client.add_items(batch.id, files).accepted)

        with figures.metered({name: running.pid(name) for name in ("api", "postgres")}, PAIRS) as spent:
            began = time.monotonic()
            with ThreadPoolExecutor(CLIENTS) as clients:
                taken = sum(clients.map(upload, chunks))
            seconds = time.monotonic() - began
        return {"pairs of 1 MP": taken, "pairs a second": taken / seconds, **spent}


def _mask(image: Path) -> Path:
    return image.with_name(f"{image.stem}_mask.png")
