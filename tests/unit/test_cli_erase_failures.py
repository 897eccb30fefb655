"""What goes wrong with items, with answers and with the server while ``cleanplate erase`` runs."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cli_runs import add, saved, told
from tests.fake_api import FakeApi, problem


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
    def settle(request: httpx.Request) -> None:
        api.upstream["slots_used"] -= request.url.path.endswith("/result")

    paused = {"paused": True, "paused_reason": "credits", "paused_detail": "the account is empty"}
    api.upstream = {**paused, "slots_used": 1}
    api.finish = lambda job: job["custom_id"] == "a"
    api.after = settle
    result = erase()
    assert result.exit_code == 4
    assert api.downloaded == ["a"]
    assert "the upstream is paused (credits: the account is empty)" in result.stderr
    api.upstream, api.after = {}, lambda _: None
    api.finish = lambda _: True
    assert erase().exit_code == 0
    assert sorted(api.uploaded) == ["a", "b", "deep/c"]


def test_of_several_accounts_each_tells_why_it_is_paused_and_one_without_credits_ends_the_run(
    erase: Any, api: FakeApi
) -> None:
    def account(name: str, reason: str) -> dict[str, Any]:
        slots = {"slots": 12, "slots_allowed": 12, "slots_used": 0, "latency_seconds": None}
        pause = {"paused": True, "paused_reason": reason, "paused_detail": f"no {reason}", "paused_at": None}
        return {"account": name, **slots, **pause}

    accounts = [account("archive", "access"), account("default", "credits")]
    api.upstream = {**accounts[0], "accounts": accounts}
    api.finish = lambda _: False
    result = erase()
    assert result.exit_code == 4
    assert "cleanplate: archive: access: no access; default: credits: no credits (what is left waits" in result.stderr


def test_what_cannot_be_read_fails_in_every_run_and_makes_no_batch(erase: Any, api: FakeApi, photos: Path) -> None:
    erase()
    batches = set(api.batches)
    add(photos, "d")
    (photos / "d.jpg").unlink()
    (photos / "d.jpg").symlink_to(photos / "gone.jpg")
    assert erase("--dry-run").stdout.endswith("3 done, 0 failed, 1 that cannot be read\n")
    for _ in range(2):
        result = erase("--json")
        assert (result.exit_code, told(result)[0]["d"]["error"]["code"]) == (1, "unreadable")
        assert f"d: unreadable: {photos / 'd.jpg'}: No such file or directory" in result.stderr
    assert set(api.batches) == batches


def test_a_photo_that_goes_while_others_are_sent_fails_alone(erase: Any, api: FakeApi, photos: Path) -> None:
    def lose(request: httpx.Request) -> None:
        if request.url.path == "/v1/batches":
            (photos / "b.jpg").unlink()

    api.after = lose
    result = erase("--json")
    items, summary = told(result)
    assert (result.exit_code, summary["succeeded"], items["b"]["error"]["code"]) == (1, 2, "unreadable")


def test_a_server_without_a_conveyor_is_told_while_it_is_waited_for(erase: Any, api: FakeApi) -> None:
    api.upstream, api.finish = {"workers": 0}, lambda _: False

    def come(request: httpx.Request) -> None:
        if request.url.path.endswith("/upstream"):
            api.upstream, api.finish = {}, lambda _: True

    api.after = come
    result = erase()
    assert result.exit_code == 0
    assert "nothing is submitted: no conveyor is alive (`cleanplate doctor` says more)\n" in result.stderr
