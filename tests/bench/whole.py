"""Real photographs through the whole stack: CLI, intake, conveyor, finalizers, store and back, all on this machine."""

import time
from pathlib import Path
from typing import Any

import psycopg

from tests import photographs
from tests.bench import figures
from tests.journeys.harness import finish, stack, stored

SLOTS, LATENCY = 24, 4.0
SERVICES = ("api", "conveyor", "finalizer", "notifier", "postgres", "redis", "simulator")

READY_TO_STORED = """
    SELECT extract(epoch FROM done.at - ready.at)::float8
    FROM job_events ready JOIN job_events done USING (job_id)
    WHERE ready.state = 'ready' AND done.state = 'succeeded'
"""


def run(folder: Path, count: int, pixels: int, *, fast: bool) -> dict[str, Any]:
    """Erase ``count`` photographs and return what was measured."""
    photographs.write(folder / "photos", count, pixels=pixels)
    with stack(folder / "data", slots=SLOTS, latency=LATENCY, fast=fast) as running:
        url = str(running.running.simulator_url)
        with figures.metered({name: running.pid(name) for name in SERVICES}, count) as spent:
            began = time.monotonic()
            finish(running.erase(folder / "photos", folder / "out"), seconds=3600)
            seconds = time.monotonic() - began
        with psycopg.connect(running.running.environment["DATABASE_URL"]) as connection:
            delays = [row[0] for row in connection.execute(READY_TO_STORED)]
        return {
            "photographs": f"{count} of {pixels / 1e6:g} MP, {SLOTS} slots x {LATENCY:g} s",
            "whole run, s": seconds,
            **figures.throughput(figures.ledger(url), SLOTS, figures.stats(url)),
            "files stored": len(stored(folder / "out")),
            **figures.quantiles("ready -> stored", delays),
            **spent,
        }
