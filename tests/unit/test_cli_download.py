"""``cleanplate download``: what a batch has, saved under its names."""

from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from cleanplate.cli import main
from tests.cli_runs import saved, told
from tests.fake_api import FakeApi


def test_download_saves_a_batch_and_a_rerun_downloads_nothing(erase: Any, api: FakeApi, tmp_path: Path) -> None:
    batch_id = told(erase("--json"))[1]["batches"][0]
    api.downloaded.clear()
    arguments = ["download", batch_id, "--out", str(tmp_path / "again"), "--json"]
    first = CliRunner().invoke(main, arguments)
    assert first.exit_code == 0
    assert saved(tmp_path / "again") == {"a.png", "b.png", "deep/c.png"}
    second = CliRunner().invoke(main, arguments)
    assert sorted(api.downloaded) == ["a", "b", "deep/c"]
    assert told(second)[1]["settled_now"] == 0


def test_what_lies_in_the_folder_as_the_server_has_it_is_not_fetched_whoever_put_it_there(
    erase: Any, api: FakeApi, tmp_path: Path
) -> None:
    batch_id = told(erase("--json"))[1]["batches"][0]
    api.downloaded.clear()
    out = tmp_path / "again"
    out.mkdir()
    (out / "a.png").write_bytes((tmp_path / "out" / "a.png").read_bytes())
    assert CliRunner().invoke(main, ["download", batch_id, "--out", str(out)]).exit_code == 0
    assert sorted(api.downloaded) == ["b", "deep/c"]


def test_a_name_that_leads_out_of_the_folder_is_replaced_by_the_jobs_id(
    erase: Any, api: FakeApi, tmp_path: Path
) -> None:
    batch_id = told(erase("--json"))[1]["batches"][0]
    for job, name in zip(api.jobs.values(), ["../evil", "/evil", "a/../../evil"], strict=True):
        job["custom_id"] = name
    result = CliRunner().invoke(main, ["download", batch_id, "--out", str(tmp_path / "again")])
    assert result.exit_code == 0
    assert saved(tmp_path / "again") == {f"{id_}.png" for id_ in api.jobs}


def test_a_name_that_no_file_can_have_is_replaced_by_the_jobs_id(erase: Any, api: FakeApi, tmp_path: Path) -> None:
    batch_id = told(erase("--json"))[1]["batches"][0]
    first, second, _ = api.jobs.values()
    first["custom_id"], second["custom_id"] = "写" * 100, "写" * 80
    assert CliRunner().invoke(main, ["download", batch_id, "--out", str(tmp_path / "again")]).exit_code == 0
    assert saved(tmp_path / "again") == {f"{first['id']}.png", f"{'写' * 80}.png", "deep/c.png"}
