"""How long a task takes, as a function of the seed and its ordinal alone, so that a bench can know it beforehand."""

import math
import random


def draw(seed: int, ordinal: int, mean: float, spread: float) -> float:
    """Return seconds, lognormal with that mean and standard deviation ``spread * mean``."""
    if not mean or not spread:
        return mean
    variance = math.log1p(spread * spread)
    chance = random.Random(f"{seed}:{ordinal}")  # noqa: S311  a simulation is to be repeatable, not unguessable
    return chance.lognormvariate(math.log(mean) - variance / 2, math.sqrt(variance))
