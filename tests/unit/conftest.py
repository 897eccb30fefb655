"""Commands of the CLI, as they are invoked, and our API in memory, which they talk to."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cleanplate import client_out, connection
from cleanplate.cli import connect, main, run
from tests.cli_runs import add
from tests.fake_api import FakeApi


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    """The API that every command talks to; who waits for it waits a moment."""
    api = FakeApi()
    monkeypatch.setattr(connect, "Client", lambda _url, _key, on_wait: api.client(on_wait=on_wait))
    monkeypatch.setattr(run, "TICK_SECONDS", 0.01)
    monkeypatch.setattr(run, "UPSTREAM_EVERY_SECONDS", 0.0)
    monkeypatch.setattr(run, "CREDITS_GRACE_SECONDS", 0.02)
    monkeypatch.setattr(client_out, "AGAIN_SECONDS", 0.001)
    monkeypatch.setattr(connection, "FIRST_PAUSE_SECONDS", 0.001)
    return api


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of three pairs, one of them in a folder of its own."""
    folder = tmp_path / "photos"
    for name in ("a", "b", "deep/c"):
        add(folder, name)
    return folder


@pytest.fixture
def erase(api: FakeApi, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Call it with options: erases ``photos`` into ``tmp_path / "out"``."""
    assert api

    def invoke(*options: str) -> Result:
        arguments = ["erase", str(photos), "--out", str(tmp_path / "out"), *options]
        monkeypatch.setattr(sys, "argv", [".venv/bin/cleanplate", *arguments])
        return CliRunner().invoke(main, arguments)

    return invoke
