"""How a run stands, on stderr: a live bar on a terminal, a plain line now and then anywhere else."""

import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TaskID, TextColumn
from rich.progress import Progress as Bars
from rich.text import Text

WINDOW_SECONDS = 30.0
PLAIN_EVERY_SECONDS = 5.0
PLAIN_NOTE_EVERY_SECONDS = 60.0


@dataclass(frozen=True)
class Standing:
    """Counts of pictures. ``settled`` are through, ``failed`` of these without a result; the others are on the way."""

    total: int
    settled: int = 0
    failed: int = 0
    unsent: int = 0
    queued: int = 0
    processing: int = 0
    saving: int = 0
    eta_seconds: float | None = None

    def words(self) -> str:
        parts = {
            "to upload": self.unsent,
            "queued": self.queued,
            "processing": self.processing,
            "to save": self.saving,
            "failed": self.failed,
        }
        return ", ".join(f"{count} {what}" for what, count in parts.items() if count)


class Pace:
    """Pictures a second over the last half minute."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def take(self, settled: int, now: float) -> None:
        self._seen.append((now, settled))
        while self._seen[0][0] < now - WINDOW_SECONDS:
            self._seen.popleft()

    @property
    def rate(self) -> float:
        (start, before), (end, after) = self._seen[0], self._seen[-1]
        return (after - before) / (end - start) if end > start else 0.0

    def words(self, standing: Standing) -> str:
        """Return the rate and the time still to go: by the rate, or by what the server thinks while there is none."""
        eta = standing.eta_seconds
        if self.rate:
            eta = (standing.total - standing.settled) / self.rate
        parts = [f"{self.rate:.1f}/s"] if self.rate else []
        if eta and standing.settled < standing.total:
            parts.append(f"ETA {_clock(eta)}")
        return "  ".join(parts)


class Progress:
    """Shows standings; messages stay above them. Nothing here is ever written to stdout."""

    def __init__(self, label: str, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._label = label
        self._pace = Pace()
        self._bar = _Bar(self._console) if self._console.is_terminal else None
        self._task: TaskID | None = None
        self._plain = ""
        self._plain_at = 0.0
        self._told: dict[str, float] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.note = None
            self._bar.stop()

    def say(self, text: str) -> None:
        """Write a message that stays."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def note(self, text: str | None) -> None:
        """Show what holds things up, until it is None again."""
        if self._bar:
            self._bar.note = text
        elif (
            text
            and time.monotonic() >= self._told.get(_kind(text), -PLAIN_NOTE_EVERY_SECONDS) + PLAIN_NOTE_EVERY_SECONDS
        ):
            self._told[_kind(text)] = time.monotonic()
            self.say(text)

    def show(self, standing: Standing) -> None:
        if not standing.total:
            return
        now = time.monotonic()
        self._pace.take(standing.settled, now)
        if self._bar:
            self._show_bar(self._bar, standing)
        else:
            self._show_plain(standing, now)

    def _show_bar(self, bar: "_Bar", standing: Standing) -> None:
        bar.states = standing.words()
        pace = self._pace.words(standing)
        if self._task is None:
            bar.start()
            self._task = bar.add_task(self._label, pace=pace)
        bar.update(self._task, total=standing.total, completed=standing.settled, pace=pace)

    def _show_plain(self, standing: Standing, now: float) -> None:
        text = f"{self._label} {standing.settled}/{standing.total}"
        text += "".join(f", {part}" for part in (standing.words(), self._pace.words(standing)) if part)
        over = standing.settled == standing.total
        if standing.words() + str(standing.settled) != self._plain and (over or now >= self._plain_at):
            self.say(text)
            self._plain = standing.words() + str(standing.settled)
            self._plain_at = now + PLAIN_EVERY_SECONDS


class _Bar(Bars):
    """One bar, with a line below it for the states and one for what holds things up."""

    def __init__(self, console: Console) -> None:
        self.states = ""
        self.note: str | None = None
        columns: tuple[ProgressColumn, ...] = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[pace]}"),
        )
        super().__init__(*columns, console=console, expand=True, refresh_per_second=5)

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        for text, style in ((self.states, "dim"), (self.note, "yellow")):
            if text:
                yield Text(text, style, overflow="ellipsis", no_wrap=True)


def _kind(note: str) -> str:
    """Return a note without its figures: a plain log tells each kind of trouble once a minute, not each second."""
    return "".join(letter for letter in note if not letter.isdigit())


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
