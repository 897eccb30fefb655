"""Results are never saved over a file that is somebody else's, or that somebody has changed."""

import errno
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cleanplate.cli import main
from cleanplate.client import Client
from tests.cli_runs import add, told
from tests.fake_api import FakeApi, result_of

ORIGINAL = b"a photograph that there is no other copy of"


def test_a_download_into_a_folder_of_photographs_spares_them(erase: Any, photos: Path) -> None:
    batch_id = told(erase("--json"))[1]["batches"][0]
    (photos / "b.png").write_bytes(ORIGINAL)
    download = ["download", batch_id, "--out", str(photos), "--json"]
    result = CliRunner().invoke(main, download)
    items, summary = told(result)
    assert (photos / "b.png").read_bytes() == ORIGINAL
    assert (result.exit_code, summary["succeeded"], items["b"]["error"]["code"]) == (1, 2, "file_exists")
    (photos / "b.png").unlink()
    assert CliRunner().invoke(main, download).exit_code == 0
    assert (photos / "b.png").exists()


@pytest.mark.parametrize("option", ["--dry-run", "--json"])
def test_nothing_is_paid_whose_result_would_go_over_another_file(
    erase: Any, api: FakeApi, tmp_path: Path, option: str
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "b.png").write_bytes(ORIGINAL)
    result = erase(option)
    assert (result.exit_code, api.batches) == (2, {})
    assert "1 files in" in result.stderr
    assert result.stderr.endswith("move them away:\n  b.png\n")


def test_a_result_that_was_changed_stays_and_is_told(erase: Any, api: FakeApi, tmp_path: Path) -> None:
    batch_id = told(erase("--json"))[1]["batches"][0]
    (tmp_path / "out" / "b.png").write_bytes(b"retouched")
    api.downloaded.clear()
    again = erase()
    download = CliRunner().invoke(main, ["download", batch_id, "--out", str(tmp_path / "out")])
    for result in (again, download):
        assert result.exit_code == 0
        assert "1 were changed since they were saved, and stay (delete one to have it again):\n  b\n" in result.stderr
    assert (api.downloaded, (tmp_path / "out" / "b.png").read_bytes()) == ([], b"retouched")


def test_a_result_gives_way_to_that_of_a_photo_that_changed(
    erase: Any, api: FakeApi, photos: Path, tmp_path: Path
) -> None:
    erase()
    add(photos, "a", "another")
    assert erase().exit_code == 0
    newest = max((job for job in api.jobs.values() if job["custom_id"] == "a"), key=lambda job: job["id"])
    assert (tmp_path / "out" / "a.png").read_bytes() == result_of(newest)


def test_what_a_killed_run_saved_and_did_not_write_down_is_known_as_its_own(
    erase: Any, api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    download = Client.download

    def killed(client: Client, *given: Any) -> None:
        download(client, *given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Client, "download", killed)
        assert erase().exit_code == 130
    assert list((tmp_path / "out").rglob("*.png"))
    assert erase("--dilate", "20").exit_code == 0
    newest = max((job for job in api.jobs.values() if job["custom_id"] == "a"), key=lambda job: job["id"])
    assert (tmp_path / "out" / "a.png").read_bytes() == result_of(newest)


def test_a_disk_that_is_full_is_told_with_the_file_that_has_no_room(
    erase: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(client: Client, job: Any, path: Path) -> None:
        if job.custom_id == "b":
            raise OSError(errno.ENOSPC, "No space left on device")
        download(client, job, path)

    download = Client.download
    monkeypatch.setattr(Client, "download", full)
    result = erase()
    assert result.exit_code == 1
    assert f"cleanplate: {tmp_path / 'out' / 'b.png'}: No space left on device (what was saved stays" in result.stderr
