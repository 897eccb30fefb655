"""A batch of ten thousand results by every way out: how fast, and at what memory of the API."""

import time
import zipfile
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.bench import peaks, tenk_rows
from tests.journeys.harness import Stack, stack

RESULTS, BYTES = 10_000, 256 << 10
PAGE = 200
ASKED = 200


def run(folder: Path, results: int = RESULTS) -> list[dict[str, Any]]:
    """Read a large batch in every way, and return a row of figures for each."""
    with stack(folder / "data", slots=1, latency=60.0, fast=True) as running:
        batch_id = tenk_rows.succeeded(running, results, BYTES)
        headers = {"Authorization": f"Bearer {running.running.api_key}"}
        with httpx.Client(base_url=running.running.url, headers=headers, timeout=600) as http:
            return [
                {"way": name, **_measured(running, lambda way=way: way(http, f"/v1/batches/{batch_id}", folder))}
                for name, way in WAYS.items()
            ]


def pages(http: httpx.Client, batch: str, _: Path) -> Iterator[int]:
    """Yield how many jobs each page lists."""
    cursor: dict[str, str] = {}
    while True:
        told = http.get(f"{batch}/jobs", params={"limit": PAGE, **cursor}).raise_for_status().json()
        yield len(told["data"])
        if told["next_cursor"] is None:
            return
        cursor = {"cursor": told["next_cursor"]}


def counts(http: httpx.Client, batch: str, _: Path) -> Iterator[int]:
    """Ask for the live counts again and again."""
    for _again in range(ASKED):
        assert http.get(batch).raise_for_status().json()["counts"]["succeeded"]
        yield 1


def events(http: httpx.Client, batch: str, _: Path) -> Iterator[int]:
    with http.stream("GET", f"{batch}/events") as response:
        for line in response.raise_for_status().iter_lines():
            if line == "event: job":
                yield 1


def receipt(kind: str, headings: int = 0) -> "Way":
    def lines(http: httpx.Client, batch: str, _: Path) -> Iterator[int]:
        with http.stream("GET", f"{batch}/results.{kind}") as response:
            for _line in islice(response.raise_for_status().iter_lines(), headings, None):
                yield 1

    return lines


def pictures(http: httpx.Client, batch: str, folder: Path) -> Iterator[int]:
    with http.stream("GET", f"{batch}/results.zip") as response, (folder / "results.zip").open("wb") as file:
        for chunk in response.raise_for_status().iter_raw():
            file.write(chunk)
    with zipfile.ZipFile(folder / "results.zip") as archive:
        yield sum(name != "results.csv" for name in archive.namelist())


Way = Callable[[httpx.Client, str, Path], Iterator[int]]
WAYS: dict[str, Way] = {
    f"list, {PAGE} a page": pages,
    "counts": counts,
    "events": events,
    "results.csv": receipt("csv", headings=1),
    "results.ndjson": receipt("ndjson"),
    f"results.zip, {BYTES >> 10} KiB each": pictures,
}


def _measured(running: Stack, way: Callable[[], Iterator[int]]) -> dict[str, Any]:
    api = psutil.Process(running.pid("api"))
    with peaks.of(running) as peak:
        times, began = api.cpu_times(), time.monotonic()
        items = sum(way())
        seconds, now = time.monotonic() - began, api.cpu_times()
    spent = now.user + now.system - times.user - times.system
    return {
        "items": items,
        "seconds": seconds,
        "items a second": items / seconds,
        "CPU of the API an item, ms": spent / items * 1000,
        **peak,
    }
