from pathlib import Path

import pytest

from cleanplate import settings
from cleanplate.cli import connect as module
from cleanplate.cli.connect import connect
from cleanplate.cli.exits import UsageError
from cleanplate.cli.progress import Progress


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str, str | None]]:
    """Address and key of each client that was made."""
    made: list[tuple[str, str | None]] = []
    monkeypatch.setattr(module, "Client", lambda url, key, on_wait: made.append((url, key)) or on_wait)
    for name in ("CLEANPLATE_API_KEY", "CLEANPLATE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLEANPLATE_DATA_DIR", str(tmp_path))
    (tmp_path / "api-key").write_text("cp_local\n")
    monkeypatch.setattr(settings, "get", settings.Settings)
    return made


def test_the_key_of_the_stack_on_this_machine_is_found_by_itself(keys: list[tuple[str, str | None]]) -> None:
    connect(None, Progress(""))
    assert keys == [("http://127.0.0.1:8000", "cp_local")]


def test_it_is_never_sent_to_another_machine(keys: list[tuple[str, str | None]]) -> None:
    connect("https://clean.example.com", Progress(""))
    assert keys == [("https://clean.example.com", None)]


@pytest.mark.parametrize("url", ["http://127.0.0.1.example.com:80", "https://localhost.example.com"])
def test_nor_to_one_that_only_looks_like_this_one(keys: list[tuple[str, str | None]], url: str) -> None:
    connect(url, Progress(""))
    assert keys == [(url, None)]


def test_a_key_that_is_set_goes_before_it(keys: list[tuple[str, str | None]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEANPLATE_API_KEY", "cp_mine")
    connect("http://localhost:9", Progress(""))
    assert keys == [("http://localhost:9", "cp_mine")]


@pytest.mark.parametrize("url", ["not a url", "ftp://x", "http://", "http://x:port", "http://localhost:80@example.com"])
def test_what_is_no_address_is_a_usage_error(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEANPLATE_API_KEY", "cp_mine")
    with pytest.raises(UsageError, match="http"):
        connect(url, Progress(""))
