"""What others do, on the same slots and latencies: the vendor's example in threads, and one blocking task a job."""

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from cleanplate.local import commands, ports
from tests import pictures
from tests.bench import figures
from tests.servers import running_redis

JOBS, SLOTS, LATENCY = 240, 24, 4.0
KEY = "bench"
POLL_SECONDS = 1.0
FINISHED = "Ready"


def vendor(folder: Path) -> dict[str, Any]:
    """As the vendor's page shows it: submit, then look once a second; as many threads as there are slots."""
    with _simulator(folder) as (url, pid):
        with figures.metered({"simulator": pid, "threads": os.getpid()}, JOBS) as spent:
            seen = _in_threads(url)
        return _report("the vendor's example in threads", url, seen, spent)


def blocking_task(folder: Path) -> dict[str, Any]:
    """Keep a Celery worker's thread for each job from the submit to the result, looking every 0.1 s."""
    with _simulator(folder / "simulator") as (url, pid), running_redis(folder / "redis") as broker:
        out = folder / "seen.jsonl"
        environment = {**os.environ, "BENCH_BROKER": broker, "BENCH_UPSTREAM": url, "BENCH_OUT": str(out)}
        arguments = ["-A", "tests.bench.blocking", "worker", "-P", "threads", "-c", str(SLOTS), "-l", "ERROR"]
        worker = subprocess.Popen(
            [sys.executable, "-m", "celery", *arguments, "--without-mingle"],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            with figures.metered({"simulator": pid, "worker": worker.pid}, JOBS) as spent:
                subprocess.run([sys.executable, "-m", "tests.bench.blocking", str(JOBS)], env=environment, check=True)
                while _lines(out) < JOBS:
                    time.sleep(0.05)
            seen = dict(json.loads(line) for line in out.read_text().splitlines())
        finally:
            worker.terminate()
            worker.wait()
        return _report("one blocking Celery task a job", url, seen, spent)


def erase(client: httpx.Client, url: str, poll_seconds: float) -> tuple[str, float]:
    """Submit one job and look until it is ready; return the task's id and when its result was known."""
    answer = client.post(f"{url}/v1/flux-tools/erase-v1", content=BODY)
    task = answer.raise_for_status().json()
    while client.get(task["polling_url"]).raise_for_status().json()["status"] != FINISHED:
        time.sleep(poll_seconds)
    return task["id"], time.time()


def client() -> httpx.Client:
    """Return a client with the simulator's key and room for every slot."""
    limits = httpx.Limits(max_connections=2 * SLOTS)
    headers = {"x-key": KEY, "content-type": "application/json"}
    return httpx.Client(headers=headers, limits=limits, trust_env=False, timeout=30)


def _body() -> bytes:
    image, mask = (
        pictures.encoded(pictures.scene(16, 16), "JPEG"),
        pictures.encoded(pictures.mask_image((16, 16), (4, 4, 12, 12))),
    )
    return json.dumps({"image": base64.b64encode(image).decode(), "mask": base64.b64encode(mask).decode()}).encode()


BODY = _body()


def _in_threads(url: str) -> dict[str, float]:
    with client() as shared, ThreadPoolExecutor(SLOTS) as threads:
        return dict(threads.map(lambda _: erase(shared, url, POLL_SECONDS), range(JOBS)))


def _report(name: str, url: str, seen: dict[str, float], spent: dict[str, Any]) -> dict[str, Any]:
    tasks = figures.ledger(url)
    return {
        "tasks": f"{JOBS} on {SLOTS} slots x {LATENCY:g} s: {name}",
        **figures.throughput(tasks, SLOTS, figures.stats(url)),
        **figures.quantiles("ready -> seen", [seen[task["id"]] - task["ends_at"] for task in tasks]),
        **spent,
    }


@contextmanager
def _simulator(folder: Path) -> Iterator[tuple[str, int]]:
    arguments = commands.simulator(
        ports.choose(), folder, slots=SLOTS, latency_seconds=LATENCY, seed=1, erase="fast", key=KEY
    )
    process = subprocess.Popen(commands.python(arguments), stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        yield json.loads(process.stdout.readline())["base_url"], process.pid
    finally:
        process.terminate()
        process.communicate()


def _lines(file: Path) -> int:
    return file.read_bytes().count(b"\n") if file.exists() else 0
