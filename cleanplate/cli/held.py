"""When what is left of a batch does not go on, why, and what a person can do."""

from typing import Final

from cleanplate.resources import Batch, Held, Upstream

WORDS: Final[dict[Held, str]] = {
    "canary": "the canary is done: look at it, then `cleanplate release {id}` lets the rest go",
    "canary_failed": "all of the canary failed: `cleanplate cancel {id}` stops the rest, `cleanplate release {id}` not",
    "budget": "the budget is reached: `cleanplate release {id} --budget C` raises it to C credits and lets the rest go",
}


class HeldError(Exception):
    """All that is left is held on the server; the text says why, and how it is released."""


def stands_still(batch: Batch) -> bool:
    """Tell whether nothing of ``batch`` moves until it is released."""
    counts = batch.counts
    ended = counts.succeeded + counts.failed + counts.cancelled
    canary = 0 if batch.held == "budget" else batch.options.canary or 0
    return batch.held is not None and not counts.processing and ended >= canary


def words(batch: Batch) -> str:
    """Return what a person should know of a batch that is held."""
    return WORDS[batch.held].format(id=batch.id) if batch.held else ""


def in_the_way(upstream: Upstream) -> str | None:
    """Return why nothing is submitted now, or None when something is."""
    if upstream.paused:
        return f"the upstream is paused ({pauses(upstream)})"
    return None if upstream.workers else "nothing is submitted: no conveyor is alive (`cleanplate doctor` says more)"


def pauses(upstream: Upstream) -> str:
    """Return why nothing is submitted, of several accounts each under its name."""
    named = len(upstream.accounts) > 1
    return "; ".join(
        f"{account.account + ': ' if named else ''}{account.paused_reason}: {account.paused_detail}"
        for account in upstream.accounts
        if account.paused
    )
