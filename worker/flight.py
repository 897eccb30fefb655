"""A task that the upstream has accepted, as the conveyor that polls it knows it. All ages are in seconds."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import func, select

from cleanplate.db import Transaction
from cleanplate.jobs import Claimed
from cleanplate.models import Attempt, Job
from cleanplate.outcomes import Accepted, SubmitOutcome
from worker.latencies import size_class

RESULT_WINDOW_SECONDS: Final = 600.0


@dataclass(slots=True)
class Flight:
    """``first_hand`` is False for a task adopted from another worker: when it was really sent is known less well.

    ``size`` is the class of its picture. ``called`` says that the upstream has called back: the task has ended;
    ``refused``, that it did not take the key for a poll.
    """

    job_id: str
    account: str
    size: int
    polling_url: str
    accepted: float
    first_hand: bool = True
    pause: float | None = None
    garbled: int = 0
    called: bool = False
    refused: bool = False
    _pending: float = field(default=0.0)

    @classmethod
    def start(cls, job: Claimed, account: str, outcome: SubmitOutcome, sent: float) -> "Flight | None":
        """Return the flight that an accepted submit starts, which was sent at ``sent`` on the monotonic clock.

        Until a poll says Pending, the result's window counts from there: its answer may come later than the result.
        """
        if not isinstance(outcome, Accepted):
            return None
        size = size_class(job.image)
        return cls(job.id, account, size, outcome.polling_url, accepted=time.monotonic(), _pending=sent)

    @property
    def age(self) -> float:
        """Since the upstream accepted it."""
        return time.monotonic() - self.accepted

    @property
    def pending_age(self) -> float:
        """The age at which it was last known to be pending; 0 when no poll has said so."""
        return max(0.0, self._pending - self.accepted)

    def polled(self) -> None:
        """Forget what the last poll asked for."""
        self.pause = None

    def still_pending(self) -> None:
        """Remember that just now there was no result yet: the window of the result cannot have begun before."""
        self._pending = time.monotonic()
        self.garbled = 0

    @property
    def window_left(self) -> float:
        """How long the result can still be downloaded, counted from the last poll that said Pending."""
        return max(0.0, RESULT_WINDOW_SECONDS - (time.monotonic() - self._pending))


def load_flights(tx: Transaction, job_ids: Sequence[str], polling_url: Callable[[str, str], str]) -> list[Flight]:
    """Return the flights of adopted jobs. Until a poll says Pending, the window counts from the submit.

    ``polling_url`` makes, from account and id, the address of a task that is known by its callback only.
    """
    age = func.extract("epoch", func.now() - func.coalesce(Attempt.answered_at, Attempt.sent_at))
    since_sent = func.extract("epoch", func.now() - Attempt.sent_at).label("since_sent")
    rows = tx.execute(
        select(Job.id, Job.image, Attempt, age.label("age"), since_sent)
        .join(Attempt, (Attempt.job_id == Job.id) & (Attempt.number == Job.attempts))
        .where(Job.id.in_(job_ids))
    )
    now = time.monotonic()
    return [
        Flight(
            row.id,
            row.Attempt.account,
            size_class(row.image),
            row.Attempt.polling_url or polling_url(row.Attempt.account, row.Attempt.task_id or ""),
            now - float(row.age),
            first_hand=False,
            called=row.Attempt.called_at is not None,
            _pending=now - float(row.since_sent),
        )
        for row in rows
    ]
