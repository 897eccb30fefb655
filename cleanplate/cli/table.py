"""Rows for a person's eyes."""

import sys
from datetime import datetime
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table

NO_EDGE: Final = 10_000
"""Characters in a line of a file or a pipe, which has no edge to fold at."""


def print_table(rows: list[dict[str, str | None]]) -> None:
    """Print rows, of which there is one at least, under the names of their columns; nothing of them is left out.

    The first column, which names the row, stays in one piece; the others are folded where the terminal is narrow.
    """
    table = Table(box=box.SIMPLE)
    first, *others = rows[0]
    table.add_column(first, no_wrap=True, min_width=max(len(row[first] or "") for row in rows))
    for name in others:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(value or "" for value in row.values()))
    wide = None if sys.stdout.isatty() else NO_EDGE
    Console(markup=False, width=wide).print(table)


def moment(at: datetime | None) -> str | None:
    return at.isoformat(timespec="seconds") if at else None
