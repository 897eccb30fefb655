"""Rows for a person: whatever the width, nothing of them is left out."""

import re
import sys

import pytest

from cleanplate.cli.table import print_table

ROWS: list[dict[str, str | None]] = [
    {"id": f"dlv_{number:032x}", "about": f"job_{number:032x}", "last": "the receiver answered 500 " * 8}
    for number in range(3)
]


def test_a_pipe_gets_a_line_a_row_and_every_value_in_one_piece(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(ROWS)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.lstrip().startswith("dlv_")]
    assert [line.split()[:2] for line in lines] == [[row["id"], row["about"]] for row in ROWS]
    assert all(str(row["last"]).strip() in line for row, line in zip(ROWS, lines, strict=True))


def test_a_narrow_terminal_folds_all_but_what_names_the_row(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    print_table(ROWS)
    told = re.sub(r"\x1b\[\d*m", "", capsys.readouterr().out)
    assert all(str(row["id"]) in told for row in ROWS)
    assert "\u2026" not in told
    assert all(len(line) <= 80 for line in told.splitlines())
