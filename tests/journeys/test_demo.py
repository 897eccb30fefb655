import os
import subprocess
import sys
from pathlib import Path

from PIL import Image

SERVERS = ("DATABASE_URL", "REDIS_URL", "STORAGE_URL", "BFL_API_KEY", "BFL_BASE_URL", "CLEANPLATE_URL")


def run(tmp_path: Path, *options: str, **env: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "cleanplate", "demo", "--count", "2", "--out", str(tmp_path / "out"), *options]
    clean = {name: value for name, value in os.environ.items() if name not in SERVERS}
    return subprocess.run(
        command,
        env={**clean, "TMPDIR": str(tmp_path), **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )


def left_running(tmp_path: Path) -> list[str]:
    """Return the command lines of processes that know the demo's directory."""
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if str(tmp_path) in line]


def test_the_demo_erases_verifies_shows_and_leaves_nothing_running(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "no BFL_API_KEY is set: pictures go to the built-in simulator" in done.stderr
    for line in (
        "2 erased, 0 failed",
        "2 submits to the simulator",
        "by 0, measured here on 2 results",
        "batch.completed came",
    ):
        assert line in done.stdout
    with Image.open(tmp_path / "out" / "contact-sheet.png") as sheet:
        assert sheet.width > 1000
    assert "<html" in (tmp_path / "out" / "contact-sheet.html").read_text()[:500]
    assert len(list((tmp_path / "out" / "erased").glob("*.png"))) == 2
    assert left_running(tmp_path) == []
    assert list(tmp_path.glob("cleanplate-demo-*")) == []


def test_a_demo_that_cannot_go_on_says_where_and_keeps_its_logs(tmp_path: Path) -> None:
    done = run(tmp_path, "--yes", BFL_API_KEY="not-a-key", BFL_BASE_URL="http://127.0.0.1:1")
    assert done.returncode == 1
    assert "this pays for 2 images" in done.stderr
    assert "failed at 'erasing, through REST" in done.stderr
    assert "the upstream is paused (configuration" in done.stderr
    assert list(tmp_path.glob("cleanplate-demo-*/logs/conveyor.log"))
    assert "not-a-key" not in done.stderr + done.stdout
    assert left_running(tmp_path) == []


def test_money_is_never_spent_unasked(tmp_path: Path) -> None:
    done = run(tmp_path, BFL_API_KEY="not-a-key")
    assert done.returncode == 2
    assert "say --yes (make demo YES=1)" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_done(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run(tmp_path, "--out", str(tmp_path / "file" / "out"))
    assert done.returncode == 2
    assert f"cannot write into {tmp_path / 'file' / 'out'}" in done.stderr
    assert list(tmp_path.glob("cleanplate-demo-*")) == []
