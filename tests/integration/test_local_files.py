from pathlib import Path

import pytest

from cleanplate.local import logs
from cleanplate.local.errors import StackError
from cleanplate.local.files import private_dir, write_private
from cleanplate.local.logs import Log


def test_a_private_file_is_for_its_owner_only_even_where_another_stood(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("old")
    file.chmod(0o644)
    write_private(file, "new")
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("new", 0o600)
    assert list(tmp_path.iterdir()) == [file]


def test_a_private_directory_is_for_its_owner_only_and_one_that_stands_keeps_its_mode(tmp_path: Path) -> None:
    assert private_dir(tmp_path / "a/b").stat().st_mode & 0o777 == 0o700
    (tmp_path / "a/b").chmod(0o755)
    assert private_dir(tmp_path / "a/b").stat().st_mode & 0o777 == 0o755


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StackError, match=f"cannot make the directory {tmp_path}/file/below: Not a directory"):
        private_dir(tmp_path / "file/below")


def test_a_log_that_grew_too_large_is_put_aside_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "ROTATED_BYTES", 3)
    log = Log(tmp_path, "api")
    for word in (b"one\n", b"two\n"):
        with log.open() as file:
            file.write(word)
    assert (tmp_path / "api.log.1").read_text() == "one\n"
    assert (tmp_path / "api.log").read_text() == log.since_start() == "two\n"


def test_the_tail_of_a_log_is_of_this_start_only(tmp_path: Path) -> None:
    log = Log(tmp_path, "api")
    for start in ("first", "second"):
        with log.open() as file:
            file.write("".join(f"{start} {line}\n" for line in range(3)).encode())
    assert log.tail() == "second 0\nsecond 1\nsecond 2"
    assert log.tail(lines=1) == "second 2"
