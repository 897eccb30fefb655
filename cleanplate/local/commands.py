"""The command lines of our processes, to be put after ``python``: the same ones on one machine and in containers."""

import sys
from pathlib import Path

GRACEFUL_SECONDS = 10
WORKER_READY = "cleanplate: worker ready"
"""The line by which a worker says that it takes work."""

PACKAGES = Path(__file__).parents[2]
"""Where our packages lie. Celery and uvicorn look in the directory they run in first, and a user's may have an ``api``
or a ``worker`` of its own: they are to run in this one."""


def api(host: str, port: int) -> list[str]:
    """Serve the intake."""
    listen = ["--host", host, "--port", str(port)]
    return [
        "-m",
        "uvicorn",
        "api.app:app",
        *listen,
        "--http",
        "api.protocol:Patient",
        "--no-access-log",
        "--timeout-graceful-shutdown",
        str(GRACEFUL_SECONDS),
    ]


def conveyor() -> list[str]:
    """Submit and poll: one process, one loop."""
    return _worker("conveyor", queue="conveyor", pool=["-P", "solo"])


def importer(processes: int) -> list[str]:
    """Fetch inputs from where they lie, check and store them, in so many processes."""
    return _worker("importer", queue="import", pool=["-P", "prefork", "-c", str(processes)])


def finalizer(processes: int) -> list[str]:
    """Download, verify, composite and store, in so many processes."""
    return _worker("finalizer", queue="finalize", pool=["-P", "prefork", "-c", str(processes)])


def notifier() -> list[str]:
    """Deliver webhooks: one process, with threads of its own for the tries, for they mostly wait."""
    return _worker("notifier", queue="notify", pool=["-P", "solo"])


def simulator(
    port: int, state_dir: Path, *, slots: int, latency_seconds: float, seed: int, erase: str, key: str
) -> list[str]:
    """Stand in for the upstream; what it was paid for outlives a restart."""
    place = ["--port", str(port), "--state-dir", str(state_dir)]
    shape = ["--slots", str(slots), "--latency", f"{latency_seconds:g}", "--seed", str(seed), "--erase", erase]
    return ["-m", "cleanplate.simulator", *place, *shape, "--key", key]


def prepare(key_file: Path) -> list[str]:
    """Migrate the database and put an API key into the file."""
    return ["-m", "cleanplate.local.prepare", str(key_file)]


def python(arguments: list[str]) -> list[str]:
    """Return the whole command line for this interpreter."""
    return [sys.executable, *arguments]


def _worker(name: str, *, queue: str, pool: list[str]) -> list[str]:
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--disable-prefetch"]
    return [
        "-m",
        "celery",
        "-A",
        "worker.app:app",
        "worker",
        "-Q",
        queue,
        *pool,
        *quiet,
        "-n",
        f"{name}@%h",
        "-l",
        "INFO",
    ]
