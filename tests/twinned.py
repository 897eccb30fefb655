"""Jobs with the same fingerprint, of which one goes and the others follow: how they come, end and are seen to."""

from typing import Any

from cleanplate import db, ids, reuse
from cleanplate.ids import Kind
from cleanplate.reuse import Newcomer
from cleanplate.states import State
from tests import rows
from worker import twins
from worker.store import store

PRINTS = ("print-1", "print-2")


def come(print_: str = PRINTS[0], *, wanted: bool = True, **columns: Any) -> str:
    """Bring a new job to the queue as the intake does."""
    job_id = ids.new(Kind.JOB)
    with db.transaction() as tx:
        (place,) = reuse.places(tx, rows.tenant(tx), None, [Newcomer(job_id, print_, wanted)])
        stands = {"tag": place.tag, "due_at": place.due_at, "fingerprint": print_, "reuse": wanted}
        rows.job(tx, place.state, id=job_id, **stands | columns)
    return job_id


def end(job_id: str, state: State = State.SUCCEEDED) -> None:
    """End a job that waits, as the workers would; a result lies in their store."""
    if state is State.SUCCEEDED:
        store().put(f"results/{job_id}.png", job_id.encode(), media_type="image/png")
    with db.transaction() as tx:
        rows.carry(tx, job_id, state)


def see_to(watch: twins.Watch | None = None) -> None:
    """Do what the sweep does for those that follow, once, whenever the next look at them is due."""
    with db.transaction() as tx:
        rows.due_now(tx)
    (watch or twins.Watch()).see_to()
