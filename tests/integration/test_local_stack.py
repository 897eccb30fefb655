import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from cleanplate.local import commands, ports, postgres, processes, redis, stack
from cleanplate.local.errors import PortInUseError, ServiceFailedError
from cleanplate.local.supervisor import Supervisor
from cleanplate.settings import Settings
from tests import stand_ins
from tests.servers import wait_until

ROOT = Path(__file__).parents[2]
REAL_PREPARE = commands.prepare
GIVEN = {"DATABASE_URL": "postgresql://unused", "REDIS_URL": "redis://unused", "BFL_API_KEY": "paid"}
"""Settings with which a stack needs no server of its own."""
OF_THE_STACK = ("DATABASE_URL", "REDIS_URL", "STORAGE_URL", "BFL_API_KEY", "CLEANPLATE_SECRET_KEYS")


@pytest.fixture(autouse=True)
def stood_in(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in OF_THE_STACK:
        monkeypatch.delenv(name, raising=False)
    stand_ins.install(monkeypatch.setattr)


@pytest.fixture
def really_prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "prepare", REAL_PREPARE)


def seen(running: stack.Running, worker: str = "conveyor") -> dict[str, str]:
    """What a worker has as environment."""
    wait_until(lambda: running.supervisor.output(worker).endswith(f"{commands.WORKER_READY}\n"))
    environment: dict[str, str] = json.loads(running.supervisor.output(worker).splitlines()[0])
    return environment


@contextmanager
def run(data_dir: Path, said: list[str] | None = None, **settings: str) -> Iterator[stack.Running]:
    say = (said if said is not None else []).append
    with stack.running(Settings(CLEANPLATE_DATA_DIR=str(data_dir), **settings), port=None, say=say) as running:
        yield running


@contextmanager
def up(data_dir: Path, port: int, **settings: str) -> Iterator["subprocess.Popen[str]"]:
    """Run ``cleanplate up`` as a process of its own."""
    env = {name: value for name, value in os.environ.items() if name not in OF_THE_STACK}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.stand_ins", "--port", str(port)],
        cwd=ROOT,
        env={**env, **settings, "CLEANPLATE_DATA_DIR": str(data_dir)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.usefixtures("really_prepared")
def test_every_part_that_no_url_names_is_embedded_and_every_process_hears_of_it(tmp_path: Path) -> None:
    said: list[str] = []
    with run(tmp_path, said) as running:
        environment = seen(running)
        with psycopg.connect(environment["DATABASE_URL"]) as connection:
            keys = connection.execute("SELECT prefix FROM api_keys WHERE revoked_at IS NULL").fetchall()
        assert redis.answers(environment["REDIS_URL"])
        assert environment["STORAGE_URL"] == (tmp_path / "objects").as_uri()
        assert environment["BFL_API_KEY"] == "simulator"
        assert environment["BFL_BASE_URL"] == running.simulator_url
        assert environment["BFL_HOSTS"] == "127.0.0.1,127.0.0.2"
        assert environment["BFL_DELIVERY_HOSTS"] == "127.0.0.3"
        subprocess.run(commands.python(commands.prepare(tmp_path / "api-key")), env=environment, check=True)
        assert (tmp_path / "api-key").read_text() == f"{running.api_key}\n"
    assert keys == [(running.api_key[:10],)]
    assert (tmp_path / "api-key").stat().st_mode & 0o777 == 0o600
    assert said == ["no BFL_API_KEY is set: pictures go to the built-in simulator, not to BFL, and nothing is paid"]
    names = ("postgres", "redis", "simulator", "prepare", "api", "conveyor", "importer", "finalizer", "notifier")
    logs = {log.name: log.read_text() for log in (tmp_path / "logs").iterdir()}
    assert set(logs) == {f"{name}.log" for name in names}
    assert not [name for name, text in logs.items() if running.api_key in text]


def test_what_is_named_is_used_instead_and_no_simulator_runs_with_a_key(tmp_path: Path) -> None:
    with run(tmp_path, **GIVEN) as running:
        assert seen(running).items() >= GIVEN.items()
        assert running.simulator_url is None
        assert not any(running.supervisor.pid(name) for name in ("postgres", "redis", "simulator"))


def test_the_secret_key_outlives_a_stop_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    keys = []
    for _ in range(2):
        with run(tmp_path, **GIVEN) as running:
            keys.append(seen(running)["CLEANPLATE_SECRET_KEYS"])
    assert keys[0] == keys[1] == (tmp_path / "secret-key").read_text()
    assert (tmp_path / "secret-key").stat().st_mode & 0o777 == 0o600


@pytest.mark.usefixtures("really_prepared")
def test_a_database_that_cannot_be_prepared_says_where_to_look(tmp_path: Path) -> None:
    nowhere = f"postgresql://127.0.0.1:{ports.choose()}/nothing"
    with (
        pytest.raises(
            ServiceFailedError, match=rf"the object store ended with status 1; its log is {tmp_path}"
        ) as told,
        run(tmp_path, **GIVEN | {"DATABASE_URL": nowhere}),
    ):
        pass
    last = str(told.value).splitlines()[-1]
    assert last.startswith("the database of DATABASE_URL cannot be used: ")
    assert "Connection refused" in last


def test_an_api_of_the_users_own_where_up_was_called_is_not_taken_for_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with run(tmp_path, **GIVEN) as running:
        working_dir = (Path("/proc") / str(running.supervisor.pid("conveyor")) / "cwd").readlink()
    assert (working_dir / "api/__init__.py").exists()


def test_a_port_in_use_is_told_before_anything_starts(tmp_path: Path) -> None:
    settings = Settings(CLEANPLATE_DATA_DIR=str(tmp_path))
    with (
        socket.create_server((ports.HOST, 0)) as busy,
        pytest.raises(PortInUseError),
        stack.running(settings, port=busy.getsockname()[1]),
    ):
        pass
    assert not (tmp_path / "postgres").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_up_prints_one_line_when_it_is_ready_and_a_signal_stops_all_of_it(
    tmp_path: Path, number: signal.Signals
) -> None:
    port = ports.choose()
    with up(tmp_path, port, **GIVEN) as process:
        assert process.stdout
        ready = process.stdout.readline()
        assert ready == f"cleanplate is ready at http://127.0.0.1:{port}, API key in {tmp_path}/api-key\n"
        pids = remembered(tmp_path)
        process.send_signal(number)
        rest, messages = process.communicate(timeout=300)
    assert process.returncode == 0
    assert rest == ""
    assert messages.splitlines() == [starting(tmp_path), "cleanplate: stopping; Ctrl-C again stops at once"]
    assert len(pids) == 5
    assert not [pid for pid in pids if processes.identity(pid)]


def test_a_second_up_on_the_same_data_directory_says_who_has_it(tmp_path: Path) -> None:
    with Supervisor(tmp_path), up(tmp_path, ports.choose()) as second:
        _, messages = second.communicate(timeout=300)
    assert second.returncode == 1
    first, why = messages.splitlines()
    assert first == starting(tmp_path)
    assert why.startswith(f"cleanplate: another cleanplate (pid {os.getpid()}) uses {tmp_path}; stop it")


def test_when_up_is_killed_all_of_it_ends_and_the_next_start_finds_the_data(tmp_path: Path) -> None:
    with up(tmp_path, ports.choose()) as process:
        assert process.stdout
        assert "is ready" in process.stdout.readline()
        pids = remembered(tmp_path)
        process.kill()
    with Supervisor(tmp_path):
        assert len(pids) == 8
        assert not [pid for pid in pids if processes.identity(pid)]
    with run(tmp_path) as running:
        assert postgres.answers(running.environment["DATABASE_URL"])


def starting(data_dir: Path) -> str:
    return f"cleanplate: starting, with what is kept in {data_dir} ..."


def remembered(data_dir: Path) -> list[int]:
    """The numbers of the processes of the stack in ``data_dir``."""
    return [process["pid"] for stage in json.loads((data_dir / "pids.json").read_text()) for process in stage]


def test_a_worker_that_cannot_start_is_told_with_its_log_instead_of_being_restarted_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "conveyor", lambda: ["-c", "raise SystemExit('no module named packaging')"])
    with (
        pytest.raises(ServiceFailedError, match="conveyor") as failed,
        run(tmp_path, **GIVEN),
    ):
        pass
    assert "no module named packaging" in str(failed.value)
