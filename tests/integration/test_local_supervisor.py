import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cleanplate.local import leash, lock, processes, service
from cleanplate.local.errors import AlreadyRunningError, ServiceFailedError
from cleanplate.local.service import Service
from cleanplate.local.supervisor import Supervisor
from tests.servers import wait_until

SLEEP = "import time; time.sleep(600)"
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, lambda *_: print("asked", flush=True))
print("deaf", flush=True)
while True:
    time.sleep(600)
"""
STACK = """
import sys, pathlib
from cleanplate.local.service import Service
from cleanplate.local.supervisor import Supervisor
with Supervisor(pathlib.Path(sys.argv[1])) as supervisor:
    supervisor.start(Service("fake", [sys.executable, "-c", sys.argv[2]], {}, stop_timeout_seconds=float(sys.argv[3])))
    try:
        print(supervisor.pid("fake"), flush=True)
        sys.stdin.read()
    except KeyboardInterrupt:
        pass
"""


def fake(name: str, code: str = SLEEP, ready: Callable[[], bool] | None = None, **options: float) -> Service:
    return Service(name, [sys.executable, "-c", code], {}, ready, **options)  # type: ignore[arg-type]


@contextmanager
def stack_process(
    data_dir: Path, code: str = SLEEP, drain_seconds: float = 60.0
) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """A process that supervises one service, which runs ``code``; yields it and the service's number."""
    command = [sys.executable, "-c", STACK, str(data_dir), code, str(drain_seconds)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as stack:
        assert stack.stdout
        try:
            pid = int(stack.stdout.readline())
            wait_until(lambda: f'"pid": {pid},' in (data_dir / "pids.json").read_text())
            yield stack, pid
        finally:
            stack.kill()


def is_alive(pid: int) -> bool:
    return processes.identity(pid) is not None


def test_a_killed_service_is_started_again_with_one_line_about_it(tmp_path: Path) -> None:
    said: list[str] = []
    with Supervisor(tmp_path, said.append) as supervisor:
        supervisor.start(fake("one"), fake("other"))
        first, other = supervisor.pid("one"), supervisor.pid("other")
        assert first
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: supervisor.pid("one") not in {None, first})
        assert supervisor.pid("other") == other
    assert said == [f"one ended by SIGKILL; starting it again in 0.2 s (log: {tmp_path}/logs/one.log)"]


def test_a_service_that_keeps_dying_is_started_ever_more_rarely(tmp_path: Path) -> None:
    said: list[str] = []
    with Supervisor(tmp_path, said.append) as supervisor:
        supervisor.start(fake("ill", "raise SystemExit(3)"))
        wait_until(lambda: len(said) == 3)
    assert [line.partition(" (")[0] for line in said] == [
        f"ill ended with status 3; starting it again in {pause} s" for pause in ("0.2", "0.5", "1")
    ]


def test_a_service_that_lived_long_is_started_again_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "STEADY_SECONDS", 0.0)
    said: list[str] = []
    with Supervisor(tmp_path, said.append) as supervisor:
        supervisor.start(fake("old", "pass"))
        wait_until(lambda: len(said) == 3)
    assert all("in 0.2 s" in line for line in said)


def test_start_waits_until_all_of_a_stage_are_ready(tmp_path: Path) -> None:
    marks = [tmp_path / "a", tmp_path / "b"]
    code = "import pathlib, sys, time; time.sleep({}); pathlib.Path({!r}).touch(); time.sleep(600)"
    with Supervisor(tmp_path) as supervisor:
        supervisor.start(*(fake(m.name, code.format(0.2 * i, str(m)), m.exists) for i, m in enumerate(marks)))
        assert all(mark.exists() for mark in marks)


def test_a_service_that_ends_before_it_is_ready_is_named_with_the_end_of_its_log(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor, pytest.raises(ServiceFailedError) as failed:
        supervisor.start(
            fake("silent", ready=lambda: False), fake("broken", "raise SystemExit('no disk')", lambda: False)
        )
    message = str(failed.value)
    assert message == f"broken ended with status 1; its log is {tmp_path}/logs/broken.log and ends:\nno disk"


def test_a_service_that_is_late_is_named(tmp_path: Path) -> None:
    with (
        Supervisor(tmp_path) as supervisor,
        pytest.raises(ServiceFailedError, match=r"slow was not ready within 0\.1 s"),
    ):
        supervisor.start(fake("slow", ready=lambda: False, ready_timeout_seconds=0.1))


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor, pytest.raises(ServiceFailedError, match="absent cannot be started"):
        supervisor.start(Service("absent", ["/no/such/program"], {}, ready=lambda: False))


def test_the_end_of_an_earlier_run_is_not_taken_for_that_of_this_one(tmp_path: Path) -> None:
    for word in ("first", "second"):
        with Supervisor(tmp_path) as supervisor:
            supervisor.start(fake("talker", f"print({word!r}, flush=True); {SLEEP}"))
            wait_until(lambda: supervisor.output("talker"))
            assert supervisor.output("talker") == f"{word}\n"
    assert (tmp_path / "logs/talker.log").read_text() == "first\nsecond\n"


def test_a_service_that_is_to_give_way_has_a_lower_priority_among_processes_and_sessions(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        supervisor.start(fake("modest", nice=7))
        pid = supervisor.pid("modest")
        assert pid
        assert os.getpriority(os.PRIO_PROCESS, pid) == max(7, os.getpriority(os.PRIO_PROCESS, 0))
        session = Path(f"/proc/{pid}/autogroup")
        assert not session.exists() or session.read_text().endswith("nice 7\n")


def test_what_runs_at_a_lower_priority_already_is_left_there_for_only_root_may_raise_it(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        supervisor.start(Service("modest", ["nice", "-n", "19", sys.executable, "-c", SLEEP], {}))
        pid = supervisor.pid("modest")
        assert pid
        wait_until(lambda: os.getpriority(os.PRIO_PROCESS, pid) == 19)
        processes.give_way(pid, 7)
        assert os.getpriority(os.PRIO_PROCESS, pid) == 19


def test_stages_are_stopped_last_first(tmp_path: Path) -> None:
    order = tmp_path / "order"
    code = (
        "import pathlib, signal, sys, time\n"
        "def leave(*_):\n"
        "    with open({0!r}, 'a') as f: f.write({1!r})\n"
        "    sys.exit()\n"
        "signal.signal(signal.SIGTERM, leave)\n"
        "print('set', flush=True); time.sleep(600)"
    )
    with Supervisor(tmp_path) as supervisor:
        for name in "abc":
            supervisor.start(fake(name, code.format(str(order), name), lambda n=name: supervisor.output(n) != ""))
    assert order.read_text() == "cba"


def test_a_service_deaf_to_its_stop_signal_is_killed_with_all_it_forked(tmp_path: Path) -> None:
    code = f"import os; os.fork(); print(os.getpid(), flush=True); {STUBBORN}"
    with Supervisor(tmp_path) as supervisor:
        supervisor.start(
            fake("deaf", code, lambda: supervisor.output("deaf").count("deaf") == 2, stop_timeout_seconds=0.2)
        )
        pids = [int(word) for word in supervisor.output("deaf").split() if word.isdigit()]
    assert not any(is_alive(pid) for pid in pids)


def test_what_a_service_forked_does_not_outlive_its_death(tmp_path: Path) -> None:
    code = "import os, time; os.fork(); print(os.getpid(), flush=True); time.sleep(600)"
    with Supervisor(tmp_path, lambda _: None) as supervisor:
        supervisor.start(fake("parent", code, lambda: supervisor.output("parent").count("\n") == 2))
        pids = [int(line) for line in supervisor.output("parent").split()]
        parent = supervisor.pid("parent")
        assert parent in pids
        os.kill(parent, signal.SIGKILL)
        wait_until(lambda: not any(is_alive(pid) for pid in pids))


def test_one_data_directory_has_one_supervisor(tmp_path: Path) -> None:
    with (
        Supervisor(tmp_path),
        pytest.raises(AlreadyRunningError, match=rf"pid {os.getpid()}\).*kill {os.getpid()}.*CLEANPLATE_DATA_DIR"),
        Supervisor(tmp_path),
    ):
        pass
    with Supervisor(tmp_path):
        pass


def test_when_the_supervisor_is_killed_its_services_end_and_the_next_one_can_start(tmp_path: Path) -> None:
    with stack_process(tmp_path) as (stack, pid):
        stack.kill()
        stack.wait()
        wait_until(lambda: not is_alive(pid))
        with Supervisor(tmp_path) as supervisor:
            supervisor.start(fake("next"))


def test_when_the_supervisor_is_killed_a_service_deaf_to_its_stop_signal_is_killed_too(tmp_path: Path) -> None:
    with stack_process(tmp_path, STUBBORN, drain_seconds=0.2) as (stack, pid):
        wait_until((tmp_path / "logs/fake.log").read_text)
        stack.kill()
        stack.wait()
        wait_until(lambda: not is_alive(pid))


def test_nobody_starts_while_the_leash_of_a_killed_supervisor_is_at_work(tmp_path: Path) -> None:
    with lock.hold(tmp_path) as descriptor:
        fastened = leash.fasten(tmp_path, descriptor)
    with (tmp_path / "lock").open() as file:
        with pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fastened.communicate()
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_when_the_leash_is_killed_too_the_next_start_ends_what_was_left(tmp_path: Path) -> None:
    with stack_process(tmp_path) as (stack, pid):
        fastened = leashes(tmp_path)
        for process in fastened:
            os.kill(process, signal.SIGSTOP)  # so that it sees nothing before it is killed
        for process in (stack.pid, *fastened):
            os.kill(process, signal.SIGKILL)
        stack.wait()
        assert is_alive(pid)
        with Supervisor(tmp_path):
            assert not is_alive(pid)


def test_a_leash_that_died_is_replaced(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        supervisor.start(fake("one"))
        (first,) = leashes(tmp_path)
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: leashes(tmp_path) not in ([], [first]))


def test_a_process_that_only_has_the_number_of_one_left_behind_is_spared(tmp_path: Path) -> None:
    bystander = subprocess.Popen([sys.executable, "-c", SLEEP], start_new_session=True)
    left = processes.Process("old", bystander.pid, "another start", signal.SIGTERM, 1.0)
    try:
        processes.remember(tmp_path, [[left]])
        with Supervisor(tmp_path):
            assert is_alive(bystander.pid)
    finally:
        bystander.kill()
        bystander.wait()


def test_a_second_interrupt_ends_a_drain_at_once(tmp_path: Path) -> None:
    log = tmp_path / "logs/fake.log"
    with stack_process(tmp_path, STUBBORN) as (stack, pid):
        wait_until(lambda: "deaf" in log.read_text())
        stack.send_signal(signal.SIGINT)
        wait_until(lambda: "asked" in log.read_text())
        assert is_alive(pid)
        stack.send_signal(signal.SIGINT)
        assert stack.wait(timeout=300) == 0
        assert not is_alive(pid)


def test_nothing_is_left_in_the_file_of_processes_after_a_stop(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        supervisor.start(fake("one"))
        wait_until((tmp_path / "pids.json").exists)
        assert json.loads((tmp_path / "pids.json").read_text())[0][0]["name"] == "one"
    assert not (tmp_path / "pids.json").exists()


def test_without_proc_a_process_is_known_by_ps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_PROC", Path("/no/proc"))
    with subprocess.Popen([sys.executable, "-c", SLEEP]) as process:
        first = processes.identity(process.pid)
        assert first
        assert processes.identity(process.pid) == first
        assert SLEEP in processes.command(process.pid)
        process.kill()
        wait_until(lambda: processes.identity(process.pid) is None)
        process.wait()
    assert processes.identity(process.pid) is None
    assert processes.command(process.pid) == ""


def leashes(data_dir: Path) -> list[int]:
    rows = subprocess.run(["ps", "-eo", "pid="], capture_output=True, text=True, check=True).stdout.split()
    return [int(pid) for pid in rows if f"cleanplate.local.leash {data_dir} " in processes.command(int(pid))]
