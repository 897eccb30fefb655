"""What a run says on stdout.

With ``--json`` an object a line: each picture as it is settled, and a summary at the end. Without, a summary in words.
"""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import typer

from cleanplate.cli.manifest import ItemLine
from cleanplate.resources import Rejection
from cleanplate.states import Status

SHOWN = 20


class Report:
    """Counts what was settled; ``as_json`` writes it as JSON lines."""

    def __init__(self, *, as_json: bool) -> None:
        self._json = as_json
        self._started = time.monotonic()
        self._credits = 0.0
        self.succeeded = 0
        self.fresh = 0
        self.failures: list[ItemLine] = []
        self._warned: dict[str, list[str]] = {}
        self._changed: list[str] = []

    def item(self, line: ItemLine, *, earlier: bool = False) -> None:
        """Take a settled picture; ``earlier`` when an earlier run had settled it."""
        if line.status is Status.SUCCEEDED and not line.error:
            self.succeeded += 1
        else:
            self.failures.append(line)
        if line.changed:
            self._changed.append(line.name)
        if not earlier:
            self.fresh += 1
            self._credits += line.cost_credits
        if self._json:
            shown = line.model_dump(mode="json", exclude={"kind", "image", "mask", "content"})
            content = line.content.model_dump(exclude={"mtime_ns"}) if line.content else {"sha256": None, "bytes": None}
            typer.echo(json.dumps({"type": "item", **shown, **content, "earlier": earlier}))

    def warn(self, line: ItemLine) -> list[str]:
        """Take the warnings of a picture, and return those of a kind that no picture before it had."""
        before = set(self._warned)
        count(line.name, line.warnings, self._warned)
        return [warning for warning in line.warnings if _kind(warning) not in before]

    def summary(self, *, out: Path | None, batches: Sequence[str], alone: Sequence[Rejection] = ()) -> None:
        """End the report. ``out`` is None when nothing was saved."""
        seconds = time.monotonic() - self._started
        if self._json:
            told = {
                "total": self.succeeded + len(self.failures),
                "succeeded": self.succeeded,
                "failed": len(self.failures),
                "settled_now": self.fresh,
                "seconds": round(seconds, 2),
                "cost_credits": self._credits,
                "out": str(out) if out else None,
                "batches": list(batches),
                "unpaired": [rejection.model_dump() for rejection in alone],
            }
            typer.echo(json.dumps({"type": "summary", **told}))
        else:
            for text in counted(self._warned):
                typer.echo(text, err=True)
            if self._changed:
                heading = (
                    f"{len(self._changed)} were changed since they were saved, and stay (delete one to have it again):"
                )
                typer.echo(listed(heading, self._changed), err=True)
            typer.echo(self._words(seconds, out))

    def _words(self, seconds: float, out: Path | None) -> str:
        parts = [f"{self.succeeded} erased" + (f" in {out}" if out else "")]
        if self.failures:
            parts.append(f"{len(self.failures)} failed")
        if self.fresh:
            rate = self.fresh / max(seconds, 0.001)
            parts.append(f"{self.fresh} of them now, in {seconds:.1f} s ({rate:.1f}/s)")
            parts.append(f"they cost {self._credits:g} credits")
        else:
            parts.append("nothing new was erased")
        return "; ".join(parts)


def count(name: str, warnings: Sequence[str], kinds: dict[str, list[str]]) -> None:
    """Add the name of a picture to each of the ``kinds`` of its warnings."""
    for warning in warnings:
        kinds.setdefault(_kind(warning), []).append(name)


def counted(kinds: Mapping[str, Sequence[str]]) -> list[str]:
    """Return each kind of warning with the names of the pictures that have it."""
    return [listed(f"{len(names)} with the warning {kind}:", names) for kind, names in kinds.items()]


def _kind(warning: str) -> str:
    return warning.partition(":")[0]


def described(line: ItemLine) -> str:
    why = f"{line.error.code}: {line.error.detail}" if line.error else str(line.status)
    return f"{line.name}: {why}"


def listed(what: str, lines: Sequence[str]) -> str:
    """Return a heading and ``lines`` below it, cut off after the first twenty."""
    more = [f"... and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return "\n  ".join([what, *lines[:SHOWN], *more])
