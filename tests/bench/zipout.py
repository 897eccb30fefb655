"""What the API's process takes to give out a batch as a ZIP file and as a receipt: memory, above all."""

import time
import zipfile
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg

from cleanplate.storage import open_store
from cleanplate.storage.directory import DirectoryStore
from tests.journeys.harness import stack

RESULTS, BYTES = 10_000, 256 << 10
FILL = """
    WITH batch AS (
        INSERT INTO batches (id, tenant_id, total, succeeded, sealed_at, finished_at)
        SELECT 'bat_zip', min(id), %(count)s, %(count)s, now(), now() FROM tenants RETURNING id, tenant_id
    )
    INSERT INTO jobs (id, tenant_id, batch_id, custom_id, image_key, image, mask_key, mask, send_image_key,
        send_mask_key, state, result_key, result, finished_at)
    SELECT id, tenant_id, batch_id, 'photo ' || n, 'k', '{"width": 16, "height": 16}', 'k', '{}', 'k', 'k',
        'succeeded', 'results/' || id || '.png', %(result)s::jsonb, now()
    FROM (
        SELECT n, 'job_' || lpad(n::text, 12, '0') AS id, batch.id AS batch_id, tenant_id
        FROM batch, generate_series(1, %(count)s) n
    ) AS made
"""


def run(folder: Path) -> dict[str, Any]:
    """Download the results of a large batch, and return how far the API's memory rose meanwhile."""
    with stack(folder / "data", slots=1, latency=60.0, fast=True) as running, running.client() as client:
        environment = running.running.environment
        _fill(environment["DATABASE_URL"], environment["STORAGE_URL"])
        api = psutil.Process(running.pid("api"))
        headers = {"Authorization": f"Bearer {running.running.api_key}"}
        with httpx.Client(base_url=client.url, headers=headers, timeout=600) as http:
            http.get("/v1/batches/bat_zip").raise_for_status()
            before = _megabytes(api)
            as_zip = _download(http, "results.zip", folder / "results.zip", api)
            receipt = _download(http, "results.ndjson", folder / "results.ndjson", api)
        with zipfile.ZipFile(folder / "results.zip") as archive:
            entries = len(archive.namelist())
        return {
            "results": f"{RESULTS} of {BYTES >> 10} KiB",
            "entries of the ZIP file": entries,
            "memory of the API before, MB": before,
            "its peak during the ZIP file, MB": as_zip["peak"],
            "its peak during the receipt, MB": receipt["peak"],
            "ZIP file, MB a second": as_zip["megabytes"] / as_zip["seconds"],
            "CPU of the API a result in the ZIP file, ms": as_zip["cpu"] / RESULTS * 1000,
            "receipt, s": receipt["seconds"],
        }


def _fill(database_url: str, storage_url: str) -> None:
    """Write the rows, and one object under the names of all."""
    store = open_store(storage_url)
    assert isinstance(store, DirectoryStore)
    store.put("results/first.png", bytes(BYTES), media_type="image/png")
    first = store._path("results/first.png")
    for number in range(1, RESULTS + 1):
        first.with_name(f"job_{number:012}.png").hardlink_to(first)
    result = (
        f'{{"width": 16, "height": 16, "format": "png", "bytes": {BYTES}, "sha256": "0", "outside_mask_max_delta": 0}}'
    )
    with psycopg.connect(database_url) as connection:
        connection.execute(FILL, {"count": RESULTS, "result": result})


def _download(http: httpx.Client, name: str, target: Path, api: psutil.Process) -> dict[str, float]:
    times, began = api.cpu_times(), time.monotonic()
    peak = _megabytes(api)
    with http.stream("GET", f"/v1/batches/bat_zip/{name}") as response, target.open("wb") as file:
        response.raise_for_status()
        for number, chunk in enumerate(response.iter_raw()):
            file.write(chunk)
            if number % 100 == 0:
                peak = max(peak, _megabytes(api))
    peak, now = max(peak, _megabytes(api)), api.cpu_times()
    return {
        "peak": peak,
        "seconds": time.monotonic() - began,
        "megabytes": target.stat().st_size / 1e6,
        "cpu": now.user + now.system - times.user - times.system,
    }


def _megabytes(process: psutil.Process) -> float:
    return float(process.memory_info().rss / 1e6)
