"""``cleanplate watch``: how a batch goes on, told and not saved."""

from typing import Any

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


def test_watch_tells_what_was_refused_too(erase: Any, api: FakeApi) -> None:
    batch_id = told(erase("--json"))[1]["batches"][0]
    api.batches[batch_id]["rejected"] = [{"item": "x.jpg", "code": "mask_empty", "detail": "no pixel is marked"}]
    result = CliRunner().invoke(main, ["watch", batch_id])
    assert "1 items were refused:\n  x.jpg: no pixel is marked" in result.stderr


def test_watching_an_unknown_batch_is_a_usage_error(api: FakeApi) -> None:
    assert api
    assert CliRunner().invoke(main, ["watch", "bat_9999"]).exit_code == 2
