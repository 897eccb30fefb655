"""Finalize: download the result, lay it over the original, store it, and only then say so.

A Celery task on processes of its own, because decoding and composing is CPU work. The message is a hint: the row tells
whether there is anything to do, so messages that come twice, late or never change nothing but the time.
"""

import logging
import os
from functools import lru_cache, partial
from typing import Final, assert_never

import httpx
from sqlalchemy import func, select, text, update

from cleanplate import db, jobs, settings
from cleanplate.imaging.composite import finish
from cleanplate.imaging.faults import ImageFault, ResultFault
from cleanplate.jobs import Change
from cleanplate.models import Job
from cleanplate.outcomes import ErrorCode, FinalizeOutcome, NotDownloaded, Rejected, Stored, TryLater, Unusable
from cleanplate.states import State
from cleanplate.storage import ObjectMissing, Store, StoreError
from worker import memory
from worker.alone import alone
from worker.download import download
from worker.meaning import failed
from worker.store import store

log = logging.getLogger(__name__)

READY: Final = frozenset({State.READY})
CRASHES_ALLOWED: Final = 3
FETCHES_ALLOWED: Final = 3
WORK_SECONDS: Final = 3.0
LATER_SECONDS: Final = 2.0
SUFFIX: Final = {"png": "png", "jpeg": "jpg", "webp": "webp"}


def finalize(job_id: str) -> None:
    """Bring one job from ``ready`` to its end, as far as it goes now, unless somebody is at it already."""
    with alone("finalize", job_id) as mine:
        if mine:
            _finalize(job_id)


def warm_up() -> None:
    """Make what a process makes once (connections, statements, the TLS context), so that no result waits for it."""
    memory.keep_freed()
    store()
    _client(os.getpid())
    finalize("none")


def _finalize(job_id: str) -> None:
    with db.transaction() as tx:
        begun = _begin(tx, job_id)
    if begun is None:
        return
    job, window_over = begun
    outcome = store_result(store(), _client(os.getpid()), job, settings.get().bfl_delivery_hosts)
    if isinstance(outcome, NotDownloaded):
        outcome = Unusable(ErrorCode.RESULT_EXPIRED, outcome.detail) if window_over else TryLater(outcome.detail)
    log.info("%s: %s", job_id, type(outcome).__name__)
    with db.transaction() as tx:
        _settle(tx, job, outcome)


def _begin(tx: db.Transaction, job_id: str) -> tuple[Job, bool] | None:
    """Count this start and put the rescuer off; return the job, and whether the result's window is over.

    A job whose starts never came to an end has crashed its workers.
    """
    started = tx.execute(
        update(Job)
        .where(Job.id == job_id, Job.state == State.READY)
        .values(
            finalize_starts=Job.finalize_starts + 1,
            due_at=func.now() + func.make_interval(0, 0, 0, 0, 0, 0, WORK_SECONDS),
        )
        .returning(Job, func.coalesce(Job.window_ends < func.now(), text("false")))
        .execution_options(synchronize_session=False)
    ).one_or_none()
    if started is None:
        return None
    job, over = started
    if job.finalize_starts > CRASHES_ALLOWED:
        detail = f"{CRASHES_ALLOWED} workers ended while they worked on it"
        jobs.apply(tx, [failed(job_id, READY, ErrorCode.WORKER_CRASHED, detail)])
        return None
    return job, bool(over)


def store_result(
    store: Store, client: httpx.Client, job: Job, hosts: tuple[str, ...]
) -> FinalizeOutcome | NotDownloaded:
    """Download, verify, compose and put under the job's own key. Writes no row; doing it twice puts the same object."""
    data = download(client, job.sample_url or "", hosts)
    if not isinstance(data, bytes):
        return data
    form = job.params.get("output_format", "png")
    try:
        original, mask = store.get(job.image_key), store.get(job.send_mask_key)
        done = finish(
            original,
            mask,
            data,
            dilate_pixels=job.params.get("dilate_pixels", 10),
            output_format=form,
            fidelity=job.params.get("fidelity", "exact"),
            mask_invert=False,
        )
        key = f"results/{job.id}.{SUFFIX[form]}"
        store.put(key, done.data, media_type=done.media_type)
    except ResultFault as fault:
        return Unusable(ErrorCode.RESULT_INVALID, f"{fault.code}: {fault.detail}")
    except ImageFault as fault:
        return Rejected(ErrorCode.INPUT_INVALID, f"{fault.code}: {fault.detail}")
    except ObjectMissing as error:
        return Rejected(ErrorCode.INPUT_MISSING, f"{error} is not in the object store")
    except StoreError as error:
        return TryLater(f"the object store is away: {error}")
    return Stored(key, done.width, done.height, done.format, len(done.data), done.sha256, done.outside_mask_max_delta)


def _settle(tx: db.Transaction, job: Job, outcome: FinalizeOutcome) -> None:
    match outcome:
        case Stored(key):
            if not jobs.apply(tx, [_succeeded(job.id, outcome)]) and _is_cancelled(tx, job.id):
                tx.after_commit(partial(_throw_away, key))
        case Rejected(code, detail):
            jobs.apply(tx, [failed(job.id, READY, code, detail)])
        case Unusable(code, detail) if job.fetches >= FETCHES_ALLOWED:
            jobs.apply(tx, [failed(job.id, READY, code, detail)])
        case Unusable(code, detail):
            values = {"fetches": job.fetches + 1, "finalize_starts": 0, "sample_url": None}
            jobs.apply(tx, [Change(job.id, READY, State.INFLIGHT, f"{code}: {detail}", values=values)])
        case TryLater(detail):
            log.warning("%s waits: %s", job.id, detail)
            again = func.now() + func.make_interval(0, 0, 0, 0, 0, 0, LATER_SECONDS)
            put_off = update(Job).where(Job.id == job.id, Job.state == State.READY)
            tx.execute(put_off.values(finalize_starts=0, due_at=again))
        case _:
            assert_never(outcome)


def _is_cancelled(tx: db.Transaction, job_id: str) -> bool:
    return tx.scalar(select(Job.state).where(Job.id == job_id)) == State.CANCELLED


def _throw_away(key: str) -> None:
    """Delete a result whose job was abandoned while it was being stored."""
    try:
        store().delete([key])
    except StoreError as error:
        log.warning("%s of a cancelled job stays in the object store, which is away: %s", key, error)


def _succeeded(job_id: str, stored: Stored) -> Change:
    facts = ("width", "height", "format", "bytes", "sha256", "outside_mask_max_delta")
    result = {name: getattr(stored, name) for name in facts}
    return Change(job_id, READY, State.SUCCEEDED, "stored", values={"result_key": stored.key, "result": result})


@lru_cache(maxsize=1)
def _client(_pid: int) -> httpx.Client:
    return httpx.Client(follow_redirects=False, trust_env=False)
