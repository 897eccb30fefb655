"""``cleanplate watch``: how a batch goes on, told and not saved."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cleanplate.cli import main
from tests.cli_runs import told
from tests.fake_api import FakeApi


def test_watch_tells_each_job_and_saves_nothing(erase: Any, api: FakeApi) -> None:
    api.fail = {"a"}
    batch_id = told(erase("--json"))[1]["batches"][0]
    api.downloaded.clear()
    result = CliRunner().invoke(main, ["watch", batch_id, "--json"])
    items, summary = told(result)
    assert result.exit_code == 1
    assert {name: item["status"] for name, item in items.items()} == {
        "a": "failed",
        "b": "succeeded",
        "deep/c": "succeeded",
    }
    assert (summary["total"], summary["out"], api.downloaded) == (3, None, [])


@pytest.mark.parametrize("command", ["watch", "download"])
def test_what_was_refused_has_failed_and_what_is_no_item_has_not(
    erase: Any, api: FakeApi, tmp_path: Path, command: str
) -> None:
    batch_id = told(erase("--json"))[1]["batches"][0]
    arguments = [command, batch_id, "--json", *(["--out", str(tmp_path / "out")] if command == "download" else [])]
    alone = {"item": "y.jpg", "code": "missing_mask", "detail": "y_mask.png is not there"}
    api.batches[batch_id]["rejected"] = [alone]
    aside = CliRunner().invoke(main, arguments)
    assert (aside.exit_code, told(aside)[1]["unpaired"]) == (0, [alone])
    assert "1 files are left aside:\n  y.jpg: y_mask.png is not there" in aside.stderr
    api.batches[batch_id]["rejected"] += [{"item": "x.jpg", "code": "mask_empty", "detail": "no pixel is marked"}]
    refused = CliRunner().invoke(main, arguments)
    items, summary = told(refused)
    assert (refused.exit_code, summary["failed"], items["x.jpg"]["error"]["code"]) == (1, 1, "mask_empty")
    assert summary["unpaired"] == [alone]
    assert "1 items were refused:\n  x.jpg: no pixel is marked" in refused.stderr


def test_watching_an_unknown_batch_is_a_usage_error(api: FakeApi) -> None:
    assert api
    assert CliRunner().invoke(main, ["watch", "bat_9999"]).exit_code == 2
