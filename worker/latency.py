"""When an answer is likely: the upstream's latency, learned as the work goes on."""

from dataclasses import dataclass
from typing import Final

WEIGHT: Final = 0.1
EARLIEST: Final = 0.5
STEP_LEAST: Final = 0.1
STEP_MOST: Final = 2.0


@dataclass(slots=True)
class Latency:
    """Mean and mean deviation of submit-to-ready, in seconds, as exponentially weighted averages."""

    mean: float | None = None
    deviation: float = 0.0

    def learn(self, seconds: float) -> None:
        """Take in one task's latency."""
        if self.mean is None:
            self.mean, self.deviation = seconds, seconds / 4
            return
        error = seconds - self.mean
        self.mean += WEIGHT * error
        self.deviation += WEIGHT * (abs(error) - self.deviation)

    def next_poll(self, age_seconds: float) -> float:
        """Return in how many seconds to look at a task of this age.

        Nothing before most answers could be there, then in steps of a sixth of the deviation, which cost a job about
        half a step of waiting; far behind the mean the steps grow, since nothing is known of such a task.
        """
        if self.mean is None:
            return max(STEP_LEAST, age_seconds / 8)
        first = max(EARLIEST, self.mean - 1.25 * self.deviation)
        if age_seconds < first:
            return first - age_seconds
        late = max(0.0, age_seconds - self.mean - 4 * self.deviation)
        return min(STEP_MOST, max(STEP_LEAST, self.deviation / 6) + late / 8)
