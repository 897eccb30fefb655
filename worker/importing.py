"""Import: fetch a job's image and mask, check and store them as the intake does, and give the job its turn.

A Celery task on processes of its own, because decoding is CPU work and can bring a process down. As everywhere a
message is a hint, and the row tells whether there is anything to do.
"""

import logging
from dataclasses import asdict, replace
from datetime import timedelta
from functools import lru_cache, partial
from typing import Any, Final, assert_never

from sqlalchemy import Select, func, literal_column, select, true, update

from cleanplate import db, holding, inputs, jobs, reuse
from cleanplate.imaging.faults import ImageFault
from cleanplate.jobs import Change
from cleanplate.models import Batch, Job, Tenant
from cleanplate.outcomes import ErrorCode, Imported, ImportOutcome, NotFetched, Rejected, TryLater
from cleanplate.resources import Params
from cleanplate.states import State
from cleanplate.storage import Store, StoreError
from worker.alone import alone
from worker.meaning import failed
from worker.sources import fetch
from worker.store import store

log = logging.getLogger(__name__)

IMPORTING: Final = frozenset({State.IMPORTING})
CRASHES_ALLOWED: Final = 3
PAUSES: Final = (2.0, 10.0, 60.0, 300.0)
"""Seconds to wait after the first try at which a source handed nothing out, after the second, and so on."""
WORK_SECONDS: Final = 3.0
LATER_SECONDS: Final = 2.0
RESEND_SECONDS: Final = 10.0


def import_pair(job_id: str) -> None:
    """Bring one job from ``importing`` to the queue, or to its end, unless somebody is at it already."""
    with alone("import", job_id) as mine:
        if not mine:
            return
        with db.transaction() as tx:
            job = _begin(tx, job_id)
        if job is None:
            return
        outcome = take(store(), job)
        log.info("%s: %s", job_id, type(outcome).__name__)
        with db.transaction() as tx:
            _settle(tx, job, outcome)


def _begin(tx: db.Transaction, job_id: str) -> Job | None:
    """Count this start and put the rescuer off. A job whose starts never came to an end has crashed its workers."""
    job = tx.scalars(
        update(Job)
        .where(Job.id == job_id, Job.state == State.IMPORTING)
        .values(import_starts=Job.import_starts + 1, due_at=func.now() + timedelta(seconds=WORK_SECONDS))
        .returning(Job)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    if job is not None and job.import_starts > CRASHES_ALLOWED:
        detail = f"{CRASHES_ALLOWED} workers ended while they imported it"
        jobs.apply(tx, [failed(job_id, IMPORTING, ErrorCode.WORKER_CRASHED, detail)])
        return None
    return job


def take(store: Store, job: Job) -> ImportOutcome:
    """Fetch, check and store the pair. Writes no row; doing it twice puts the same objects."""
    pictures: list[bytes] = []
    try:
        for name in ("image", "mask"):
            found = fetch(store, (job.sources or {})[name])
            if not isinstance(found, bytes):
                return replace(found, detail=f"the {name}: {found.detail}")
            pictures.append(found)
        image, mask = pictures
        pair = inputs.check(image, mask, Params(**job.params))
        keys = inputs.put(store, job.id, image, mask, pair)
    except ImageFault as fault:
        return Rejected(ErrorCode.INPUT_INVALID, f"{fault.code}: {fault.detail}")
    except StoreError as error:
        return TryLater(f"the object store is away: {error}")
    facts = {"image": asdict(pair.image), "mask": asdict(pair.mask), "warnings": list(pair.warnings)}
    return Imported({**facts, **keys})


def _settle(tx: db.Transaction, job: Job, outcome: ImportOutcome) -> None:
    match outcome:
        case Imported(columns):
            if not _queue(tx, job, columns) and _is_cancelled(tx, job.id):
                tx.after_commit(partial(_throw_away, [columns[key] for key in inputs.keys(job.id)]))
        case Rejected(code, detail):
            jobs.apply(tx, [failed(job.id, IMPORTING, code, detail)])
        case NotFetched(detail) if job.import_tries >= len(PAUSES):
            jobs.apply(tx, [failed(job.id, IMPORTING, ErrorCode.INPUT_UNREACHABLE, detail)])
        case NotFetched(detail):
            _put_off(tx, job.id, detail, PAUSES[job.import_tries], import_tries=job.import_tries + 1)
        case TryLater(detail):
            _put_off(tx, job.id, detail, LATER_SECONDS)
        case _:
            assert_never(outcome)


def _queue(tx: db.Transaction, job: Job, columns: Any) -> bool:
    """Queue the job with its turn, or let it follow a twin, or hold it for its canary, unless it has ended.

    Locks are taken in the order job, batch, tenant.
    """
    still = select(Job.id).where(Job.id == job.id, Job.state == State.IMPORTING).with_for_update()
    if tx.scalar(still) is None:
        return False
    batch = tx.get(Batch, job.batch_id, with_for_update={"key_share": True}) if job.batch_id else None
    print_ = reuse.fingerprint(job.tenant_id, columns["image"], columns["mask"], job.params)
    values = {**columns, "fingerprint": print_, "sources": None, "due_at": None}
    if holding.is_beyond(batch, job.position):
        reason = f"imported: {holding.REASON}"
        return bool(jobs.apply(tx, [Change(job.id, IMPORTING, State.HELD, reason, values=values)]))
    (place,) = reuse.places(tx, job.tenant_id, batch, [reuse.Newcomer(job.id, print_, job.reuse)])
    values |= {"tag": place.tag}
    told = place.told("imported")
    return bool(jobs.apply(tx, [Change(job.id, IMPORTING, place.state, told, values=values, due_in=place.due_in)]))


def _put_off(tx: db.Transaction, job_id: str, detail: str, seconds: float, **values: int) -> None:
    log.warning("%s waits: %s", job_id, detail)
    again = func.now() + timedelta(seconds=seconds)
    put_off = update(Job).where(Job.id == job_id, Job.state == State.IMPORTING)
    tx.execute(put_off.values(import_starts=0, due_at=again, **values))


def _is_cancelled(tx: db.Transaction, job_id: str) -> bool:
    return tx.scalar(select(Job.state).where(Job.id == job_id)) == State.CANCELLED


def _throw_away(keys: list[str]) -> None:
    """Delete the inputs of a job that was cancelled while they were fetched."""
    try:
        store().delete(set(keys))
    except StoreError as error:
        log.warning("inputs of a cancelled job stay in the object store, which is away: %s", error)


# -- whose import it is ------------------------------------------------------------------------------------------------


def due(tx: db.Transaction, limit: int) -> list[str]:
    """Return jobs to import next, by turns among the tenants, and put each off, so that it is not found at once."""
    found = tx.scalars(next_imports(limit)).all()
    free = select(Job.id).where(Job.id.in_(found), Job.state == State.IMPORTING).with_for_update(skip_locked=True)
    put_off = update(Job).where(Job.id.in_(free)).values(due_at=func.now() + timedelta(seconds=RESEND_SECONDS))
    mine = set(tx.scalars(put_off.returning(Job.id).execution_options(synchronize_session=False)))
    return [job_id for job_id in found if job_id in mine]


@lru_cache
def next_imports(limit: int) -> Select[str]:
    """Return the query for them: a probe of the index for each tenant, whatever number waits."""
    most: Any = literal_column(str(int(limit)))
    its = (
        select(Job.id, func.row_number().over(order_by=(Job.due_at, Job.id)).label("place"))
        .where(Job.tenant_id == Tenant.id, Job.state == literal_column("'importing'"), Job.due_at <= func.now())
        .order_by(Job.due_at, Job.id)
        .limit(most)
        .lateral()
    )
    return select(its.c.id).select_from(Tenant).join(its, true()).order_by(its.c.place, its.c.id).limit(most)
