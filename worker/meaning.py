"""From outcomes to changes: the one place that says what an answer of the upstream does to a job."""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, Final, assert_never

from cleanplate import accounts
from cleanplate.db import Transaction
from cleanplate.jobs import Change, unconfirmed
from cleanplate.outcomes import (
    Accepted,
    Blocked,
    Ended,
    ErrorCode,
    Garbled,
    NoAnswer,
    NotAccepted,
    NotFound,
    Pending,
    PollOutcome,
    Rejected,
    ResultReady,
    SubmitOutcome,
    Unconfirmed,
)
from cleanplate.states import State
from worker import capacity
from worker.flight import Flight

CLAIMED: Final = frozenset({State.CLAIMED})
SENDING: Final = frozenset({State.SENDING})
UNCONFIRMED: Final = frozenset({State.UNCONFIRMED})
INFLIGHT: Final = frozenset({State.INFLIGHT})
RESEND_SECONDS: Final = 3.0
NOT_FOUND_GRACE_SECONDS: Final = 30.0
GARBLED_ALLOWED: Final = 3
BLIND_PAUSE_SECONDS: Final = 1.0


def failed(
    job_id: str, sources: frozenset[State], code: ErrorCode, detail: str, owner: str | None = None, **more: Any
) -> Change:
    """Return the change that ends a job with an error."""
    values = {"error_code": code, "error_detail": detail}
    return Change(job_id, sources, State.FAILED, f"{code}: {detail}", owner, values, **more)


def of_submit(job_id: str, number: int, outcome: SubmitOutcome, worker: str, hold_seconds: float) -> Change:
    """Return what the answer to the attempt of this number does to the job that was being sent."""
    return replace(_of_submit(job_id, outcome, worker, hold_seconds), number=number)


def _of_submit(job_id: str, outcome: SubmitOutcome, worker: str, hold_seconds: float) -> Change:
    match outcome:
        case Accepted():
            return Change(job_id, SENDING, State.INFLIGHT, "accepted", worker, {"owner": worker}, _paid(outcome))
        case NotAccepted(detail) | Blocked(_, detail):
            ledger = {"outcome": "not_accepted", "detail": detail, "answered_at": 0.0}
            keep = {"owner": worker, "account": None}
            return Change(job_id, SENDING, State.CLAIMED, detail, worker, keep, ledger)
        case Rejected(code, detail):
            ledger = {"outcome": "rejected", "detail": detail, "answered_at": 0.0}
            return failed(job_id, SENDING, code, detail, worker, attempt=ledger)
        case Unconfirmed(detail):
            return unconfirmed(job_id, detail, hold_seconds, worker)
    assert_never(outcome)


def late_acceptance(job_id: str, number: int, outcome: Accepted, worker: str) -> Change:
    """Return the change for an acceptance that comes after the job became unconfirmed: it is paid, so use it."""
    owner, told = {"owner": worker}, _paid(outcome)
    return Change(job_id, UNCONFIRMED, State.INFLIGHT, "accepted", values=owner, attempt=told, number=number)


def _paid(outcome: Accepted) -> dict[str, Any]:
    return {
        "outcome": "accepted",
        "detail": None,
        "answered_at": 0.0,
        "task_id": outcome.task_id,
        "polling_url": outcome.polling_url,
        "cost_credits": outcome.cost,
    }


def effect_of_submit(account: str, outcome: SubmitOutcome) -> Callable[[Transaction], None]:
    """Return what the answer to a submit says about its account as a whole."""
    match outcome:
        case NotAccepted(_, over_limit=True, retry_after=seconds):
            return partial(capacity.limit_hit, account=account, retry_after=seconds)
        case NotAccepted(detail):
            return partial(accounts.pause, account=account, reason="unreachable", detail=detail)
        case Blocked(reason, detail):
            return partial(accounts.pause, account=account, reason=reason, detail=detail)
        case Accepted(cost=cost):
            return _answered(account, cost)
        case Rejected():
            return _answered(account, None)
        case Unconfirmed():
            return partial(accounts.unanswered, account=account)
    assert_never(outcome)


@lru_cache
def _answered(account: str, cost: float | None) -> Callable[[Transaction], None]:
    """Return the same effect for the same account: however many answers come together, it happens once."""
    return partial(accounts.answered, account=account, cost=cost)


def of_poll(flight: Flight, outcome: PollOutcome, worker: str, timeout_seconds: float) -> Change | None:
    """Return what the answer to a poll does to the job, or None when there is nothing to do but to look again."""
    job_id = flight.job_id
    match outcome:
        case ResultReady(sample_url, cost):
            ledger = {"cost_credits": cost} if cost is not None else {}
            ready = {"sample_url": sample_url}
            return Change(
                job_id, INFLIGHT, State.READY, "ready", worker, ready, ledger, RESEND_SECONDS, flight.window_left
            )
        case Ended(code, detail):
            return failed(job_id, INFLIGHT, code, detail, worker)
        case NotFound() if flight.age > NOT_FOUND_GRACE_SECONDS:
            return failed(job_id, INFLIGHT, ErrorCode.TASK_NOT_FOUND, "the upstream does not know the task", worker)
        case Garbled(detail):
            flight.garbled += 1
            if flight.garbled >= GARBLED_ALLOWED:
                return failed(job_id, INFLIGHT, ErrorCode.UPSTREAM_CHANGED, detail, worker)
            flight.pause = BLIND_PAUSE_SECONDS
        case NoAnswer(_, retry_after):
            flight.pause = BLIND_PAUSE_SECONDS if retry_after is None else retry_after
        case Blocked() | NotFound():
            flight.pause = BLIND_PAUSE_SECONDS
        case Pending():
            flight.still_pending()
        case _:
            assert_never(outcome)
    if flight.age > timeout_seconds:
        why = f" ({outcome.detail})" if isinstance(outcome, Blocked | NoAnswer) else ""
        detail = f"no end after {timeout_seconds:g} s{why}"
        return failed(job_id, INFLIGHT, ErrorCode.UPSTREAM_TIMEOUT, detail, worker)
    return None


def effect_of_poll(flight: Flight, outcome: PollOutcome) -> Callable[[Transaction], None] | None:
    """Return what the answer to a poll says about the task's account as a whole, or None.

    That the key is refused it says once, and once that it is taken again. Of a task adopted from another worker a
    refusal says nothing: it may be another key's.
    """
    if isinstance(outcome, NoAnswer | Garbled) or isinstance(outcome, Blocked) is flight.refused:
        return None
    if isinstance(outcome, Blocked):
        if not flight.first_hand:
            return None
        flight.refused = True
        return partial(accounts.pause, account=flight.account, reason=outcome.reason, detail=outcome.detail)
    flight.refused = False
    return partial(accounts.admitted, account=flight.account)
