"""What came out against what was acknowledged: a story's oracle is the API, the rows and the simulator's ledger."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from cleanplate.client import Client
from cleanplate.items import Item
from cleanplate.resources import BatchOptions, Job
from cleanplate.states import TERMINAL
from tests.journeys.harness import Stack, all_jobs, chunks
from tests.journeys.sabotage import role
from tests.journeys.stalls import Event, Kill, after_kills, after_outages
from tests.servers import wait_until

RESENT = "no answer came: sent again by policy"
WORKERS = ("conveyor", "conveyor-2", "finalizer", "notifier")
EVENTS = """
    SELECT e.job_id, e.state, e.reason, e.at, e.worker
    FROM job_events e JOIN jobs j ON j.id = e.job_id WHERE j.batch_id = ANY(%s) ORDER BY e.id
"""
BEGUN = "SELECT id FROM jobs WHERE state = 'ready' AND finalize_starts > 0"
told: list[str] = []
"""A line with the figures of each story that was told in this run."""


@dataclass(frozen=True)
class Figures:
    """How a story ended. ``lost`` is accepted and not at its end; ``allowed`` is what the policies let it pay."""

    jobs: int
    succeeded: int
    failed: int
    lost: int
    duplicated: int
    unexpected: int
    recovered: int
    paid: int
    allowed: int
    refused: int
    most_in_flight: int
    cap: int
    stalls: Sequence[float]

    @property
    def moving_again_seconds(self) -> float:
        """The longest time that a job stood still after a kill, or was under way without a step after an outage."""
        return max(self.stalls, default=0.0)

    def __str__(self) -> str:
        return (
            f"{self.jobs} jobs: {self.succeeded} succeeded, {self.failed} failed, {self.lost} lost, "
            f"{self.duplicated} duplicated, {self.unexpected} unexpected, {self.recovered} recovered; "
            f"paid {self.paid} of {self.allowed} allowed, {self.refused} times 429, "
            f"{self.most_in_flight} of {self.cap} slots; "
            f"{len(self.stalls)} stood still, {self.moving_again_seconds:.1f} s at most"
        )


class Story:
    """What happens to the pictures of one test: upload them, disturb the stack, and hear how it ended."""

    def __init__(self, stack: Stack, name: str) -> None:
        self._stack = stack
        self._name = name
        self._before = stack.stats()
        self._batches: list[str] = []
        self._acknowledged: Counter[str] = Counter()
        self._disturbed: list[float] = []
        self._kills: list[Kill] = []

    @property
    def stack(self) -> Stack:
        return self._stack

    def upload(self, photos: Sequence[Path]) -> str:
        """Make a batch of ``photos``, whose masks lie beside them; what is answered with 202 is acknowledged."""
        with self._stack.client() as client:
            batch = client.create_batch(BatchOptions(seal=False, reuse=False)).id
            self._batches.append(batch)
            for some in chunks(photos):
                client.add_items(batch, some)
                self._acknowledged.update(path.stem for _, path in some if not path.stem.endswith("_mask"))
            client.seal(batch)
        return batch

    def name(self, items: Sequence[Item]) -> str:
        """Make a batch of ``items``, which importers fetch; what is answered with 202 is acknowledged."""
        with self._stack.client() as client:
            batch = client.create_batch_of(items, BatchOptions(reuse=False)).id
        self._batches.append(batch)
        self._acknowledged.update(str(item.custom_id) for item in items)
        return batch

    def paid(self) -> int:
        """Return how many submits were charged since the story began."""
        return self._stack.paid() - int(self._before["paid"])

    # -- disturbing ----------------------------------------------------------------------------------------------------

    def disturb(self) -> None:
        """Remember that an outage ended just now, from which jobs that are under way have to recover."""
        self._disturbed.append(time.time())

    def kill(self, service: str) -> bool:
        """SIGKILL a service with all its processes, unless it is dead just now."""
        pid = self._stack.running.supervisor.pid(service)
        if pid is None:
            return False
        died = time.time()
        os.killpg(pid, signal.SIGKILL)
        if service in WORKERS:
            begun = self._stack.rows(BEGUN) if service == "finalizer" else []
            self._kills.append(Kill(died, pid, service.partition("-")[0], frozenset(job_id for (job_id,) in begun)))
        return True

    @contextmanager
    def deaths_in(self, *windows: str) -> Iterator[None]:
        """Set a trap in each of these windows; after the block, wait until a worker has died in every one."""
        for window in windows:
            (self._stack.traps / window).touch()
        yield
        wait_until(lambda: not any((self._stack.traps / window).exists() for window in windows))
        for window in windows:
            for struck in self._stack.traps.glob(f"{window}.*"):
                died = struck.lstat().st_ctime  # the instant of the renaming
                self._kills.append(Kill(died, int(struck.suffix[1:]), role(window)))
                struck.unlink()

    # -- hearing -------------------------------------------------------------------------------------------------------

    def counts(self) -> Counter[str]:
        """Return how many jobs stand in each state."""
        with self._database() as connection:
            query = "SELECT state, count(*) FROM jobs WHERE batch_id = ANY(%s) GROUP BY state"
            return Counter(dict(connection.execute(query, [self._batches]).fetchall()))

    def reasons(self) -> Counter[str]:
        """Return how often each reason was given for a move."""
        return Counter(event.reason for event in self._events())

    def errors(self) -> Counter[str]:
        """Return how often jobs failed with each code."""
        return Counter(str(job.error.code) for job in self.jobs() if job.error)

    def jobs(self) -> list[Job]:
        """Return all jobs of the story as clients see them."""
        with self._stack.client() as client:
            return [job for batch in self._batches for job in all_jobs(client, batch)]

    def rows_without_objects(self) -> int:
        """Return how many jobs, of this story or not, lack an object that their row names."""
        objects = self._stack.running.data_dir / "objects"
        with self._database() as connection:
            keys = connection.execute("SELECT image_key, mask_key, send_image_key, send_mask_key FROM jobs").fetchall()
        return sum(not all((objects / key).exists() for key in row) for row in keys)

    def end(self, seconds: float = 300.0) -> Figures:
        """Wait for the end of every batch, then hold what came out against what was acknowledged.

        Fails when a job is lost or has two results, when more was paid than the policies allow, or when the upstream
        ever held more tasks than the cap.
        """
        with self._stack.client() as client:
            deadline = time.monotonic() + seconds
            while not self._over(client) and time.monotonic() < deadline:
                time.sleep(0.1)
        figures = self._figures()
        told.append(f"{self._name}: {figures}")
        assert figures.lost == 0, self._whereabouts()
        assert (figures.duplicated, figures.unexpected) == (0, 0)
        assert figures.paid <= figures.allowed
        assert figures.most_in_flight <= figures.cap
        return figures

    def _over(self, client: Client) -> bool:
        return all(client.batch(batch).finished_at is not None for batch in self._batches)

    def _figures(self) -> Figures:
        jobs = self.jobs()
        events = self._events()
        names = Counter(job.custom_id for job in jobs)
        ends = Counter(event.job_id for event in events if event.state in TERMINAL)
        results = self._results({job.id for job in jobs})
        succeeded = {job.id for job in jobs if job.status == "succeeded"}
        stats = self._stack.stats()
        (account,) = stats["accounts"].values()
        return Figures(
            jobs=self._acknowledged.total(),
            succeeded=len(succeeded),
            failed=sum(job.status == "failed" for job in jobs),
            lost=(self._acknowledged - names).total() + sum(job.finished_at is None for job in jobs),
            duplicated=sum(count > 1 for count in ends.values()) + len(succeeded - results),
            unexpected=(names - self._acknowledged).total(),
            recovered=len({event.job_id for event in events if _is_recovery(event.reason)}),
            paid=stats["paid"] - self._before["paid"],
            allowed=len(jobs) + sum(event.reason == RESENT for event in events),
            refused=stats["rate_limited"] - self._before["rate_limited"],
            most_in_flight=account["max_in_flight"],
            cap=account["slots"],
            stalls=sorted(after_kills(events, self._kills, self._began()) + after_outages(events, self._disturbed)),
        )

    def _results(self, job_ids: set[str]) -> set[str]:
        """Return the jobs whose result lies in the store."""
        stored = (self._stack.running.data_dir / "objects" / "results").glob("job_*")
        return {path.name.partition(".")[0] for path in stored} & job_ids

    def _whereabouts(self) -> str:
        open_jobs = {job.id for job in self.jobs() if job.finished_at is None}
        return "\n".join(f"{one.at:%H:%M:%S.%f} {one}" for one in self._events() if one.job_id in open_jobs)

    def _began(self) -> dict[int, float]:
        """Return since when each conveyor, by its pid, has carried jobs."""
        query = "SELECT split_part(id, ':', 2)::int, extract(epoch FROM started_at)::float FROM workers"
        return {int(pid): float(began) for pid, began in self._stack.rows(query)}

    def _events(self) -> list[Event]:
        with self._database() as connection:
            return [Event(*row) for row in connection.execute(EVENTS, [self._batches])]

    def _database(self) -> Any:
        return psycopg.connect(self._stack.running.environment["DATABASE_URL"])


Begin = Callable[..., Story]
"""Begins a story by its name; more are settings of the simulator."""


def eventually(call: Callable[[], object], seconds: float = 180.0) -> float:
    """Wait until ``call`` is true; return how many seconds that took."""
    began = time.monotonic()
    wait_until(call, seconds)
    return time.monotonic() - began


def _is_recovery(reason: str) -> bool:
    return reason in {"adopted", "lease ended", "worker stopped", RESENT} or "the worker died" in reason
