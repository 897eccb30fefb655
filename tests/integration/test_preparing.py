"""What cannot be made ready is told in a line that names the settings, and no secret."""

from collections.abc import Callable

import pytest
from typer.testing import CliRunner

from cleanplate import db
from cleanplate.cli import main


def migrate() -> str:
    """Call it, which fails, and return its one line."""
    result = CliRunner().invoke(main, ["migrate"])
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    return line


def test_a_database_that_is_not_there(configure: Callable[..., None]) -> None:
    configure(DATABASE_URL="postgresql://me:swordfish@127.0.0.1:9/nothing")
    line = migrate()
    assert line.startswith("cleanplate: the database of DATABASE_URL cannot be used: ")
    assert "Connection refused" in line
    assert "swordfish" not in line


def test_a_store_that_cannot_be_made(configure: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(db, "migrate", lambda: None)
    configure(STORAGE_URL="file:///dev/null/objects")
    assert migrate().startswith("cleanplate: the store of STORAGE_URL, with the AWS_ variables, cannot be used: ")
