"""A contact sheet of before, mask and after: one PNG to look at, one HTML file to compare with a slider."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cleanplate.cli.demo.page import Page
from cleanplate.cli.demo.poster import Poster
from cleanplate.cli.demo.views import View, size

_ON_THE_POSTER = 60


@dataclass(frozen=True)
class Row:
    """One photograph; ``after`` is None when nothing came back, and ``note`` then says why."""

    name: str
    before: Path
    mask: Path
    after: Path | None
    note: str = ""


def write(rows: Sequence[Row], png: Path, html: Path, *, title: str, subtitle: str) -> None:
    """Write both sheets. Pictures are read one photograph after another; the PNG holds the first 60 of them.

    A picture that cannot be read shows as missing. Raises ``OSError`` when a sheet cannot be written.
    """
    shown = rows[:_ON_THE_POSTER]
    poster = Poster([size(row.before) for row in shown], title, subtitle, left_out=len(rows) - len(shown))
    with Page(html, title, subtitle) as page:
        for number, row in enumerate(rows):
            view = View.of(row.before, row.mask, row.after)
            page.add(row.name, row.note, view)
            if number < len(shown):
                poster.add(row.name, row.note, view)
    poster.save(png)
