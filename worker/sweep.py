"""Sweep: find what nobody is working on any more, and move it on. A lock lets one worker do it at a time.

PostgreSQL is the truth and messages are hints, so this is what makes a lost message, an emptied broker or a dead
worker cost time and nothing else.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice
from pathlib import PurePosixPath
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, delete, exists, func, literal_column, select, text, update

from cleanplate import cancel, db, deletion, holding, jobs, queue, settings
from cleanplate.jobs import Change
from cleanplate.models import Attempt, Job, Upload
from cleanplate.outcomes import ErrorCode
from cleanplate.states import Hold, State
from cleanplate.storage import Store, StoreError
from worker import budget, importing
from worker.aside import Aside
from worker.balances import Balances
from worker.finalize import finalize
from worker.flight import RESULT_WINDOW_SECONDS
from worker.forget import forget_more
from worker.look import Look, look
from worker.meaning import UNCONFIRMED, failed
from worker.purge import purge_more
from worker.store import store
from worker.twins import Watch

log = logging.getLogger(__name__)

EVERY_SECONDS: Final = 0.5
RESEND_SECONDS: Final = 10.0
AGED_SECONDS: Final = 30.0
BATCH: Final = 200
HERE: Final = 8
"""Results that a round stores itself when the broker is away: no more than it can, since each found is put off."""
IMPORTS_WAITING: Final = 32
"""Messages that wait for importers: each tenant's next is among them, and few are repeated when they are lost."""
CANCEL_SECONDS: Final = 1.0
TIDY_EVERY_SECONDS: Final = 5.0
HOLD_SECONDS: Final = 1.0
OBJECTS_EVERY_SECONDS: Final = 3600.0
OBJECTS: Final = ("inputs/", "results/", "uploads/")
OBJECTS_AGE: Final = timedelta(hours=24)
EXPIRED_UPLOADS: Final = delete(Upload).where(Upload.expires_at < func.now())


class Sweeper(threading.Thread):
    """The thread that sweeps. What it cannot do because the database is away it does on the next round."""

    def __init__(self, on_death: Callable[[BaseException], None]) -> None:
        super().__init__(name="sweep", daemon=True)
        self._ending = threading.Event()
        self._on_death = on_death
        self._helpers = ThreadPoolExecutor(2, thread_name_prefix="finalize-here")
        self._purging = Aside("purge", purge_more, "deleted pictures stay for now")
        self._forgetting = Aside("forget", forget_more, "what was kept for long enough stays for now")
        self._tidy_at = time.monotonic()
        self._twins = Aside("twins", Watch().see_to, "who waits for a twin's result waits on")
        self._balances = Aside("balances", Balances().see_to, "what is left on the accounts is not asked")
        self._objects_at = time.monotonic() + OBJECTS_EVERY_SECONDS

    def end(self) -> None:
        """Stop after the round under way."""
        self._ending.set()

    def run(self) -> None:
        """Sweep until ended."""
        while not self._ending.wait(EVERY_SECONDS):
            try:
                self._round()
            except db.AWAY as error:
                log.warning("the database is away (%s); sweeping again soon", db.words(error))
            except BaseException as error:
                self._on_death(error)
                raise
        self.close()

    def close(self) -> None:
        """Wait until what rounds have begun is over, which is soon when it was ended."""
        for work in (self._purging, self._forgetting, self._twins, self._balances):
            work.close()
        self._helpers.shutdown()

    def _round(self) -> None:
        importing_told = queue.waiting(queue.IMPORT)
        with db.transaction() as tx:
            there = Look(*tx.execute(look()).one())
            if not there.alone:
                return
            if there.unconfirmed:
                adopt_called_back(tx)
                decide_unconfirmed(tx, settings.get().unconfirmed_policy, settings.get().max_submits)
            forgotten = forgotten_results(tx, HERE if importing_told is None else BATCH) if there.forgotten else []
            cancelling = tx.scalars(cancel.unheeded()).all() if there.cancelling else []
            deleting = tx.scalars(deletion.unfinished()).all() if there.deleting else []
            room = 0 if importing_told is None else IMPORTS_WAITING - importing_told
            imports = importing.due(tx, room) if there.importing and room > 0 else []
            held = tx.execute(holding.pending()).all() if there.held else []
        for batch_id in cancelling:
            cancel.carry_on(batch_id, CANCEL_SECONDS / len(cancelling))
        for batch_id in deleting:
            deletion.carry_on(batch_id, CANCEL_SECONDS / len(deleting))
        if there.following:
            self._twins.begin(self._ending.is_set)
        for batch_id, hold in held:
            tend = holding.carry_on if hold == Hold.RELEASE else budget.tend
            tend(batch_id, HOLD_SECONDS / len(held))
        for job_id in imports:
            queue.send("import", job_id)
        here = [job_id for job_id, aged in forgotten if aged or not queue.send("finalize", job_id)]
        list(self._helpers.map(finalize, here))
        self._tidy()

    def _tidy(self) -> None:
        if time.monotonic() >= self._tidy_at:
            self._tidy_at = time.monotonic() + TIDY_EVERY_SECONDS
            self._purging.begin(self._ending.is_set)
            self._forgetting.begin(self._ending.is_set)
            self._balances.begin(self._ending.is_set)
        if time.monotonic() >= self._objects_at:
            self._objects_at = time.monotonic() + OBJECTS_EVERY_SECONDS
            try:
                sweep_objects(store())
            except StoreError as error:
                log.warning("the object store is away: it is swept in an hour (%s)", error)


def adopt_called_back(tx: db.Transaction) -> None:
    """Let conveyors poll for the tasks whose submit was never answered and of which a callback told: they are paid."""
    accepted = {"outcome": "accepted", "detail": None}
    reason = "the upstream called back: adopted"
    held = tx.scalars(_called_back())
    jobs.apply(tx, [Change(id_, UNCONFIRMED, State.INFLIGHT, reason, attempt=accepted) for id_ in held])


@lru_cache
def _called_back() -> Select[str]:
    return select(Job.id).where(Job.state == literal_column(f"'{State.UNCONFIRMED}'"), known_by_callback())


def known_by_callback() -> ColumnElement[bool]:
    """Return the condition that the task of a job's newest submit is known: of one without an answer, by callback."""
    newest = (Attempt.job_id == Job.id) & (Attempt.number == Job.attempts)
    return exists().where(newest, Attempt.task_id.is_not(None)).correlate(Job)


def decide_unconfirmed(tx: db.Transaction, policy: str, max_submits: int) -> None:
    """Let the policy decide about submits whose answer never came: send again (it may be paid twice), or fail."""
    changes = []
    undecided = tx.execute(_undecided()).all()
    budget.doubt(tx, [job_id for job_id, _ in undecided])
    for job_id, submits in undecided:
        if policy == "resubmit" and submits < max_submits:
            changes.append(Change(job_id, UNCONFIRMED, State.QUEUED, "no answer came: sent again by policy"))
        else:
            detail = f"no answer came to {submits} submit(s); it is not sent again"
            changes.append(failed(job_id, UNCONFIRMED, ErrorCode.SUBMIT_UNCONFIRMED, detail))
    jobs.apply(tx, changes)


@lru_cache
def _undecided() -> Select[str, int]:
    lost = (Attempt.job_id == Job.id) & (Attempt.outcome == "unconfirmed")
    count = select(func.count()).where(lost).correlate(Job).scalar_subquery()
    due: Select[Any] = jobs.due(State.UNCONFIRMED, BATCH).where(~known_by_callback())
    return due.with_only_columns(Job.id, count)


def forgotten_results(tx: db.Transaction, limit: int) -> list[tuple[str, bool]]:
    """Return the results that nobody has begun to store, oldest first, and whether each has waited for long.

    They are hinted at again; where that does not help, because no broker takes the message or nobody heeds it, the
    sweeping worker finalizes them itself. Each is put off, so that the next round does not find it at once.
    """
    found = [(job_id, bool(aged)) for job_id, aged in tx.execute(_forgotten(limit))]
    if found:
        again = func.now() + timedelta(seconds=RESEND_SECONDS)
        tx.execute(update(Job).where(Job.id.in_([job_id for job_id, _ in found])).values(due_at=again))
    return found


@lru_cache
def _forgotten(limit: int) -> Select[str, bool]:
    long = Job.window_ends < func.now() + timedelta(seconds=RESULT_WINDOW_SECONDS - AGED_SECONDS)
    due: Select[Any] = jobs.due(State.READY, limit)
    return due.with_only_columns(Job.id, func.coalesce(long, text("true")))


def sweep_objects(store: Store) -> int:
    """Delete objects that no row names (an intake died between the two), a day old; return how many.

    Uploads that have expired are forgotten before, so theirs are among them.
    """
    with db.transaction() as tx:
        tx.execute(EXPIRED_UPLOADS)
    yesterday = datetime.now(UTC) - OBJECTS_AGE
    found = (stat.key for prefix in OBJECTS for stat in store.list(prefix, older_than=yesterday))
    swept = 0
    while page := list(islice(found, BATCH)):
        swept += _delete_unknown(store, page)
    return swept


def _delete_unknown(store: Store, keys: Sequence[str]) -> int:
    of_row = {key: PurePosixPath(key).parts[1].partition(".")[0] for key in keys}
    with db.transaction() as tx:
        found = set(of_row.values())
        known = {id_ for model in (Job, Upload) for id_ in tx.scalars(select(model.id).where(model.id.in_(found)))}
    orphans = [key for key, id_ in of_row.items() if id_ not in known]
    store.delete(orphans)
    return len(orphans)
