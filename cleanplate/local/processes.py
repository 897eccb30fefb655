"""Processes that were started, remembered in a file, so that whoever comes after a crash can end them."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from cleanplate.local.files import write_private

POLL_SECONDS = 0.02
KILLED_SECONDS = 5.0
_PROC = Path("/proc")


@dataclass(frozen=True)
class Process:
    """A process that leads its own group. ``identity`` tells it from a later one of the same number."""

    name: str
    pid: int
    identity: str
    stop_signal: int
    stop_timeout_seconds: float

    def is_alive(self) -> bool:
        return identity(self.pid) == self.identity

    def wait(self, seconds: float) -> None:
        """Return when it has ended, or after ``seconds``."""
        deadline = time.monotonic() + seconds
        while self.is_alive() and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)


Stages = Sequence[Sequence[Process]]
"""What was started together, in the order of starting."""


def identity(pid: int) -> str | None:
    """Return the boot and the instant that a process started at; None for one that is gone, or a zombie."""
    if not _PROC.exists():
        state, _, started = _ps(pid, "stat", "lstart").partition(" ")
        return None if not state or state.startswith("Z") else started.strip()
    try:
        fields = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    boot = (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return None if fields[0] in "ZX" else f"{boot} {fields[19]}"


def give_way(pid: int, nice: int) -> None:
    """Lower the priority of a process that leads its session; a desktop's kernel weighs sessions, not processes.

    One that has a lower priority already keeps it: only root may raise it.
    """
    with suppress(ProcessLookupError):
        os.setpriority(os.PRIO_PROCESS, pid, max(nice, os.getpriority(os.PRIO_PROCESS, pid)))
    with suppress(OSError):
        (_PROC / str(pid) / "autogroup").write_text(str(nice), encoding="ascii")


def command(pid: int) -> str:
    """Return the command line of a process; empty for one that is gone."""
    if not _PROC.exists():
        return _ps(pid, "command")
    try:
        return (_PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _ps(pid: int, *columns: str) -> str:
    wanted = [part for column in columns for part in ("-o", f"{column}=")]
    line = ["/bin/ps", "-ww", *wanted, "-p", str(pid)]
    return subprocess.run(line, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603  fixed words


def kill_group(pid: int) -> None:
    """SIGKILL every process of the group that ``pid`` led; one that has gone already is no error."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def end(stages: Stages) -> None:
    """Stop what still lives, last stage first: its stop signal, its time to drain, then SIGKILL to its group."""
    for stage in reversed(stages):
        living = [process for process in stage if process.is_alive()]
        for process in living:
            with suppress(ProcessLookupError):
                os.kill(process.pid, process.stop_signal)
        asked = time.monotonic()
        for process in living:
            process.wait(asked + process.stop_timeout_seconds - time.monotonic())
            kill_group(process.pid)
            process.wait(KILLED_SECONDS)


def kill(stages: Stages) -> None:
    """Stop what still lives at once."""
    living = [process for stage in stages for process in stage if process.is_alive()]
    for process in living:
        kill_group(process.pid)
    for process in living:
        process.wait(KILLED_SECONDS)


def remember(data_dir: Path, stages: Iterable[Iterable[Process]]) -> None:
    text = json.dumps([[asdict(process) for process in stage] for stage in stages], indent=1)
    write_private(_file(data_dir), text, durable=False)


def forget(data_dir: Path) -> None:
    _file(data_dir).unlink(missing_ok=True)


def end_leftovers(data_dir: Path) -> None:
    """End the processes that a stack which was killed left behind in ``data_dir``, those that are verifiably its."""
    try:
        stages = json.loads(_file(data_dir).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    end([[Process(**fields) for fields in stage] for stage in stages])
    forget(data_dir)


def _file(data_dir: Path) -> Path:
    return data_dir / "pids.json"
