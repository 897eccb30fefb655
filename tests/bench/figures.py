"""What a run on the simulator came to: its ledger says when each task was accepted and when its result was ready."""

import heapq
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import psutil

Task = dict[str, Any]


def ledger(simulator_url: str) -> list[Task]:
    """Return the simulator's paid submits; instants are seconds of its clock, which is this machine's."""
    answer = httpx.get(f"{simulator_url}/admin/ledger", params={"limit": 100_000}, timeout=60).raise_for_status()
    return list(answer.json()["data"])


def stats(simulator_url: str) -> dict[str, Any]:
    """Return what the simulator counted."""
    return dict(httpx.get(f"{simulator_url}/admin/stats", timeout=60).raise_for_status().json())


def throughput(tasks: Sequence[Task], slots: int, counted: Mapping[str, Any]) -> dict[str, Any]:
    """Return how well so many slots were used for these tasks."""
    makespan = max(task["ends_at"] for task in tasks) - min(task["accepted_at"] for task in tasks)
    return {
        "stored or seen": len(tasks),
        "paid submits": counted["paid"],
        "answers of 429": counted["rate_limited"],
        "share of slot time busy": busy(tasks, slots, ramp=True),
        "the same without the ramp": busy(tasks, slots, ramp=False),
        "ideal makespan / makespan": ideal([task["latency"] for task in tasks], slots) / makespan,
        "polls a job": counted["polls"] / len(tasks),
    }


def busy(tasks: Sequence[Task], slots: int, *, ramp: bool) -> float:
    """Return the share of slot time in use up to the last submit.

    Counted from the first submit with ``ramp``, else from when as many tasks as there are slots had been submitted.
    """
    accepted = sorted(task["accepted_at"] for task in tasks)
    first, last = accepted[0 if ramp else slots - 1], accepted[-1]
    used = sum(max(0.0, min(task["ends_at"], last) - max(task["accepted_at"], first)) for task in tasks)
    return float(used / (slots * (last - first)))


def ideal(latencies: Sequence[float], slots: int) -> float:
    """Return the makespan of these latencies, in this order, on these slots with no overhead at all."""
    free = [0.0] * slots
    for seconds in latencies:
        heapq.heappush(free, heapq.heappop(free) + seconds)
    return max(free)


def quantiles(name: str, delays: Sequence[float]) -> dict[str, float]:
    """Return the median and the 99th percentile of delays, in seconds."""
    cuts = statistics.quantiles(delays, n=100)
    return {f"{name} p50, s": cuts[49], f"{name} p99, s": cuts[98]}


@contextmanager
def metered(pids: Mapping[str, int], jobs: int) -> Iterator[dict[str, Any]]:
    """Measure processes, with their children, while the block lasts: CPU in ms a job, and memory at the end in MB."""
    before = {name: _cpu(pid) for name, pid in pids.items()}
    found: dict[str, Any] = {}
    yield found
    spent = {name: (_cpu(pid) - before[name]) / jobs * 1000 for name, pid in pids.items()}
    found |= {f"CPU of {name}, ms a job": ms for name, ms in spent.items()}
    found["CPU of all but the simulator, ms a job"] = sum(ms for name, ms in spent.items() if name != "simulator")
    found |= {f"memory of {name}, MB": _memory(pid) for name, pid in pids.items() if name != "simulator"}


def _of_family(pid: int, figure: Callable[[psutil.Process], float]) -> float:
    """Return the sum of a figure over a process and its children; one of these may end meanwhile."""
    total = figure(process := psutil.Process(pid))
    for child in process.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            total += figure(child)
    return total


def _cpu(pid: int) -> float:
    return _of_family(pid, lambda process: sum(process.cpu_times()[:2]))


def _memory(pid: int) -> float:
    return _of_family(pid, lambda process: process.memory_info().rss) / 1e6
