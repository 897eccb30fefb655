"""What somebody meets whose Python is not as ``make`` wants it."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
OLD = "import sys; sys.version_info = (3, 9); exec(sys.argv[1])"


def set_up(tmp_path: Path, python: str) -> "subprocess.CompletedProcess[str]":
    """Make a virtual environment in ``tmp_path`` where there is nothing but make, two tools and that Python."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("make", "mkdir", "ln"):
        (programs / name).symlink_to(str(shutil.which(name)))
    target = tmp_path / ".venv"
    command = ["make", f"VENV={target}", f"PYTHON={python}", str(target / "bin/python")]
    env = {**os.environ, "PATH": str(programs), "MAKEFLAGS": ""}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def script(tmp_path: Path, text: str) -> str:
    path = tmp_path / "python"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_who_has_no_python_hears_how_to_name_it(tmp_path: Path) -> None:
    done = set_up(tmp_path, "python-that-is-nowhere")
    assert done.returncode
    assert "set PYTHON=/path/to/python3" in done.stderr


def test_who_has_an_old_python_hears_which_it_takes(tmp_path: Path) -> None:
    done = set_up(tmp_path, script(tmp_path, shlex.join([sys.executable, "-c", OLD]) + ' "$2"'))
    assert done.returncode
    assert "cleanplate needs Python 3.11 or newer; set PYTHON=" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_an_environment_that_was_not_finished_is_not_taken_for_one(tmp_path: Path) -> None:
    real = shlex.quote(sys.executable)
    half = f'mkdir -p "$3/bin"; ln -s {real} "$3/bin/python"; exit 1'
    done = set_up(tmp_path, script(tmp_path, f'[ "$1" = -m ] || exec {real} "$@"; {half}'))
    assert done.returncode
    assert (tmp_path / ".venv/bin").is_dir()
    assert not (tmp_path / ".venv/bin/python").exists()
