"""What a batch would come to: the answer to a dry run, however its items came."""

from collections.abc import Sequence

from api.intake import HARMLESS, Candidate
from cleanplate import accounts, batches, db
from cleanplate.quoted import Quote, QuotedItem
from cleanplate.resources import BatchOptions, Rejection


def quote(
    good: Sequence[tuple[Candidate, Sequence[str]]], rejected: Sequence[Rejection], options: BatchOptions
) -> Quote:
    """Return what the items that can be worked on, each with its warnings, would cost, and how long they would take."""
    with db.transaction() as tx:
        price = accounts.price(tx)
        eta = batches.eta(len(good), batches.working(tx))
    grave = [one for one in rejected if one.code not in HARMLESS]
    budget = options.budget_credits
    return Quote(
        accepted=bool(good or not options.seal) and not (options.atomic and grave),
        items=[
            QuotedItem(item=one.name, custom_id=one.custom_id, warnings=list(warnings), credits=price)
            for one, warnings in good
        ],
        rejected=list(rejected),
        quote_credits=len(good) * price,
        within_budget=len(good) if budget is None or not price else min(len(good), int(budget // price)),
        eta_seconds=eta,
    )
