"""The whole stack as real processes, and the simulator's ledger as the oracle."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

import httpx
import psycopg

from cleanplate.client import Client
from cleanplate.local import ports
from cleanplate.local.stack import Running, Simulation, running
from cleanplate.resources import Job
from cleanplate.settings import Settings
from tests import photographs
from tests.servers import wait_until

SMALL = 120_000
"""Pixels of a test photograph: the journeys are about what happens to jobs, not about large pictures."""


@dataclass(frozen=True)
class Stack:
    """A running stack, and what a test asks of it."""

    running: Running

    def client(self) -> Client:
        return Client(self.running.url, self.running.api_key)

    def pid(self, service: str) -> int:
        pid = self.running.supervisor.pid(service)
        assert pid is not None, f"{service} does not run"
        return pid

    def erase(self, photos: Path, out: Path, *options: str) -> subprocess.Popen[str]:
        """Start ``cleanplate erase`` as its own process."""
        env = {**os.environ, "CLEANPLATE_URL": self.running.url, "CLEANPLATE_API_KEY": self.running.api_key}
        return subprocess.Popen(
            [sys.executable, "-m", "cleanplate", "erase", str(photos), "--out", str(out), "--json", *options],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def stats(self) -> dict[str, Any]:
        """Return what the simulator counted."""
        return dict(httpx.get(f"{self.running.simulator_url}/admin/stats").raise_for_status().json())

    def faults(self, *rules: dict[str, Any]) -> None:
        """Let the simulator break what these rules say, in the place of those before."""
        address = f"{self.running.simulator_url}/admin/faults"
        httpx.delete(address).raise_for_status()
        httpx.post(address, json=rules).raise_for_status()

    def rows(self, query: LiteralString) -> list[tuple[Any, ...]]:
        """Return what the database says."""
        with psycopg.connect(self.running.environment["DATABASE_URL"]) as connection:
            return connection.execute(query).fetchall()

    def paid(self) -> int:
        """Return how many submits the upstream has charged for."""
        return int(self.stats()["paid"])

    def in_flight(self) -> int:
        return sum(account["in_flight"] for account in self.stats()["accounts"].values())


@contextmanager
def stack(
    data_dir: Path,
    *,
    slots: int = 8,
    latency: float = 1.5,
    fast: bool = False,
    called_back: bool = False,
    **settings: Any,
) -> Iterator[Stack]:
    """Run everything on free ports; ``settings`` are environment names, ``fast`` gives pictures back unerased.

    ``called_back`` lets the simulator call the API when tasks end.
    """
    port = ports.choose()
    given = {"BFL_MAX_IN_FLIGHT": slots, "CLEANPLATE_UNCONFIRMED_HOLD_SECONDS": 3, **settings}
    given |= {"PUBLIC_URL": f"http://{ports.HOST}:{port}"} if called_back else {}
    simulation = Simulation(latency, erase="fast" if fast else "inpaint")
    with running(Settings(CLEANPLATE_DATA_DIR=data_dir, **given), port=port, simulation=simulation) as started:
        yield Stack(started)


def pairs(folder: Path, count: int) -> Path:
    """Write ``count`` small real photographs with masks into ``folder``."""
    photographs.write(folder, count, pixels=SMALL)
    return folder


def finish(process: subprocess.Popen[str], seconds: float = 90.0) -> list[dict[str, Any]]:
    """Wait for an ``erase`` that must go well; return its lines of JSON."""
    out, err = process.communicate(timeout=seconds)
    assert process.returncode == 0, f"erase ended with {process.returncode}\n{out}\n{err}"
    return [json.loads(line) for line in out.splitlines()]


def all_jobs(client: Client, batch_id: str) -> list[Job]:
    """Return every job of a batch."""
    jobs: list[Job] = []
    cursor = None
    while True:
        page = client.batch_jobs(batch_id, cursor=cursor)
        jobs += page.data
        cursor = page.next_cursor
        if cursor is None:
            return jobs


def stored(out: Path) -> set[str]:
    """Return the names (without extension) of the results in ``out``."""
    return {path.stem for path in out.iterdir() if path.suffix in {".png", ".jpg", ".webp"}}


__all__ = ["Stack", "all_jobs", "finish", "pairs", "stack", "stored", "wait_until"]
