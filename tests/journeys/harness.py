"""The whole stack as real processes, and the simulator's ledger as the oracle."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString
from unittest import mock

import httpx
import psycopg

from cleanplate.client import Client
from cleanplate.local import commands, ports
from cleanplate.local.service import Service
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

    @property
    def traps(self) -> Path:
        """Where the traps of a trapped stack lie."""
        return self.running.data_dir / "traps"

    def start_conveyor(self, name: str, *, clock_seconds: float = 0.0) -> None:
        """Start one more conveyor, which traps catch too, with a wrong clock."""
        output = self.running.supervisor.output
        with _trapped(self.traps, clock_seconds):
            argv = commands.python(commands.conveyor())
        self.running.supervisor.start(
            Service(
                name,
                argv,
                self.running.environment,
                ready=lambda: commands.WORKER_READY in output(name),
                stop_timeout_seconds=30.0,
                cwd=commands.PACKAGES,
            )
        )

    def simulator(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Call one of the simulator's admin endpoints."""
        url = f"{self.running.simulator_url}/admin/{path}"
        return dict(httpx.request(method, url, json=body, timeout=300).raise_for_status().json())

    def erase(self, photos: Path, out: Path, *options: str, reuse: bool = False) -> subprocess.Popen[str]:
        """Start ``cleanplate erase`` as its own process; without ``reuse`` it pays for what others had erased, too."""
        options = options if reuse else (*options, "--no-reuse")
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
        return self.simulator("GET", "stats")

    def faults(self, *rules: dict[str, Any]) -> None:
        """Let the simulator break what these rules say, in the place of those before."""
        self.simulator("DELETE", "faults")
        self.simulator("POST", "faults", rules)

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
    trapped: bool = False,
    clock_seconds: float = 0.0,
    **settings: Any,
) -> Iterator[Stack]:
    """Run everything on free ports; ``settings`` are environment names, ``fast`` gives pictures back unerased.

    ``called_back`` lets the simulator call the API when tasks end. The workers of a ``trapped`` stack fall into the
    traps of ``sabotage``, and their clocks are wrong by ``clock_seconds``.
    """
    port = ports.choose()
    given = {"BFL_MAX_IN_FLIGHT": slots, "CLEANPLATE_UNCONFIRMED_HOLD_SECONDS": 3, **settings}
    given |= {"PUBLIC_URL": f"http://{ports.HOST}:{port}"} if called_back else {}
    simulation = Simulation(latency, erase="fast" if fast else "inpaint")
    traps = data_dir / "traps"
    with (
        _trapped(traps, clock_seconds) if trapped else nullcontext(),
        running(Settings(CLEANPLATE_DATA_DIR=data_dir, **given), port=port, simulation=simulation) as started,
    ):
        if trapped:
            traps.mkdir()
        yield Stack(started)


@contextmanager
def _trapped(traps: Path, clock_seconds: float) -> Iterator[None]:
    """Make the command lines of workers those of ``sabotage``."""
    really = commands.python

    def python(arguments: list[str]) -> list[str]:
        if arguments[:2] == ["-m", "celery"]:
            arguments = ["-m", "tests.journeys.sabotage", str(traps), str(clock_seconds), *arguments[2:]]
        return really(arguments)

    with mock.patch.object(commands, "python", python):
        yield


def pairs(folder: Path, count: int) -> Path:
    """Write ``count`` small real photographs with masks into ``folder``."""
    photographs.write(folder, count, pixels=SMALL)
    return folder


def chunks(photos: Sequence[Path], pairs_each: int = 8) -> Iterator[list[tuple[str, Path]]]:
    """Yield ``photos`` and the masks beside them as the client sends them, a few pairs at a time."""
    for start in range(0, len(photos), pairs_each):
        some = photos[start : start + pairs_each]
        yield [(path.name, path) for one in some for path in (one, one.with_name(f"{one.stem}_mask.png"))]


def finish(process: subprocess.Popen[str], seconds: float = 300.0) -> list[dict[str, Any]]:
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


__all__ = ["Stack", "all_jobs", "chunks", "finish", "pairs", "stack", "stored", "wait_until"]
