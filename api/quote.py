"""What a batch would come to: the answer to a dry run, however its items came."""

from collections.abc import Iterator, Mapping, Sequence

from api.intake import HARMLESS, Checked
from cleanplate import accounts, batches, db, reuse
from cleanplate.quoted import Quote, QuotedItem
from cleanplate.resources import BatchOptions, Rejection


def quote(tenant_id: str, good: Sequence[Checked], rejected: Sequence[Rejection], options: BatchOptions) -> Quote:
    """Return what the items that can be worked on would cost, and how long they would take.

    What is known to be the same as another costs nothing; of files that are elsewhere it is not known.
    """
    prints = [reuse.fingerprint(tenant_id, **one.tells) if one.tells and options.reuse else None for one in good]
    with db.transaction() as tx:
        price = accounts.price(tx)
        found = reuse.twins(tx, {print_ for print_ in prints if print_ is not None})
        items = list(_items(good, prints, found, price))
        paid = sum(not item.reused for item in items)
        eta = batches.eta(paid, batches.working(tx))
    grave = [one for one in rejected if one.code not in HARMLESS]
    budget = options.budget_credits
    affordable = paid if budget is None or not price else min(paid, int(budget // price))
    return Quote(
        accepted=bool(good or not options.seal) and not (options.atomic and grave),
        items=items,
        rejected=list(rejected),
        quote_credits=paid * price,
        within_budget=len(items) - paid + affordable,
        eta_seconds=eta,
    )


def _items(
    good: Sequence[Checked], prints: Sequence[str | None], found: Mapping[str, reuse.Twins], price: float
) -> Iterator[QuotedItem]:
    before = set()
    for one, print_ in zip(good, prints, strict=True):
        twins = found.get(print_) if print_ is not None else None
        reused = twins is not None or print_ in before
        yield QuotedItem(
            item=one.candidate.name,
            custom_id=one.candidate.custom_id,
            warnings=list(one.warnings),
            credits=0.0 if reused else price,
            reused=reused,
            reused_from=None if twins is None else twins.stored or twins.going,
        )
        if print_ is not None:
            before.add(print_)
