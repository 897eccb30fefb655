"""How many jobs to have ready before a slot is: each is a payload in memory, but a slot that finds none stays empty."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from cleanplate.jobs import Claimed
from worker import seating

AHEAD_LEAST: Final = 8
AHEAD_MOST: Final = 64


class Feed:
    """Counts what a conveyor with so many ``slots`` has claimed and not yet sent."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._ahead = min(AHEAD_MOST, max(AHEAD_LEAST, slots // 4))
        self._loading = 0
        self._singles: set[str] = set()

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Count a job whose payload is being loaded."""
        self._loading += 1
        try:
            yield
        finally:
            self._loading -= 1

    def wanted(self, *, carried: int, waiting: int) -> int:
        """Return how many more jobs to claim: for the slots that free next, and for those that nobody has used yet.

        ``carried`` jobs are the conveyor's at all, and ``waiting`` of them stand in line for a slot. It is 0, or a
        power of two that is worth a transaction: each number is a statement that PostgreSQL has to get to know.
        """
        ready = self._loading + waiting
        if waiting >= self._ahead:
            return 0
        unused = self._slots - (carried - ready)
        wanted = self._ahead + min(AHEAD_MOST, unused) - ready
        return _power_of_two(wanted) if wanted >= self._ahead // 2 else 0

    def singles_wanted(self) -> int:
        """Return how many single jobs may be claimed before their turn: 0 or a power of two."""
        return _power_of_two(seating.reserve(self._slots) - len(self._singles))

    def took(self, jobs: Iterable[Claimed]) -> None:
        """Remember which of the jobs that were claimed are single ones."""
        self._singles.update(job.id for job in jobs if job.batch_id is None)

    def left(self, job_id: str) -> None:
        """Forget a job that has a slot, or is carried no more."""
        self._singles.discard(job_id)


def _power_of_two(most: int) -> int:
    """Return the largest one that is no more than ``most``; 0 if there is none."""
    return 1 << most.bit_length() - 1 if most > 0 else 0
