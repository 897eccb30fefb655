"""``make bench``: real photographs through the whole stack on the simulator; one table to stdout, JSON beside it.

Every figure is a ratio or a delay within the one run, since machines differ: the simulator's ledger says when each task
was accepted and ended, the events in PostgreSQL say when each result was known and stored.
"""

import argparse
import heapq
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import psycopg

from tests import photographs
from tests.journeys.harness import Stack, finish, stack, stored

READY_TO_STORED = """
    SELECT percentile_cont(ARRAY[0.5, 0.99]) WITHIN GROUP (ORDER BY extract(epoch FROM done.at - ready.at))
    FROM job_events ready JOIN job_events done USING (job_id)
    WHERE ready.state = 'ready' AND done.state = 'succeeded'
"""


def main() -> None:
    arguments = argparse.ArgumentParser(prog="make bench")
    arguments.add_argument("--photos", type=int, default=240)
    arguments.add_argument("--slots", type=int, default=24)
    arguments.add_argument("--latency", type=float, default=4.0)
    arguments.add_argument("--pixels", type=int, default=photographs.MEGAPIXEL)
    arguments.add_argument("--inpaint", action="store_true", help="let the simulator really erase, on the same cores")
    arguments.add_argument("--json", type=Path, default=None, help="write the figures here, too")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="cleanplate-bench-") as folder:
        figures = run(Path(folder), given.photos, given.slots, given.latency, given.pixels, fast=not given.inpaint)
    for name, value in figures.items():
        print(f"{name:32} {value:.3f}" if isinstance(value, float) else f"{name:32} {value}")
    if given.json:
        given.json.write_text(json.dumps(figures, indent=2))


def run(folder: Path, count: int, slots: int, latency: float, pixels: int, *, fast: bool) -> dict[str, Any]:
    """Erase ``count`` photographs and return what was measured."""
    photographs.write(folder / "photos", count, pixels=pixels)
    with stack(folder / "data", slots=slots, latency=latency, fast=fast) as running:
        began = time.monotonic()
        finish(running.erase(folder / "photos", folder / "out"), seconds=3600)
        seconds = time.monotonic() - began
        ledger, stats = _ledger(running), running.stats()
        with psycopg.connect(running.running.environment["DATABASE_URL"]) as connection:
            row = connection.execute(READY_TO_STORED).fetchone()
    assert row is not None
    median, late = row[0]
    makespan = max(task["ends_at"] for task in ledger) - min(task["accepted_at"] for task in ledger)
    return {
        "photos": count,
        "slots x latency": f"{slots} x {latency:g} s",
        "stored": len(stored(folder / "out")),
        "paid submits": stats["paid"],
        "answers of 429": stats["rate_limited"],
        "whole run, seconds": seconds,
        "share of slot time busy": busy(ledger, slots, ramp=True),
        "the same without upload ramp": busy(ledger, slots, ramp=False),
        "ideal makespan / makespan": ideal([task["latency"] for task in ledger], slots) / makespan,
        "ready -> stored p50, seconds": median,
        "ready -> stored p99, seconds": late,
        "polls a job": stats["polls"] / count,
    }


def _ledger(running: Stack) -> list[dict[str, Any]]:
    url = f"{running.running.simulator_url}/admin/ledger"
    answer = httpx.get(url, params={"limit": 100_000}).raise_for_status().json()
    return list(answer["data"] if isinstance(answer, dict) else answer)


def busy(ledger: list[dict[str, Any]], slots: int, *, ramp: bool) -> float:
    """Return the share of slot time in use up to the last submit.

    Counted from the first submit with ``ramp``, else from when as many tasks as there are slots had been submitted:
    before that the photographs were still being uploaded and no work waited.
    """
    accepted = sorted(task["accepted_at"] for task in ledger)
    first, last = accepted[0 if ramp else slots - 1], accepted[-1]
    used = sum(max(0.0, min(task["ends_at"], last) - max(task["accepted_at"], first)) for task in ledger)
    return float(used / (slots * (last - first)))


def ideal(latencies: list[float], slots: int) -> float:
    """Return the makespan of these latencies, in this order, on these slots with no overhead at all."""
    free = [0.0] * slots
    for seconds in latencies:
        heapq.heappush(free, heapq.heappop(free) + seconds)
    return max(free)


if __name__ == "__main__":
    main()
