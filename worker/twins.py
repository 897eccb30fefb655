"""Twins: what becomes of jobs that wait for the result of an identical one, see ``cleanplate.reuse``.

When it is stored they share it: the object is one, each has a row of its own that names it, and a purge deletes it with
the last of them. When it will never be, one of them goes to the queue, and the others follow that one.
"""

import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import ColumnElement, Double, Select, bindparam, func, literal_column, select, true, update
from sqlalchemy.sql.dml import ReturningUpdate

from cleanplate import db, holding, jobs, order, records, reuse, settings
from cleanplate.jobs import Change
from cleanplate.models import Batch, Job, Tenant
from cleanplate.states import State
from worker.store import store

PAGE: Final = 200
"""Jobs that are looked at, or that end, in one transaction."""
SOONEST_SECONDS, LATEST_SECONDS = 1.0, 30.0
"""A job is looked at again when it has waited for as long again, but not sooner and not later than these."""
LATE_SECONDS, ENDS_MOST = 2.0, 5000
"""How long after its ``finished_at`` the end of a job may be committed, to be seen as it comes, and how many are."""
AT_ONCE: Final = 8
"""Objects that are asked for at once."""
FOLLOWING: Final = frozenset({State.FOLLOWING})
FOLLOWS: Final[ColumnElement[bool]] = Job.state == literal_column(f"'{State.FOLLOWING}'")


class Watch:
    """Watches the twins of jobs that follow: their ends as they come, and each job by itself when it is due."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._askers = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="twins-stored")

    def see_to(self) -> bool:
        """Move on the jobs whose twin has ended, or will never; return whether more of them may be due.

        Raises ``StoreUnavailable`` and such: then they are looked at again later.
        """
        before, self._since = self._since, time.monotonic()
        seconds = min(self._since - before, LATEST_SECONDS) + LATE_SECONDS
        with db.transaction() as tx:
            looks = tx.scalars(put_off(PAGE)).all()
            due = {*looks, *tx.scalars(ended_twins(), {"seconds": seconds})}
        if not due:
            return False
        with db.transaction() as tx:
            found = reuse.twins(tx, due)
        stored = {twins.result_key for twins in found.values() if twins.result_key is not None}
        missing = self._missing(sorted(stored))
        sources = {print_: twins.stored for print_, twins in found.items() if twins.stored is not None}
        usable = {print_: id_ for print_, id_ in sources.items() if found[print_].result_key not in missing}
        _share(usable)
        for print_ in sorted(due - usable.keys()):
            if print_ not in found or found[print_].going is None:
                _promote(print_, missing)
        return len(looks) == PAGE

    def _missing(self, keys: Sequence[str]) -> set[str]:
        stats = self._askers.map(store().stat, keys)
        return {key for key, stat in zip(keys, stats, strict=True) if stat is None}


@lru_cache(maxsize=1)
def put_off(limit: int) -> ReturningUpdate[str | None]:
    """Return the statement that puts off the looks that are due, and returns the fingerprints of the jobs."""
    waited = func.extract("epoch", func.now() - Job.created_at)
    seconds = func.least(LATEST_SECONDS, func.greatest(SOONEST_SECONDS, waited))
    later = func.now() + func.make_interval(0, 0, 0, 0, 0, 0, seconds)
    looks_due = select(Job.id).where(FOLLOWS, Job.due_at <= func.now()).order_by(Job.due_at)
    these = looks_due.limit(literal_column(str(int(limit)))).with_for_update(skip_locked=True)
    looks = update(Job).where(Job.id.in_(records.page(these))).values(due_at=later).returning(Job.fingerprint)
    return looks.execution_options(synchronize_session=False)


@lru_cache(maxsize=1)
def ended_twins() -> Select[str | None]:
    """Return the query for the fingerprints of what has ended in the last ``seconds`` and is followed."""
    seconds: Any = bindparam("seconds", type_=Double())
    lately = (Job.finished_at > func.now() - func.make_interval(0, 0, 0, 0, 0, 0, seconds), Job.purged_at.is_(None))
    newest = select(Job.fingerprint).where(*lately).order_by(Job.finished_at.desc())
    ends = newest.limit(literal_column(str(ENDS_MOST))).subquery("ends")
    mine = select(Job.fingerprint).where(FOLLOWS, Job.fingerprint == ends.c.fingerprint)
    first = mine.limit(literal_column("1")).lateral("first")
    return select(first.c.fingerprint).distinct().select_from(ends.join(first, true()))


# -- a result is stored ------------------------------------------------------------------------------------------------


def _share(sources: Mapping[str, str]) -> None:
    """End, page by page, all that follow these ``sources``, jobs by fingerprint, with their results."""
    while sources:
        with db.transaction() as tx:
            waiting = tx.execute(followers(sorted(sources), PAGE)).all()
            ends = _ends(tx, {sources[str(print_)] for _, print_ in waiting})
            shared = [_reused(id_, *ends[print_]) for id_, print_ in waiting if print_ in ends]
            if not jobs.apply(tx, shared) or len(waiting) < PAGE:
                return


def _ends(tx: db.Transaction, sources: Collection[str]) -> dict[str | None, tuple[str, dict[str, Any], str]]:
    """Return, by fingerprint, the key and the facts of each result, and the job whose result it is.

    The sources are locked, see :func:`cleanplate.deletion.stored`; one that somebody else has locked may be being
    deleted now, and is left out.
    """
    still = (Job.id.in_(sources), *reuse.is_stored(settings.get().retention_days))
    rows = tx.scalars(select(Job).where(*still).order_by(Job.id).with_for_update(read=True, skip_locked=True)).all()
    first = {str(row.result["reused_from"]) for row in rows if row.result and row.result.get("reused_from")}
    known = set(tx.scalars(select(Job.id).where(Job.id.in_(first), Job.deleted_at.is_(None)))) if first else set()
    ends: dict[str | None, tuple[str, dict[str, Any], str]] = {}
    for row in rows:
        facts = dict(row.result or {})
        origin = facts.pop("reused_from", None)
        ends[row.fingerprint] = (str(row.result_key), facts, origin if origin in known else row.id)
    return ends


def _reused(job_id: str, key: str, facts: Mapping[str, Any], origin: str) -> Change:
    values = {"result_key": key, "result": {**facts, "reused_from": origin}}
    return Change(job_id, FOLLOWING, State.SUCCEEDED, f"reused from {origin}: not paid", values=values)


def followers(fingerprints: Collection[str], limit: int) -> Select[str, str | None]:
    """Return the query that locks the next jobs that follow twins with these fingerprints."""
    page = select(Job.id, Job.fingerprint).where(FOLLOWS, Job.fingerprint.in_(fingerprints))
    page = page.order_by(Job.fingerprint, Job.id).limit(literal_column(str(int(limit))))
    return page.with_for_update(skip_locked=True)


# -- none will be ------------------------------------------------------------------------------------------------------


def _promote(fingerprint: str, missing: Collection[str]) -> None:
    """Let a job with this fingerprint go, unless a twin goes or has a result by now that is not ``missing``.

    Locks are taken as intake does, batch before tenant, and the job's only if nobody else has it.
    """
    with db.transaction() as tx:
        job = tx.scalars(soonest(fingerprint)).first()
        if job is None:
            return
        batch = tx.scalars(holding.locked(job.batch_id)).one() if job.batch_id else None
        reuse.lock(tx, job.tenant_id)
        twins = reuse.twins(tx, [fingerprint]).get(fingerprint)
        if twins is not None and (twins.going is not None or twins.result_key not in {None, *missing}):
            return
        free = select(Job.id).where(Job.id == job.id, FOLLOWS).with_for_update(skip_locked=True)
        if tx.scalar(free) is None:
            return
        (tag,) = order.line_up(tx, job.tenant_id, batch, 1)
        values = {"tag": tag, "due_at": None}
        jobs.apply(tx, [Change(job.id, FOLLOWING, State.QUEUED, "its turn: no twin of it has a result", values=values)])


def soonest(fingerprint: str) -> Select[Job]:
    """Return the query for that of those that follow, by this fingerprint, whose turn would be the soonest."""
    line = func.coalesce(Batch.finish_tag, Tenant.singles_finish_tag)
    follow = select(Job).join(Tenant, Tenant.id == Job.tenant_id).outerjoin(Batch, Batch.id == Job.batch_id)
    return follow.where(FOLLOWS, Job.fingerprint == fingerprint).order_by(line, Job.id).limit(literal_column("1"))
