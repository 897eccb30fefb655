"""Reuse: the same pixels, mask and params of one tenant are not paid for again.

Jobs with one fingerprint are twins. Of twins one goes, and those that come while it does, or while its result is
stored, follow it: they are in no line and hold no slot, and end with its result. Who goes is decided where jobs come to
the queue, under the lock of their tenant's line, so of two that come at once one sees the other. Whoever goes stands in
line no later than those that follow it would.

The sweep sees to those that follow, see ``worker.twins``. Each is due at once, for its twin may end, or have ended
long before, while it is written.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from sqlalchemy import ARRAY, ColumnElement, Select, Text, bindparam, func, literal_column, select, true

from cleanplate import deletion, order, settings
from cleanplate.db import Transaction
from cleanplate.models import Batch, Job, Tenant
from cleanplate.resources import Params
from cleanplate.states import GOING, State

RECIPE: Final = 1
"""What is done with a pair, by number: raise it when a new release makes another result of the same pair."""
DAY_SECONDS: Final = 86_400.0


def fingerprint(tenant_id: str, image: Mapping[str, Any], mask: Mapping[str, Any], params: Mapping[str, Any]) -> str:
    """Return what is equal, as SHA-256 in hex, for jobs that would have the same result and no others.

    ``image`` and ``mask`` are the facts of the uploaded files, of which their ``sha256`` counts. A seed of null is a
    seed as any other: the upstream draws its own, and one draw is as good as the next. Another upstream, as a simulator
    is one, would give another result. The tenant is in it, so jobs of two tenants are never twins.
    """
    made_of = {
        "recipe": RECIPE,
        "upstream": urlsplit(settings.get().bfl_base_url).hostname,
        "tenant": tenant_id,
        "image": image["sha256"],
        "mask": mask["sha256"],
        "params": Params(**params).model_dump(),
    }
    return sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()


# -- whose turn it is, and who follows ---------------------------------------------------------------------------------


class Newcomer(NamedTuple):
    """A job that may go; without ``reuse`` it does, whatever its twins do."""

    id: str
    fingerprint: str | None
    reuse: bool


class Place(NamedTuple):
    """Where a job stands, by its columns: in the queue with a ``tag``, or elsewhere, and because of what."""

    state: State
    tag: int = 0
    due_at: datetime | None = None
    because: str | None = None

    @property
    def due_in(self) -> float | None:
        """The same as ``due_at``, in seconds from now."""
        return None if self.due_at is None else 0.0

    def told(self, what: str) -> str:
        """Return the reason of the event that says ``what`` brought the job here."""
        return what if self.because is None else f"{what}: {self.because}"


def places(tx: Transaction, tenant_id: str, batch: Batch | None, newcomers: Sequence[Newcomer]) -> list[Place]:
    """Return the places of jobs that may go, in their order; ``batch`` is locked by the caller, or None.

    Locks the tenant's line until the transaction ends, as :func:`cleanplate.order.line_up` does.
    """
    if not newcomers:
        return []
    now = lock(tx, tenant_id)
    found = twins(tx, {one.fingerprint for one in newcomers if one.fingerprint is not None})
    leaders = {print_: twin.stored or twin.going for print_, twin in found.items()}
    follows = []
    for one in newcomers:
        leader = leaders.get(one.fingerprint) if one.reuse and one.fingerprint is not None else None
        follows.append(leader)
        if leader is None and one.fingerprint is not None:
            leaders[one.fingerprint] = leaders.get(one.fingerprint) or one.id
    tags = iter(order.line_up(tx, tenant_id, batch, follows.count(None)))
    going = {twin.going for twin in found.values()}
    order.bring_forward(tx, tenant_id, batch, [leader for leader in follows if leader is not None and leader in going])
    return [
        Place(State.QUEUED, next(tags))
        if leader is None
        else Place(State.FOLLOWING, due_at=now, because=f"it follows {leader}, which is the same")
        for leader in follows
    ]


def lock(tx: Transaction, tenant_id: str) -> datetime:
    """Lock the tenant's line until the transaction ends; return what time it is."""
    line = select(func.now()).select_from(Tenant).where(Tenant.id == tenant_id)
    return tx.execute(line.with_for_update(key_share=True)).scalar_one()


class Twins(NamedTuple):
    """The jobs with one fingerprint that matter: one that goes, and the newest whose result is stored, and where."""

    going: str | None
    stored: str | None
    result_key: str | None


def twins(tx: Transaction, fingerprints: Collection[str]) -> dict[str, Twins]:
    """Return the twins for each of the fingerprints that has any."""
    if not fingerprints:
        return {}
    rows = tx.execute(find_twins(settings.get().retention_days), {"fingerprints": sorted(fingerprints)})
    return {row.fingerprint: Twins(row.going, row.stored, row.result_key) for row in rows if row.going or row.stored}


@lru_cache(maxsize=2)
def find_twins(retention_days: float | None) -> Select[Any]:
    """Return the query for the twins of ``fingerprints``: a probe of an index or two for each."""
    given = func.unnest(bindparam("fingerprints", type_=ARRAY(Text))).table_valued("fingerprint").render_derived()
    mine = Job.fingerprint == given.c.fingerprint
    one: ColumnElement[int] = literal_column("1")
    going = select(Job.id).where(mine, _in(*GOING)).limit(one).lateral("going")
    newest = select(Job.id, Job.result_key).where(mine, *is_stored(retention_days)).order_by(Job.finished_at.desc())
    stored = newest.limit(one).lateral("stored")
    return select(
        given.c.fingerprint, going.c.id.label("going"), stored.c.id.label("stored"), stored.c.result_key
    ).select_from(given.outerjoin(going, true()).outerjoin(stored, true()))


def is_stored(retention_days: float | None) -> list[ColumnElement[bool]]:
    """Return the conditions that a job has a result that may be shared."""
    conditions = [_in(State.SUCCEEDED), *deletion.stored()]
    if retention_days is not None:
        kept_seconds = retention_days * DAY_SECONDS
        conditions.append(Job.finished_at > func.now() - func.make_interval(0, 0, 0, 0, 0, 0, kept_seconds))
    return conditions


def _in(*states: State) -> ColumnElement[bool]:
    """Name the states as literals: a partial index matches only what the planner can read."""
    return Job.state.in_([literal_column(f"'{state}'") for state in sorted(states)])
