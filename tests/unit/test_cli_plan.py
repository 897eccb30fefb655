"""What of a folder is looked at, and what is told of the rest."""

import os
from pathlib import Path
from typing import Any

import pytest

from cleanplate.cli import manifest, plan
from tests.cli_runs import add


def test_results_of_an_earlier_run_into_another_folder_are_not_taken_for_photos(tmp_path: Path) -> None:
    add(tmp_path, "a")
    (tmp_path / "erased").mkdir()
    (tmp_path / "erased" / manifest.NAME).touch()
    (tmp_path / "erased" / "a.png").touch()
    photos = plan.look(tmp_path, tmp_path / "out", "_mask")
    assert [pair.name for pair in photos.pairs] == ["a"]
    assert photos.alone == []


def test_a_linked_folder_is_told_and_not_followed(tmp_path: Path) -> None:
    add(tmp_path / "photos", "a")
    add(tmp_path / "elsewhere", "b")
    (tmp_path / "photos" / "more").symlink_to(tmp_path / "elsewhere")
    photos = plan.look(tmp_path / "photos", tmp_path / "out", "_mask")
    assert [pair.name for pair in photos.pairs] == ["a"]
    assert [(one.item, one.code) for one in photos.alone] == [("more/", "folder_not_read")]


def test_a_folder_that_cannot_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(tmp_path, "a")
    add(tmp_path / "closed", "b")
    scandir = os.scandir

    def guarded(path: Any) -> Any:  # root may read whatever its mode says
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    photos = plan.look(tmp_path, tmp_path / "out", "_mask")
    assert [pair.name for pair in photos.pairs] == ["a"]
    assert [(one.item, one.detail) for one in photos.alone] == [
        ("closed/", "this folder is not read: Permission denied")
    ]
