"""How long jobs stood still: what a story's events say about its kills and outages."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby, pairwise
from typing import NamedTuple

from cleanplate.states import LEASED, State

WORKING = (LEASED - {State.CLAIMED}) | {State.READY}
"""The states in which a job that nobody moves stands still; one that is claimed waits for a slot."""


class Event(NamedTuple):
    """What happened to a job, and which conveyor did it: ``HOST:PID:RANDOM``."""

    job_id: str
    state: str
    reason: str
    at: datetime
    worker: str | None


@dataclass(frozen=True)
class Kill:
    """A worker's end. ``role`` is ``conveyor``, ``finalizer`` or ``notifier``; ``storing`` are jobs it had begun."""

    at: float
    pid: int
    role: str
    storing: frozenset[str] = frozenset()


def after_kills(events: Sequence[Event], kills: Sequence[Kill], began: Mapping[int, float]) -> list[float]:
    """Return, for each job that a killed worker held, the seconds from the kill until somebody else moved it.

    Who leases a job holds it, and a finalizer those results that it has begun to store. A job that waits for its turn,
    or for the policy to decide, is held by nobody. When a later kill left no worker of that role,
    the time counts from there. ``began`` tells since when conveyors carried jobs, by pid: one killed before never did.
    """
    held = [(kill, then) for kill in kills for last, then in _steps(events) if _held(kill, last, then)]
    return [_at(then) - _counts_from(kill, _at(then), kills, began) for kill, then in held]


def _held(kill: Kill, last: Event, then: Event) -> bool:
    leased = last.state in LEASED and _pid(last) == kill.pid and then.worker != last.worker
    begun = last.job_id in kill.storing and last.state == State.READY and _at(last) <= kill.at
    return (leased or begun) and kill.at < _at(then)


def _counts_from(kill: Kill, moved: float, kills: Sequence[Kill], began: Mapping[int, float]) -> float:
    of_role = [other for other in kills if other.role == kill.role and kill.at <= other.at < moved]
    return max(other.at for other in of_role if other == kill or not _carries(other.at, kills, began))


def _carries(now: float, kills: Sequence[Kill], began: Mapping[int, float]) -> bool:
    """Tell whether any conveyor carries jobs; of the other roles there is one worker each."""
    dead = {kill.pid for kill in kills if kill.at <= now}
    return any(start <= now and pid not in dead for pid, start in began.items())


def after_outages(events: Sequence[Event], ends: Sequence[float]) -> list[float]:
    """Return, for each job that was under way when an outage ended, the seconds from then until its next step."""
    return [
        _at(then) - end
        for end in ends
        for last, then in _steps(events)
        if last.state in WORKING and _at(last) <= end <= _at(then)
    ]


def _steps(events: Sequence[Event]) -> Iterator[tuple[Event, Event]]:
    for _, of_job in groupby(sorted(events, key=lambda event: event.job_id), lambda event: event.job_id):
        yield from pairwise(of_job)


def _pid(event: Event) -> int | None:
    return int(event.worker.split(":")[1]) if event.worker else None


def _at(event: Event) -> float:
    return event.at.timestamp()
