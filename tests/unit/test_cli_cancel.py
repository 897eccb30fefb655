"""``cleanplate cancel``, against the API in memory."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cleanplate.cli import main
from cleanplate.resources import BatchOptions
from tests.fake_api import FakeApi


@pytest.fixture
def job_ids(api: FakeApi) -> list[str]:
    """Three jobs of one batch, the last of them in flight."""
    with api.client() as client:
        batch = client.create_batch(BatchOptions(seal=False))
        files = [(f"{name}{end}", b"x") for name in "abc" for end in (".jpg", "_mask.png")]
        found = [job.id for job in client.add_items(batch.id, files).accepted]
    api.jobs[found[-1]] |= {"status": "processing", "stage": "inflight"}
    return found


def cancel(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["cancel", *arguments])


def test_a_batch_is_stopped_and_what_that_saves_is_told(api: FakeApi, job_ids: list[str]) -> None:
    (batch_id,) = api.batches
    result = cancel(batch_id)
    assert (result.exit_code, result.stdout) == (
        0,
        "2 stopped before they cost anything (about 10 credits saved); 1 in flight come to their ends\n",
    )
    assert [api.jobs[job_id]["status"] for job_id in job_ids] == ["cancelled", "cancelled", "processing"]


def test_what_is_in_flight_is_abandoned_on_request_only(api: FakeApi, job_ids: list[str]) -> None:
    result = cancel(job_ids[-1], "--abandon")
    assert result.stdout.endswith("; 1 in flight are abandoned: paid, and their results not stored\n")
    assert api.requests[-1].url.params["in_flight"] == "abandon"


def test_programs_have_the_answer_as_json(api: FakeApi, job_ids: list[str]) -> None:
    assert api
    told: dict[str, Any] = json.loads(cancel(job_ids[0], "--json").stdout)
    assert (told["id"], told["status"], told["saved"]["stopped"]) == (job_ids[0], "cancelled", 1)


@pytest.mark.parametrize(("id_", "words"), [("bat_9999", "not_found"), ("whe_1", "neither a batch")])
def test_what_is_not_there_is_a_usage_error(api: FakeApi, id_: str, words: str) -> None:
    assert api
    result = cancel(id_)
    assert result.exit_code == 2
    assert words in result.stderr
    assert "resume" not in result.stderr


def test_who_interrupts_erase_hears_how_to_stop_the_server_too(api: FakeApi, tmp_path: Path) -> None:
    for name in ("a.jpg", "a_mask.png"):
        (tmp_path / "photos").mkdir(exist_ok=True)
        (tmp_path / "photos" / name).write_bytes(b"x")

    def interrupt(request: Any) -> None:
        if request.url.path.endswith("/seal"):
            raise KeyboardInterrupt

    api.after = interrupt
    api.finish = lambda _: False  # what has ended cannot be stopped
    arguments = ["erase", str(tmp_path / "photos"), "--out"]
    stopped = CliRunner().invoke(main, [*arguments, str(tmp_path / "out")])
    (batch_id,) = api.batches
    assert f"cleanplate cancel {batch_id}" in stopped.stderr
    quiet = CliRunner().invoke(main, [*arguments, str(tmp_path / "other"), "--once"])
    assert "cleanplate cancel" not in quiet.stderr
    assert (stopped.exit_code, quiet.exit_code) == (130, 130)
