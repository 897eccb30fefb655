"""What is known of the upstream's latency: for each account, as a whole and for each size of pictures."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from worker.latency import Latency

MANY: Final = 800
"""So many tasks in flight leave a conveyor idle for half of the time; of more, each is asked about less often."""


def size_class(picture: Mapping[str, Any]) -> int:
    """Return the class of a picture of this ``width`` and ``height``: its pixels as the nearest power of two."""
    return round(math.log2(picture["width"] * picture["height"]))


@dataclass(frozen=True, slots=True)
class Learned:
    """Medians in seconds: of all tasks of an account, and of those of each size class, by its number as text."""

    seconds: float
    by_size: Mapping[str, float]


class Latencies:
    """The latencies of every account and size; ``called`` is as in :class:`Latency`."""

    def __init__(self, *, called: float = 0.0) -> None:
        self._called = called
        self._flying = 0
        self._known: dict[tuple[str, int | None], Latency] = {}

    def of(self, account: str, size: int) -> Latency:
        """Return what to expect of a task: by its size once that is known, until then by all of its account."""
        alike = self._latency(account, size)
        return alike if alike.known else self._latency(account)

    @contextmanager
    def watching(self, account: str, size: int) -> Iterator[None]:
        """Count a task as flying meanwhile."""
        self._flying += 1
        try:
            with self._latency(account).watching(), self._latency(account, size).watching():
                yield
        finally:
            self._flying -= 1

    def next_poll(self, account: str, size: int, age_seconds: float, *, called: bool) -> float:
        """Return what :meth:`Latency.next_poll` does, for as many tasks as fly now."""
        stretch = max(1.0, self._flying / MANY)
        return self.of(account, size).next_poll(age_seconds, called=called, stretch=stretch)

    def learn(self, account: str, size: int, age_seconds: float, pending_seconds: float, *, called: bool) -> None:
        """Take in a task as :meth:`Latency.learn` does."""
        for latency in (self._latency(account), self._latency(account, size)):
            latency.learn(age_seconds, pending_seconds, called=called)

    def recall(self, learned: Mapping[str, Learned]) -> None:
        """Begin with what was learned before."""
        for account, latency in learned.items():
            self._latency(account).recall(latency.seconds)
            for size, seconds in latency.by_size.items():
                self._latency(account, int(size)).recall(seconds)

    def learned(self) -> dict[str, Learned]:
        """Return what is known by now."""
        by_size: dict[str, dict[str, float]] = {account: {} for account, _ in self._known}
        for (account, size), latency in self._known.items():
            if size is not None and latency.known and latency.median is not None:
                by_size[account][str(size)] = latency.median
        medians = {account: self._latency(account).median for account in by_size}
        return {account: Learned(median, by_size[account]) for account, median in medians.items() if median is not None}

    def _latency(self, account: str, size: int | None = None) -> Latency:
        """Return the latency of one size, or of all together; a size that is new counts on callbacks as its account."""
        latency = self._known.get((account, size))
        if latency is None:
            called = self._called if size is None else self._latency(account).called
            latency = self._known[account, size] = Latency(called=called)
        return latency
