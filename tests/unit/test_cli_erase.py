import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from cleanplate import connection
from cleanplate.cli import connect, main, run, upload
from cleanplate.cli.manifest import NAME, Manifest
from tests.fake_api import FakeApi, problem, result_of


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    api = FakeApi()
    monkeypatch.setattr(connect, "Client", lambda _url, _key, on_wait: api.client(on_wait=on_wait))
    monkeypatch.setattr(run, "TICK_SECONDS", 0.01)
    monkeypatch.setattr(run, "UPSTREAM_EVERY_SECONDS", 0.0)
    monkeypatch.setattr(run, "CREDITS_GRACE_SECONDS", 0.02)
    monkeypatch.setattr(connection, "FIRST_PAUSE_SECONDS", 0.001)
    return api


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for name in ("a", "b", "deep/c"):
        add(folder, name)
    return folder


@pytest.fixture
def erase(api: FakeApi, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    assert api

    def invoke(*options: str) -> Result:
        arguments = ["erase", str(photos), "--out", str(tmp_path / "out"), *options]
        monkeypatch.setattr(sys, "argv", [".venv/bin/cleanplate", *arguments])
        return CliRunner().invoke(main, arguments)

    return invoke


def add(folder: Path, name: str, content: str = "") -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.jpg").write_bytes(f"image of {name}{content}".encode())
    (folder / f"{name}_mask.png").write_bytes(f"mask of {name}".encode())


def told(result: Result) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the items by their names, and the summary."""
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    items = {line["name"]: line for line in lines if line["type"] == "item"}
    assert len(items) == len(lines) - 1
    assert lines[-1]["type"] == "summary"
    return items, lines[-1]


def saved(out: Path) -> set[str]:
    return {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()} - {NAME}


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


def interrupt_at_the_seal(erase: Any, api: FakeApi) -> None:
    """Interrupt a run when all is sent and, so that it cannot have seen an end before, nothing has ended."""
    api.before = lambda request: interrupted() if request.url.path.endswith("/seal") else None
    api.finish = lambda _: False
    assert erase().exit_code == 130
    api.before, api.finish = lambda _: None, lambda _: True


def interrupted() -> None:
    raise KeyboardInterrupt


def test_what_failed_is_told_and_stays_until_it_is_asked_for_again(erase: Any, api: FakeApi, tmp_path: Path) -> None:
    api.fail, api.refuse = {"a"}, {"b"}
    first = erase("--json")
    items, summary = told(first)
    assert first.exit_code == 1
    assert (items["a"]["error"]["code"], items["b"]["error"]["code"]) == ("content_moderated", "mask_size_mismatch")
    assert "b: mask_size_mismatch: 4 x 4 and 5 x 5" in first.stderr
    assert (summary["succeeded"], summary["failed"]) == (1, 2)
    assert saved(tmp_path / "out") == {"deep/c.png"}

    second = erase()
    assert second.exit_code == 1
    assert "2 failed in an earlier run (--retry-failed sends them again)" in second.stderr
    assert api.uploaded == ["a", "deep/c"]

    api.fail, api.refuse = set(), set()
    assert erase("--retry-failed").exit_code == 0
    assert api.uploaded == ["a", "deep/c", "a", "b"]


def test_one_file_that_is_refused_as_a_whole_request_spares_the_others(erase: Any, api: FakeApi) -> None:
    def too_large(request: httpx.Request) -> httpx.Response | None:
        return problem(413, "request_too_large") if b"image of b" in request.read() else None

    api.before = too_large
    result = erase("--json")
    assert sorted(api.uploaded) == ["a", "deep/c"]
    assert told(result)[0]["b"]["error"]["code"] == "request_too_large"


def test_a_lost_answer_to_items_is_no_duplicate(erase: Any, api: FakeApi) -> None:
    def lose_once(request: httpx.Request) -> None:
        if request.url.path.endswith("/items") and api.count("POST", "/items") == 1:
            raise httpx.ReadError("cut")

    api.after = lose_once
    result = erase("--json")
    assert result.exit_code == 0
    assert sorted(api.uploaded) == ["a", "b", "deep/c"]


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


@pytest.mark.parametrize(
    ("answer", "code"),
    [(problem(401, "unauthorized"), 3), (problem(402, "out_of_credits"), 4), (httpx.ConnectError("refused"), 5)],
)
def test_the_exit_code_tells_what_is_in_the_way(
    erase: Any, api: FakeApi, monkeypatch: pytest.MonkeyPatch, answer: Any, code: int
) -> None:
    monkeypatch.setattr(api, "client", lambda **given: FakeApi.client(api, patience_seconds=0.01, **given))
    api.before = lambda _: answer
    result = erase()
    assert result.exit_code == code
    assert "resume with: " in result.stderr
    assert "cp_secret" not in result.output


def test_a_server_that_goes_away_in_the_middle_is_waited_for(erase: Any, api: FakeApi) -> None:
    away = iter([True] * 5)
    api.before = lambda request: (
        httpx.ConnectError("refused") if request.url.path.endswith("/jobs") and next(away, False) else None
    )
    result = erase()
    assert result.exit_code == 0
    assert result.stderr.count("waiting for http://api.test, up to") == 1


def test_an_upstream_without_credits_ends_the_run_once_nothing_moves(erase: Any, api: FakeApi) -> None:
    api.upstream = {"paused": True, "paused_reason": "credits", "paused_detail": "the account is empty"}
    api.finish = lambda job: job["custom_id"] == "a"
    result = erase()
    assert result.exit_code == 4
    assert api.downloaded == ["a"]
    assert "the upstream is paused (credits: the account is empty)" in result.stderr
    api.upstream = {"paused": False, "paused_reason": None, "paused_detail": None}
    api.finish = lambda _: True
    assert erase().exit_code == 0
    assert sorted(api.uploaded) == ["a", "b", "deep/c"]


def test_a_batch_that_the_server_does_not_know_is_not_silently_paid_for_again(erase: Any, api: FakeApi) -> None:
    interrupt_at_the_seal(erase, api)
    api.batches.clear()
    result = erase()
    assert (result.exit_code, len(api.uploaded)) == (2, 3)
    assert "use that server and key" in result.stderr


def test_a_pair_that_the_server_lost_is_told_and_not_waited_for(erase: Any, api: FakeApi) -> None:
    def forget(request: httpx.Request) -> None:
        if request.url.path.endswith("/items"):
            api.jobs = {id_: job for id_, job in api.jobs.items() if job["custom_id"] != "b"}

    api.after = forget
    result = erase("--json")
    assert result.exit_code == 1
    assert told(result)[0]["b"]["error"]["code"] == "lost"


def test_a_result_that_cannot_be_had_fails_this_run_and_is_fetched_by_the_next(erase: Any, api: FakeApi) -> None:
    api.before = lambda request: problem(410, "result_expired") if request.url.path.endswith("result") else None
    first = erase("--json")
    assert first.exit_code == 1
    assert {item["error"]["code"] for item in told(first)[0].values()} == {"download_failed"}
    api.before = lambda _: None
    assert erase().exit_code == 0
    assert len(api.jobs) == 3


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
    for name in ("a", "b"):
        (out / f"{name}.png").write_bytes((tmp_path / "out" / f"{name}.png").read_bytes())
    (out / "b.png").write_bytes(b"x" * (out / "b.png").stat().st_size)
    assert CliRunner().invoke(main, ["download", batch_id, "--out", str(out)]).exit_code == 0
    assert sorted(api.downloaded) == ["b", "deep/c"]
    assert (out / "b.png").read_bytes() == (tmp_path / "out" / "b.png").read_bytes()


def test_a_name_that_leads_out_of_the_folder_is_replaced_by_the_jobs_id(
    erase: Any, api: FakeApi, tmp_path: Path
) -> None:
    batch_id = told(erase("--json"))[1]["batches"][0]
    for job, name in zip(api.jobs.values(), ["../evil", "/evil", "a/../../evil"], strict=True):
        job["custom_id"] = name
    result = CliRunner().invoke(main, ["download", batch_id, "--out", str(tmp_path / "again")])
    assert result.exit_code == 0
    assert saved(tmp_path / "again") == {f"{id_}.png" for id_ in api.jobs}


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


@pytest.mark.parametrize(
    ("held", "options", "words"),
    [
        ("canary", ["--canary", "1"], "cleanplate release bat_0001` lets the rest go"),
        ("canary_failed", ["--canary", "1"], "cleanplate cancel bat_0001` stops the rest"),
        ("budget", ["--budget", "7"], "cleanplate release bat_0001 --budget C`"),
    ],
)
def test_a_run_ends_when_all_that_is_left_is_held_and_goes_on_after_the_release(
    erase: Any, api: FakeApi, held: str, options: list[str], words: str
) -> None:
    api.held = held
    api.finish = lambda job: job["custom_id"] == "a"
    result = erase(*options)
    assert result.exit_code == 6
    assert words in result.stderr
    assert "resume with: " in result.stderr
    (batch,) = api.batches.values()
    assert {"canary": batch["options"]["canary"], "budget": batch["options"]["budget_credits"]} == {
        "canary": 1 if "--canary" in options else None,
        "budget": 7.0 if "--budget" in options else None,
    }
    assert CliRunner().invoke(main, ["release", *api.batches]).exit_code == 0
    api.finish = lambda _: True
    again = erase(*options, "--json")
    assert again.exit_code == 0
    assert told(again)[1]["succeeded"] == 3
    assert len(api.batches) == 1


def test_a_run_does_not_end_while_its_canary_is_not_done(erase: Any, api: FakeApi) -> None:
    api.held = "canary"
    seen: list[httpx.Request] = []

    def release_late(request: httpx.Request) -> None:
        if request.method == "GET" and request.url.path.endswith("/bat_0001"):
            seen.append(request)
            api.held = "canary" if len(seen) < 4 else None

    api.after = release_late
    api.finish = lambda job: api.held is None or (job["custom_id"] == "a" and len(seen) > 2)
    assert erase("--canary", "2").exit_code == 0


def test_a_budget_must_be_more_than_nothing(erase: Any) -> None:
    assert erase("--budget", "0").exit_code == 2
