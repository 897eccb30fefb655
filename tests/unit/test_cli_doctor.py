import re
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner, Result

from cleanplate import settings
from cleanplate.cli import main
from tests.fake_api import FakeApi, problem


@pytest.fixture
def api(api: FakeApi, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeApi:
    for name in ("DATABASE_URL", "REDIS_URL", "STORAGE_URL", "BFL_API_KEY", "BFL_API_KEYS", "CLEANPLATE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLEANPLATE_DATA_DIR", str(tmp_path))
    settings.get.cache_clear()
    well(api)
    return api


def well(api: FakeApi, status: int = 200, **checks: str) -> None:
    """Let what the API leans on be well, but for these."""
    told = {"checks": {"database": "ok", "store": "ok", "broker": "ok"} | checks}
    api.before = lambda request: httpx.Response(status, json=told) if request.url.path == "/readyz" else None


def doctor() -> Result:
    try:
        return CliRunner().invoke(main, ["doctor"])
    finally:
        settings.get.cache_clear()


def test_all_well_is_a_line_each_and_zero(api: FakeApi) -> None:
    assert api
    result = doctor()
    assert result.exit_code == 0
    assert {line[:2] for line in result.stdout.splitlines()} == {"ok"}
    for part in ("cleanplate", "postgresql", "redis", "store", "upstream", "api", "key", "conveyors"):
        assert f"ok  {part:<11} " in result.stdout


def test_a_server_that_is_not_there_is_told_without_waiting_for_it(api: FakeApi) -> None:
    api.before = lambda _: httpx.ConnectError("refused")
    result = doctor()
    assert (result.exit_code, len(api.requests)) == (1, 1)
    assert "!!  api" in result.stdout


def test_a_refused_key_and_a_pause_are_told(api: FakeApi) -> None:
    ready = api.before
    api.before = lambda request: ready(request) or problem(401, "unauthorized")
    assert "!!  key         refused" in doctor().stdout
    api.before = ready
    api.upstream = {"paused": True, "paused_reason": "credits", "paused_detail": "empty"}
    result = doctor()
    assert result.exit_code == 1
    assert "!!  conveyors   paused (credits: empty), 0 of 24 slots in use (top the account up" in result.stdout


@pytest.mark.parametrize("reason", ["access", "credits", "unreachable", "unanswered", "manual"])
def test_every_pause_is_told_with_what_to_do_about_it(api: FakeApi, reason: str) -> None:
    api.upstream = {"paused": True, "paused_reason": reason, "paused_detail": "so it is"}
    (line,) = [line for line in doctor().stdout.splitlines() if "conveyors" in line]
    assert re.search(rf"paused \({reason}: so it is\), .* in use \(.+\)", line)


def test_without_a_conveyor_all_is_not_well(api: FakeApi) -> None:
    api.upstream = {"workers": 0}
    result = doctor()
    assert result.exit_code == 1
    assert "!!  conveyors   submitting, 0 of 24 slots in use; none is alive (nothing is submitted" in result.stdout


@pytest.mark.parametrize("part", ["store", "broker"])
def test_a_part_that_the_api_misses_is_told_with_what_names_it(api: FakeApi, part: str) -> None:
    well(api, 503 if part == "store" else 200, **{part: "away"})
    result = doctor()
    assert result.exit_code == 1
    assert re.search(rf"!!  {part} +away, says the API \(.*_URL", result.stdout)
    assert "ok  conveyors" in result.stdout


def test_without_the_database_nothing_more_is_asked(api: FakeApi) -> None:
    well(api, 503, database="at migration 0004, not 0019")
    result = doctor()
    assert (result.exit_code, len(api.requests)) == (1, 1)
    assert "!!  database    at migration 0004, not 0019, says the API (`cleanplate migrate`" in result.stdout


def test_what_is_no_cleanplate_api_is_told(api: FakeApi) -> None:
    api.before = lambda _: httpx.Response(200, html="<h1>Welcome to nginx!</h1>")
    assert "does not answer as a cleanplate API" in doctor().stdout


def test_what_is_left_on_the_account_is_told(api: FakeApi) -> None:
    api.upstream = {"balance_credits": 18250.5}
    assert "0 of 24 slots in use, 18,250 credits left; 1 of them alive" in doctor().stdout


def test_each_of_several_accounts_is_told_by_its_name_and_without_its_key(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BFL_API_KEYS", "studio=hunter2;slots=48,archive=hunter3;region=eu")
    one = {"account": "studio", "slots": 48, "slots_allowed": 48, "slots_used": 7, "latency_seconds": 4.0}
    pause = {"paused": True, "paused_reason": "access", "paused_detail": "403", "paused_at": None}
    api.upstream = {"accounts": [{**one, **pause, "paused": False}, {**one, **pause, "account": "archive"}]}
    settings.get.cache_clear()
    result = doctor()
    assert "hunter" not in result.output
    for line in (
        "ok  upstream    studio: https://api.bfl.ai, 48 tasks at once",
        "ok  upstream    archive: https://api.eu.bfl.ai, 24 tasks at once",
        "ok  account     studio: submitting, 7 of 48 slots in use",
        "!!  account     archive: paused (access: 403), 7 of 48 slots in use",
    ):
        assert line in result.stdout


def test_urls_are_shown_without_their_secrets(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    assert api
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:hunter2@db.test:5432/clean?password=hunter2")
    monkeypatch.setenv("REDIS_URL", "redis://:hunter2@cache.test/0")
    settings.get.cache_clear()
    result = doctor()
    assert "hunter2" not in result.output
    assert "postgresql://db.test:5432/clean, by DATABASE_URL" in result.stdout
