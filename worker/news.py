"""What the answers to submits say about their accounts: the same again, a moment later, is no news.

To take it in costs a transaction the lock of all slots and two statements, and with many slots nearly every answer says
what the one before it has said.
"""

import math
import time
from typing import Final

from cleanplate.outcomes import SubmitOutcome
from worker import meaning
from worker.writer import Effect

MOMENT_SECONDS: Final = 0.25


class News:
    """Remembers of each account what was said last, and when."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[Effect | None, float]] = {}

    def of(self, account: str, outcome: SubmitOutcome) -> Effect | None:
        """Return what the answer says about its account; None when that was said a moment ago, and nothing else since.

        Silences and refusals are news each time.
        """
        said, now = meaning.effect_of_submit(account, outcome), time.monotonic()
        last, at = self._last.get(account, (None, -math.inf))
        if said is last and now - at < MOMENT_SECONDS:
            return None
        self._last[account] = said, now
        return said
