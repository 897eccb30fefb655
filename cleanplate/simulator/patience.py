"""How much CPU may still go into careful work, so that a few pictures come out well and a flood still in time."""

import time
from collections.abc import Callable

FULL = 4.0  # seconds of CPU at hand after a rest: a score of megapixels
REFILL = 0.2  # seconds regained each second: a tenth of a small machine


class Patience:
    """A bucket of seconds that careful work empties and time refills."""

    def __init__(self, ticks: Callable[[], float] = time.monotonic) -> None:
        self._ticks = ticks
        self._left = FULL
        self._at = ticks()

    @property
    def left(self) -> float:
        now = self._ticks()
        self._left = min(FULL, self._left + REFILL * (now - self._at))
        self._at = now
        return self._left

    def spend(self, seconds: float) -> None:
        self._left = self.left - seconds
