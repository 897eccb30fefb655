"""Whether anything stands still while ten thousand jobs are cancelled, deleted, retried or sealed in one call.

Beside the call the conveyor submits what waits, and another client of the same team sends single jobs and asks for its
batch: what counts is the longest gap between two claims and between two submits, and the longest of these calls.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, LiteralString

import httpx
import psycopg

from tests.bench import peaks, tenk_in, tenk_rows
from tests.bench.tenk_in import Call, Intake
from tests.journeys.harness import Stack, stack

ITEMS, OTHERS = 10_000, 3_000
SLOTS, LATENCY = 8, 1.0
LEAST_SECONDS = 10.0
GAP: LiteralString = """
    SELECT coalesce(max(gap), 0)::float8 FROM (
        SELECT extract(epoch FROM at - lag(at) OVER (ORDER BY at)) AS gap FROM job_events
        WHERE state = %(state)s AND at >= to_timestamp(%(began)s) AND at <= to_timestamp(%(ended)s)
    ) AS gaps
"""


def _on(rows: Callable[[Stack, int, bytes, bytes], str], method: str, path: str) -> Callable[[Intake], Call]:
    """Return a call about a batch of such jobs."""

    def prepare(to: Intake) -> Call:
        batch_id = rows(to.running, to.items, to.images[0], to.mask)
        return lambda: to.http.request(method, f"/v1/batches/{batch_id}{path}").raise_for_status().text

    return prepare


CALLS = {
    "nothing": lambda _: lambda: "",
    "cancel": _on(tenk_rows.waiting, "POST", "/cancel"),
    "seal": _on(tenk_rows.waiting, "POST", "/seal"),
    "retry": _on(tenk_rows.failed, "POST", "/retry"),
    "delete": _on(tenk_rows.failed, "DELETE", ""),
    "atomic ZIP": tenk_in.atomic_archive,
}


def run(folder: Path, items: int = ITEMS) -> list[dict[str, Any]]:
    """Return a row of figures for each call, and one for a time without any."""
    with stack(folder / "data", slots=SLOTS, latency=LATENCY, fast=True) as running:
        headers = {"Authorization": f"Bearer {running.running.api_key}"}
        with httpx.Client(base_url=running.running.url, headers=headers, timeout=600) as http:
            to = Intake(running, http, "", items)
            others = tenk_rows.waiting(running, OTHERS, to.images[0], to.mask)
            return [{"call": f"{name}, {items} jobs", **_measured(to, others, way(to))} for name, way in CALLS.items()]


def _measured(to: Intake, others: str, call: Call) -> dict[str, float]:
    with peaks.of(to.running) as peak, _asking(to, others) as longest:
        began = time.time()
        call()
        seconds = time.time() - began
        time.sleep(max(0.0, LEAST_SECONDS - seconds))
        ended = time.time()
    told = {f"longest {name}, s": value for name, value in longest.items()}
    return {"answered after, s": seconds, **_gaps(to.running, began, ended), **told, **peak}


def _gaps(running: Stack, began: float, ended: float) -> dict[str, float]:
    with psycopg.connect(running.running.environment["DATABASE_URL"]) as database:
        found = {}
        for name, state in (("claims", "claimed"), ("submits", "sending")):
            row = database.execute(GAP, {"state": state, "began": began, "ended": ended}).fetchone()
            found[f"longest gap between {name}, s"] = float(row[0]) if row else 0.0
        return found


@contextmanager
def _asking(to: Intake, batch_id: str) -> Iterator[dict[str, float]]:
    """Call the API again and again while the block lasts; fill in how long the longest answer of each call took."""
    longest: dict[str, float] = {}
    over = threading.Event()

    def timed(name: str, call: Callable[[], httpx.Response]) -> None:
        began = time.monotonic()
        call().raise_for_status()
        longest[name] = max(longest.get(name, 0.0), time.monotonic() - began)

    def ask() -> None:
        for image in to.images:
            if over.wait(0.1):
                return
            pair = {"image": ("a.jpg", image), "mask": ("a.png", to.mask)}
            timed("answer about a batch", lambda: to.http.get(f"/v1/batches/{batch_id}"))
            timed("intake of a job", lambda pair=pair: to.http.post("/v1/jobs", files=pair))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield longest
    finally:
        over.set()
        asking.join()
