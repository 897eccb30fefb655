"""``manifest.csv``: a row an item, with the names of its files and what else there is to say about it."""

import codecs
import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from api.errors import Finding, Problem
from cleanplate.resources import Params

NAME: Final = "manifest.csv"
MANIFEST_BYTES: Final = 8 << 20
METADATA: Final = "metadata."
FILES: Final = ("image", "mask", "custom_id")


@dataclass(frozen=True, slots=True)
class Row:
    """A row: the line it began on, the names as they are written, and params and metadata where cells are filled."""

    line: int
    image: str
    mask: str
    custom_id: str
    params: dict[str, str]
    metadata: dict[str, str]

    @property
    def at(self) -> str:
        return f"{NAME}:{self.line}"

    def params_over(self, defaults: Params) -> Params:
        """Return the params of this item. Raises ``ValidationError``."""
        return Params.model_validate({**defaults.model_dump(), **self.params}) if self.params else defaults


def parse(data: bytes, rows_allowed: int) -> list[Row]:
    """Return the rows that are not empty; cells are stripped, and lines are counted from 1.

    The text is UTF-8, with or without a byte order mark, and separated by commas, or by semicolons if there is no comma
    in the first line. Raises :class:`Problem` 422 ``manifest_invalid``, whose ``errors`` name lines as ``item``.
    """
    reader = csv.reader(io.StringIO(_text(data), newline=""), delimiter=_delimiter(data), strict=True)
    try:
        columns = [cell.strip() for cell in next(reader, [])]
        if faults := list(_column_faults(columns)):
            raise _invalid(faults)
        rows: list[Row] = []
        line = reader.line_num + 1
        for cells in reader:
            if any(cell.strip() for cell in cells):
                rows.append(_row(line, columns, cells))
            if len(rows) > rows_allowed:
                raise _invalid([(line, "manifest_too_large", f"more than {rows_allowed} rows")])
            line = reader.line_num + 1
    except csv.Error as error:
        raise _invalid([(reader.line_num, "manifest_malformed", str(error))]) from None
    return rows


def words(error: ValidationError) -> str:
    """Return what is wrong with the params of a row, in a line."""
    return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors(include_url=False))


def too_large(size: int) -> Problem:
    return _invalid([(1, "manifest_too_large", f"{size} bytes; at most {MANIFEST_BYTES} are taken")])


def size_of(metadata: dict[str, Any]) -> int:
    """Return the bytes that the metadata have as JSON."""
    return len(json.dumps(metadata, ensure_ascii=False).encode())


def _text(data: bytes) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _invalid([(line, "manifest_not_utf8", "save it as UTF-8: this line has bytes that are not")]) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise _invalid([(line, "manifest_malformed", "the line has a NUL")])
    return text


def _delimiter(data: bytes) -> str:
    header = data.removeprefix(codecs.BOM_UTF8).split(b"\n", 1)[0]
    return ";" if b"," not in header and b";" in header else ","


def _column_faults(columns: Sequence[str]) -> Iterator[tuple[int, str, str]]:
    if "image" not in columns:
        yield 1, "manifest_missing_column", "the first line names the columns, and image is not among them"
    for column, times in Counter(columns).items():
        known = column in FILES or column in Params.model_fields or column.removeprefix(METADATA) not in {"", column}
        if not known:
            there = ", ".join([*FILES, *Params.model_fields, f"{METADATA}..."])
            yield 1, "manifest_unknown_column", f"there is no column {column!r}; there are {there}"
        elif times > 1:
            yield 1, "manifest_repeated_column", f"the column {column!r} is there {times} times"


def _row(line: int, columns: Sequence[str], cells: Sequence[str]) -> Row:
    if len(cells) > len(columns):
        detail = f"{len(cells)} cells for {len(columns)} columns; quote a cell that holds the separator"
        raise _invalid([(line, "manifest_malformed", detail)])
    filled = {column: cell.strip() for column, cell in zip(columns, cells, strict=False) if cell.strip()}
    return Row(
        line=line,
        image=filled.get("image", ""),
        mask=filled.get("mask", ""),
        custom_id=filled.get("custom_id", ""),
        params={name: cell for name, cell in filled.items() if name in Params.model_fields},
        metadata={name[len(METADATA) :]: cell for name, cell in filled.items() if name.startswith(METADATA)},
    )


def _invalid(faults: Sequence[tuple[int, str, str]]) -> Problem:
    errors = [Finding(item=f"{NAME}:{line}", code=code, detail=detail) for line, code, detail in faults]
    line, _, detail = faults[0]
    return Problem(422, "manifest_invalid", f"{NAME}, line {line}: {detail}.", errors=errors)
