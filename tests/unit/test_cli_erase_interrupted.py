"""``cleanplate erase`` that was interrupted goes on where it stopped, and nothing is sent twice."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from cleanplate.cli import run, upload
from tests.cli_runs import add, interrupt_at_the_seal, saved, told
from tests.fake_api import FakeApi, result_of

MOMENTS = ["POST /v1/batches", "POST items", "POST seal", "GET bat_0001", "GET jobs", "GET result"]


@pytest.mark.parametrize("served", [False, True])
@pytest.mark.parametrize("moment", MOMENTS)
def test_an_interrupt_at_any_moment_is_resumed_and_nothing_is_sent_twice(
    erase: Any, api: FakeApi, tmp_path: Path, moment: str, served: bool
) -> None:
    method, end = moment.split()

    def interrupt(request: httpx.Request) -> None:
        if request.method == method and request.url.path.endswith(end):
            raise KeyboardInterrupt

    setattr(api, "after" if served else "before", interrupt)
    first = erase()
    assert first.exit_code == 130
    out = tmp_path / "out"
    assert f"resume with: .venv/bin/cleanplate erase {tmp_path / 'photos'} --out {out}\n" in first.stderr
    setattr(api, "after" if served else "before", lambda _: None)
    second = erase("--json")
    assert second.exit_code == 0
    assert sorted(api.uploaded) == ["a", "b", "deep/c"]
    assert saved(out) == {"a.png", "b.png", "deep/c.png"}
    assert all(batch["sealed"] for id_, batch in api.batches.items() if api.jobs_of(id_))
    assert all(not item["error"] for item in told(second)[0].values())


def test_an_interrupt_between_chunks_sends_only_the_rest_and_into_the_same_batch(
    erase: Any, api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "CHUNK_PAIRS", 1)
    monkeypatch.setattr(run, "UPLOADS", 1)

    def interrupt(_: httpx.Request) -> None:
        if api.count("POST", "/items") >= 2:
            raise KeyboardInterrupt

    api.before = interrupt
    assert erase().exit_code == 130
    assert api.uploaded == ["a"]
    api.before = lambda _: None
    assert erase().exit_code == 0
    assert sorted(api.uploaded) == ["a", "b", "deep/c"]
    assert len(api.batches) == 1


def test_a_photo_that_changed_while_its_batch_was_open_goes_into_a_batch_of_its_own(
    erase: Any, api: FakeApi, photos: Path, tmp_path: Path
) -> None:
    interrupt_at_the_seal(erase, api)
    add(photos, "a", "retouched")
    assert erase().exit_code == 0
    assert sorted(api.uploaded) == ["a", "a", "b", "deep/c"]
    assert sorted(api.downloaded) == ["a", "b", "deep/c"]
    newest = max((job for job in api.jobs.values() if job["custom_id"] == "a"), key=lambda job: job["id"])
    assert (tmp_path / "out" / "a.png").read_bytes() == result_of(newest)
    assert all(batch["sealed"] for batch in api.batches.values())


def test_a_batch_that_the_server_does_not_know_is_not_silently_paid_for_again(erase: Any, api: FakeApi) -> None:
    interrupt_at_the_seal(erase, api)
    api.batches.clear()
    result = erase()
    assert (result.exit_code, len(api.uploaded)) == (2, 3)
    assert "use that server and key" in result.stderr
