"""What the histories of ``tests/unit/test_histories.py`` happen to: rows in memory, a clock of its own, paid tasks."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from hypothesis.stateful import RuleBasedStateMachine

from cleanplate import jobs
from cleanplate.jobs import Change
from cleanplate.outcomes import NotFound, Pending, PollOutcome, ResultReady
from cleanplate.states import HOLDS_SLOT, LEASED, TERMINAL, State, heeding, require
from worker.conveyor import LEASE_SECONDS
from worker.flight import RESULT_WINDOW_SECONDS, Flight

CAP = 3
JOBS = ("a", "b", "c", "d", "e", "f")
WORKERS = ("w1", "w2")
HOLD_SECONDS = 30.0
TIMEOUT_SECONDS = 540.0
LATENCIES = (0.5, 4.0, 60.0)

clock = SimpleNamespace(now=0.0)


@dataclass
class Task:
    """What the upstream was paid for."""

    job_id: str
    ends_at: float

    def seen(self) -> PollOutcome:
        """Return what a poll says now."""
        if clock.now < self.ends_at:
            return Pending()
        if clock.now > self.ends_at + RESULT_WINDOW_SECONDS:
            return NotFound()
        return ResultReady("http://127.0.0.3/x.png", None)


@dataclass
class Request:
    """A submit on the wire. It reaches the upstream or not, whatever becomes of who sent it."""

    worker: str
    job_id: str
    number: int
    sent: float
    task: Task | None = None


class World(RuleBasedStateMachine):
    """Rows, leases, the wire and what the upstream was paid for; what happens to them is up to who extends it."""

    def __init__(self) -> None:
        super().__init__()
        clock.now = 0.0
        self.rows = {id_: self.row(id_) for id_ in JOBS}
        self.leases = dict.fromkeys(WORKERS, LEASE_SECONDS)
        self.asleep: set[str] = set()
        self.wire: list[Request] = []
        self.tasks: dict[str, Task] = {}
        self.heard: dict[str, tuple[float, float]] = {}
        self.flights: dict[tuple[str, str], Flight] = {}
        self.paid: Counter[str] = Counter()
        self.resent: Counter[str] = Counter()
        self.ends: Counter[str] = Counter()
        self.never: dict[str, int] = {}

    @staticmethod
    def row(id_: str) -> Any:
        nothing = dict.fromkeys(("owner", "due_at", "window_ends", "cancelling"))
        return SimpleNamespace(id=id_, state=State.QUEUED, fetches=0, attempts=0, **nothing)

    # -- what the database does ----------------------------------------------------------------------------------------

    def apply(self, change: Change) -> bool:
        """Do with a row in memory what ``jobs.apply`` does with one in the database."""
        for source in change.sources:
            require(source, change.target)
        row = self.rows[change.job_id]
        same = change.owner in {None, row.owner} and change.number in {None, row.attempts}
        if row.state not in change.sources or not same:
            return False
        assert change.owner in {None, row.owner}, "who is late changes nothing that is another's by now"
        heeds = heeding(change.target, row.cancelling) is not change.target
        columns = dict(jobs.CANCELLED if heeds else jobs._columns(change))
        require(row.state, columns["state"])
        for name in {"due_at", "window_ends"} & columns.keys():
            columns[name] = None if columns[name] is None else clock.now + columns[name]
        vars(row).update(columns, since=clock.now)
        self.ends[row.id] += row.state in TERMINAL
        return True

    def free(self) -> bool:
        return sum(row.state in HOLDS_SLOT for row in self.rows.values()) < CAP

    def alive(self, worker: str | None) -> bool:
        return worker is not None and self.leases.get(worker, -1.0) > clock.now

    def some(self, number: int, holds: Callable[[Any], bool]) -> Any:
        found = [row for row in self.rows.values() if holds(row)]
        return found[number % len(found)] if found else None

    def rescue(self, worker: str) -> None:
        for row in self.rows.values():
            if row.state not in LEASED or row.owner == worker or self.alive(row.owner):
                continue
            if row.state is State.CLAIMED:
                assert self.apply(Change(row.id, frozenset({State.CLAIMED}), State.QUEUED, "lease ended"))
            elif row.state is State.SENDING:
                assert self.apply(jobs.unconfirmed(row.id, "died", HOLD_SECONDS))
            else:
                row.owner = worker
                sent, accepted = self.heard[row.id]
                self.flights[worker, row.id] = Flight(
                    row.id, "default", 20, "", accepted, first_hand=False, _pending=sent
                )
