"""What the command line says of itself."""

from importlib.metadata import version

import pytest
from typer.testing import CliRunner

from cleanplate.cli import main


def told(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    monkeypatch.setenv("COLUMNS", "100")
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0
    return result.stdout


def test_paragraphs_are_wrapped_where_the_terminal_ends_and_not_where_our_lines_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    paragraph = told(monkeypatch, "up", "--help").partition("What is in DATABASE_URL")[2].partition("Options")[0]
    *lines, _ = filter(None, map(str.strip, paragraph.splitlines()[:-1]))
    assert len(lines) > 1
    assert min(map(len, lines)) > 70


def test_the_version_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(monkeypatch, "--version") == f"cleanplate {version('cleanplate')}\n"
