"""Rows for a person's eyes."""

import sys
from datetime import datetime

from rich import box
from rich.console import Console
from rich.table import Table


def print_table(rows: list[dict[str, str | None]]) -> None:
    """Print rows, of which there is one at least, under the names of their columns."""
    table = Table(*rows[0], box=box.SIMPLE)
    for row in rows:
        table.add_row(*(value or "" for value in row.values()))
    wide = None if sys.stdout.isatty() else 200  # a file or pipe has no edge to wrap at
    Console(markup=False, width=wide).print(table)


def moment(at: datetime | None) -> str | None:
    return at.isoformat(timespec="seconds") if at else None
