"""The states of a job: who moves each on, who rescues it, and which moves exist at all.

This is the one source of the state machine. The database's trigger, the diagram in ARCHITECTURE.md and the labels that
people see are held against it by tests. Standard library only.
"""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """Where a job stands. The value is what the database stores and what the API shows as ``stage``."""

    IMPORTING = "importing"
    HELD = "held"
    FOLLOWING = "following"
    QUEUED = "queued"
    CLAIMED = "claimed"
    SENDING = "sending"
    UNCONFIRMED = "unconfirmed"
    INFLIGHT = "inflight"
    READY = "ready"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class InFlight(StrEnum):
    """What whoever cancels wants of a job that was submitted already: it is paid either way."""

    FINISH = "finish"
    ABANDON = "abandon"


class Hold(StrEnum):
    """Why jobs of a batch are held; ``RELEASE`` is the wish that they be let go, until it is done."""

    CANARY = "canary"
    BUDGET = "budget"
    RELEASE = "release"


class Status(StrEnum):
    """The coarse view that clients hold on to."""

    QUEUED = "queued"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Rule:
    """What a state means, where it may go, who moves it there and who does when that one dies."""

    meaning: str
    status: Status
    moves_to: frozenset[State]
    moved_by: str
    rescued_by: str


def _to(*states: State) -> frozenset[State]:
    return frozenset(states)


S = State
RULES: dict[State, Rule] = {
    S.IMPORTING: Rule(
        "its image and mask are elsewhere and will be fetched",
        Status.QUEUED,
        _to(S.HELD, S.FOLLOWING, S.QUEUED, S.FAILED, S.CANCELLED),
        "import, which fetches, checks and stores them",
        "the sweep sends it again; its starts and tries are capped",
    ),
    S.HELD: Rule(
        "not in line: the rest of a canary, or of a batch at its budget",
        Status.QUEUED,
        _to(S.FOLLOWING, S.QUEUED, S.CANCELLED),
        "the release of its batch",
        "the sweep, which carries on a release that was asked for",
    ),
    S.FOLLOWING: Rule(
        "not in line: it waits for the result of an identical job, its twin",
        Status.QUEUED,
        _to(S.QUEUED, S.SUCCEEDED, S.CANCELLED),
        "the end of its twin: it shares the result, or is the next to go",
        "the sweep, which looks at it again",
    ),
    S.QUEUED: Rule(
        "waiting its turn",
        Status.QUEUED,
        _to(S.CLAIMED, S.HELD, S.CANCELLED),
        "a conveyor claims it",
        "nobody needs to: it waits in the database",
    ),
    S.CLAIMED: Rule(
        "leased, its payload loading, no slot held",
        Status.PROCESSING,
        _to(S.SENDING, S.QUEUED, S.HELD, S.FAILED, S.CANCELLED),
        "its conveyor",
        "the lease ends: back to queued",
    ),
    S.SENDING: Rule(
        "committed before the first byte of the submit; holds a slot",
        Status.PROCESSING,
        _to(S.INFLIGHT, S.CLAIMED, S.UNCONFIRMED, S.FAILED, S.CANCELLED),
        "its conveyor",
        "the lease ends: unconfirmed",
    ),
    S.UNCONFIRMED: Rule(
        "the upstream may have it and bill it; holds a slot",
        Status.PROCESSING,
        _to(S.INFLIGHT, S.QUEUED, S.FAILED, S.CANCELLED),
        "an answer that arrives late, a callback, or the policy (resubmit or fail)",
        "the sweep, after the hold time",
    ),
    S.INFLIGHT: Rule(
        "the upstream's task id is known; holds a slot",
        Status.PROCESSING,
        _to(S.READY, S.FAILED, S.CANCELLED),
        "a poll",
        "the lease ends: another conveyor adopts it",
    ),
    S.READY: Rule(
        "the result's URL is known and its window runs",
        Status.PROCESSING,
        _to(S.SUCCEEDED, S.INFLIGHT, S.FAILED, S.CANCELLED),
        "finalize; a result that cannot be used is polled again",
        "the sweep sends it again; a conveyor finalizes it itself when it ages",
    ),
    S.SUCCEEDED: Rule("stored", Status.SUCCEEDED, _to(), "nobody", "nobody"),
    S.FAILED: Rule("over, with an error code", Status.FAILED, _to(), "nobody", "nobody"),
    S.CANCELLED: Rule("stopped on request", Status.CANCELLED, _to(), "nobody", "nobody"),
}

FIRST = (S.IMPORTING, S.HELD, S.FOLLOWING, S.QUEUED)
TERMINAL = frozenset(state for state, rule in RULES.items() if not rule.moves_to)
UNSENT = frozenset({S.IMPORTING, S.HELD, S.FOLLOWING, S.QUEUED, S.CLAIMED})
HOLDS_SLOT = frozenset({S.SENDING, S.UNCONFIRMED, S.INFLIGHT})
GOING = frozenset({S.QUEUED, S.CLAIMED, S.SENDING, S.UNCONFIRMED, S.INFLIGHT, S.READY})
LEASED = frozenset({S.CLAIMED, S.SENDING, S.INFLIGHT})
PROCESSING = frozenset(state for state, rule in RULES.items() if rule.status is Status.PROCESSING)
MOVES = frozenset((source, target) for source, rule in RULES.items() for target in rule.moves_to)


class IllegalMoveError(ValueError):
    """Somebody asked for a move that the state machine does not have: a mistake in the code, not in the data."""


def require(source: State, target: State) -> None:
    """Raise :class:`IllegalMoveError` unless ``source -> target`` is one of :data:`MOVES`."""
    if (source, target) not in MOVES:
        raise IllegalMoveError(f"a job cannot go from {source} to {target}")


def heeding(target: State, cancelling: str | None) -> State:
    """Return where a job goes in the place of ``target`` when it is to be cancelled (``cancelling``: an InFlight).

    It is not sent again. Abandoned, it ends as soon as it holds no slot: until then the upstream works on its task,
    and counts it.
    """
    if cancelling is None:
        return target
    ends = target not in HOLDS_SLOT if cancelling == InFlight.ABANDON else target in UNSENT
    return State.CANCELLED if ends else target


def states_of(status: Status) -> frozenset[State]:
    """Return the states that clients see as ``status``."""
    return frozenset(state for state, rule in RULES.items() if rule.status is status)


def mermaid() -> str:
    """Return the state diagram as Mermaid text, the one that ARCHITECTURE.md shows."""
    lines = ["stateDiagram-v2", *(f"    [*] --> {state}" for state in FIRST)]
    lines += [
        f"    {source} --> {target}" for source, rule in RULES.items() for target in State if target in rule.moves_to
    ]
    lines += [f"    {state} --> [*]" for state in State if state in TERMINAL]
    return "\n".join(lines)
