"""When an answer is likely: the upstream's latency, learned as the work goes on."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

MEMORY: Final = 20
"""How many tasks the averages are over, at least."""
WAVE: Final = 0.75
"""The share of the tasks that begin at once after whose ends the averages take over."""
FORESEEN: Final = 5
KNOWN: Final = 10
"""So many tasks must have ended for a median to be used at all, and for it to be what is known."""
SPREAD_AT_FIRST: Final = 0.25
SPREAD_WEIGHT: Final = 0.05
CALLED_WEIGHT: Final = 0.1
FIRST_POLL: Final = -1.5
"""In standard deviations: by then 7% of the answers are there."""
FIRST_SHARE: Final = NormalDist().cdf(FIRST_POLL)
UNSEEN: Final = -0.4
"""In standard deviations: where those that are ready before the first poll lie on average, seen from it."""
LATE: Final = 2.0
"""In standard deviations: from there on so few answers are left that nothing is known of them."""
POLL_SECONDS: Final = 0.015
"""What a poll is worth, in time of a slot. At a latency of 4 s and a spread of 0.25, once it is known: 7.4 polls a job,
and each answer is seen 0.115 s late; over a first batch of 240, which begins knowing nothing, 7.8 polls and 0.118 s. No
way to place as many polls is more than 2% sooner (found by dynamic programming)."""
SLOW_SECONDS: Final = 4.0
"""Of an upstream that is slower than this an answer is seen no later, for more polls."""
STEP_LEAST: Final = 0.08
STEP_MOST: Final = 2.0
BLIND: Final = 6
BLIND_FIRST: Final = 2.4
MISSED_LEAST: Final = 0.005
"""So large a share of callbacks is always taken to be lost. Were it none, no poll would ever come before a call, and
nobody would notice that calls come later than polls would."""

_NORMAL: Final = NormalDist()


@dataclass(slots=True)
class Latency:
    """Submit-to-ready as a log-normal distribution; its two moments are exponentially weighted averages.

    ``median`` is in seconds, None before any task has ended; ``spread`` is the standard deviation of the logarithm.
    ``flying`` is how many tasks the caller is watching, ``wave`` how many there were at most in the beginning. Where
    many begin at once the quick ones end first: until most have ended, the median is foreseen from how many have by
    now, and no fewer are remembered. ``called`` is the share of tasks of whose end a callback told before a poll did:
    start it with 1 where callbacks are asked for.
    """

    median: float | None = None
    spread: float = SPREAD_AT_FIRST
    tasks: int = 0
    flying: int = 0
    wave: int = 0
    known: bool = False
    called: float = 0.0

    def recall(self, median: float | None) -> None:
        """Begin with what was learned before, if anything was: no single task outweighs it."""
        if median is not None:
            self.median, self.tasks, self.known = median, MEMORY, True

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Count a task as flying meanwhile."""
        self.flying += 1
        try:
            yield
        finally:
            self.flying -= 1

    def learn(self, age_seconds: float, pending_seconds: float = 0.0, *, called: bool = False) -> None:
        """Take in a task that was pending at one age, 0 if it was not asked before, and ready at another.

        Taken at their last poll, tasks would teach that none is ever ready before the first.
        """
        self.called += CALLED_WEIGHT * (called - self.called)
        middle = math.sqrt(age_seconds * pending_seconds) or age_seconds * math.exp(UNSEEN * self.spread)
        seconds = max(middle, STEP_LEAST)
        self.tasks += 1
        if not self.known:
            self.wave = max(self.wave, self.flying)
            self.known = self.tasks >= max(KNOWN, WAVE * self.wave)
            if self.tasks < WAVE * self.wave:
                self.median = seconds * math.exp(-_NORMAL.inv_cdf(self.tasks / (self.wave + 1)) * self.spread)
                return
        self.median = self.median or seconds
        error = math.log(seconds / self.median)
        self.median *= math.exp(error / min(self.tasks, max(MEMORY, self.flying)))
        self.spread = math.sqrt((1 - SPREAD_WEIGHT) * (self.spread**2 + SPREAD_WEIGHT * error**2))

    def next_poll(self, age_seconds: float, *, called: bool = False, stretch: float = 1.0) -> float:
        """Return in how many seconds to look at a task of this age; ``called`` when a callback said that it has ended.

        ``stretch`` makes steps so much longer, where polls are dear.
        Nothing before the first answers can be there. Then the more likely an answer is in the next moment, the shorter
        the step: of all ways to place as many polls, steps by the inverse root of the hazard see the answers soonest.
        Far behind the others the steps grow. Of the answers only those count that no callback tells of in time: the
        fewer these are, the later the first poll and the longer the steps.
        """
        if called:
            return min(STEP_MOST, max(STEP_LEAST, age_seconds / BLIND))
        rarer = 1 / math.sqrt(max(MISSED_LEAST, 1 - self.called))
        if self.median is None or not (self.known or self.tasks >= FORESEEN):
            step = age_seconds / BLIND * min(BLIND, rarer)
            return max(STEP_LEAST, min(self.median or BLIND_FIRST, BLIND_FIRST) - age_seconds, step)
        first = self.median * math.exp(_NORMAL.inv_cdf(rarer * FIRST_SHARE) * self.spread)
        if age_seconds < first:
            return max(STEP_LEAST, first - age_seconds)
        spread = max(self.spread, 0.01)
        late = min(LATE, math.log(age_seconds / self.median) / spread)
        hazard = _NORMAL.pdf(late) / (1 - _NORMAL.cdf(late)) / (spread * age_seconds)
        step = rarer * stretch * math.sqrt(2 * POLL_SECONDS * min(1.0, SLOW_SECONDS / self.median) / hazard)
        behind = max(0.0, age_seconds - self.median * math.exp((LATE + 1) * spread))
        return min(STEP_MOST, max(STEP_LEAST, step) + behind / BLIND)
