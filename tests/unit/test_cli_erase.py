"""``cleanplate erase`` of a folder: what is sent, saved and told, and what a rerun is spared."""

import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cleanplate.cli import main
from cleanplate.cli.manifest import Manifest
from tests.cli_runs import add, saved, told
from tests.fake_api import FakeApi


def test_every_pair_is_sent_once_and_its_result_saved_under_its_name(erase: Any, api: FakeApi, tmp_path: Path) -> None:
    result = erase("--json")
    items, summary = told(result)
    assert result.exit_code == 0
    assert sorted(api.uploaded) == sorted(api.downloaded) == ["a", "b", "deep/c"]
    assert saved(tmp_path / "out") == {"a.png", "b.png", "deep/c.png"}
    assert {name: item["output"] for name, item in items.items()} == {
        "a": "a.png",
        "b": "b.png",
        "deep/c": "deep/c.png",
    }
    assert (summary["total"], summary["succeeded"], summary["failed"], summary["cost_credits"]) == (3, 3, 0, 15.0)
    assert api.batches[summary["batches"][0]]["sealed"]


def test_a_rerun_uploads_pays_and_downloads_nothing_and_does_not_even_ask_the_server(erase: Any, api: FakeApi) -> None:
    erase()
    before = len(api.requests)
    result = erase("--json")
    items, summary = told(result)
    assert len(api.requests) == before
    assert all(item["earlier"] for item in items.values())
    assert (result.exit_code, summary["succeeded"], summary["settled_now"], summary["cost_credits"]) == (0, 3, 0, 0.0)


def test_a_photo_that_changed_and_one_that_is_new_are_all_that_a_rerun_sends(
    erase: Any, api: FakeApi, photos: Path
) -> None:
    erase()
    add(photos, "a", "retouched")
    add(photos, "d")
    os.utime(photos / "b.jpg", ns=(1, 1))
    api.uploaded.clear()
    result = erase("--json")
    assert result.exit_code == 0
    assert sorted(api.uploaded) == ["a", "d"]
    assert len(told(result)[1]["batches"]) == 2


def test_other_params_make_a_further_batch(erase: Any, api: FakeApi, tmp_path: Path) -> None:
    erase()
    assert erase("--dilate", "20", "--format", "webp").exit_code == 0
    assert len(api.batches) == 2
    assert api.batches[max(api.batches)]["options"]["params"]["dilate_pixels"] == 20
    assert "a.webp" in saved(tmp_path / "out")


def test_a_result_that_was_deleted_is_downloaded_again_and_not_paid_for_again(
    erase: Any, api: FakeApi, tmp_path: Path
) -> None:
    erase()
    (tmp_path / "out" / "b.png").unlink()
    api.downloaded.clear()
    result = erase("--json")
    assert (api.downloaded, len(api.jobs)) == (["b"], 3)
    assert (result.exit_code, told(result)[1]["cost_credits"]) == (0, 0.0)
    assert "b.png" in saved(tmp_path / "out")


def test_files_without_a_partner_are_listed_and_the_rest_goes_on(erase: Any, api: FakeApi, photos: Path) -> None:
    (photos / "alone.jpg").write_bytes(b"x")
    (photos / "widow_mask.png").write_bytes(b"x")
    (photos / "notes.txt").write_bytes(b"x")
    (photos / ".hidden.jpg").write_bytes(b"x")
    result = erase("--json")
    assert result.exit_code == 0
    assert "alone.jpg: alone_mask.png is not there" in result.stderr
    assert [one["item"] for one in told(result)[1]["unpaired"]] == ["alone.jpg", "widow_mask.png"]
    assert len(api.uploaded) == 3


@pytest.mark.parametrize(("options", "reuse"), [([], True), (["--no-reuse"], False)])
def test_what_was_erased_before_is_paid_anew_on_request_alone(
    erase: Any, api: FakeApi, options: list[str], *, reuse: bool
) -> None:
    assert erase(*options).exit_code == 0
    assert [batch["options"]["reuse"] for batch in api.batches.values()] == [reuse]


def test_a_dry_run_touches_neither_server_nor_disk(erase: Any, api: FakeApi, tmp_path: Path) -> None:
    result = erase("--dry-run")
    assert (result.exit_code, api.requests) == (0, [])
    assert "3 pairs: 3 to send" in result.stdout
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", ["--mask-suffix=", "--dilate=101", "--format=gif", f"--name={'x' * 201}"])
def test_an_option_that_cannot_be_is_a_usage_error(erase: Any, api: FakeApi, option: str) -> None:
    result = erase(option)
    assert (result.exit_code, api.requests) == (2, [])
    assert option[2:].partition("=")[0].replace("-", "_") in result.stderr.replace("-", "_")


def test_a_folder_without_pairs_is_a_usage_error(api: FakeApi, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = CliRunner().invoke(main, ["erase", str(tmp_path / "empty"), "--out", str(tmp_path / "out")])
    assert (result.exit_code, api.requests) == (2, [])


@pytest.mark.parametrize("out", [".", ".."])
def test_results_never_go_where_the_photos_are(api: FakeApi, photos: Path, out: str) -> None:
    result = CliRunner().invoke(main, ["erase", str(photos), "--out", str(photos / out)])
    assert (result.exit_code, api.requests) == (2, [])
    assert "name another folder" in result.stderr


def test_results_in_a_subfolder_are_not_taken_for_photos(api: FakeApi, photos: Path) -> None:
    for _ in range(2):
        result = CliRunner().invoke(main, ["erase", str(photos), "--out", str(photos / "out")])
        assert result.exit_code == 0
        assert "left aside" not in result.stderr
    assert len(api.uploaded) == 3


def test_two_runs_never_share_a_folder(erase: Any, api: FakeApi, tmp_path: Path) -> None:
    with Manifest(tmp_path / "out"):
        result = erase()
    assert (result.exit_code, api.requests) == (2, [])
    assert "another run is writing into" in result.stderr
