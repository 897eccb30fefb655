"""Rows for tests: a job in any state, with all that such a job has beside it."""

from collections.abc import Collection
from collections.abc import Set as AbstractSet
from datetime import timedelta
from itertools import pairwise
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from cleanplate import accounts, ids, vault
from cleanplate.db import Transaction
from cleanplate.ids import Kind
from cleanplate.jobs import Change, apply
from cleanplate.models import Account, Attempt, Batch, Delivery, Endpoint, Job, JobEvent, Tenant, Worker
from cleanplate.states import HOLDS_SLOT, LEASED, UNSENT, State
from worker import capacity

TENANT = "ten_1"
WORKER = "worker-1"
ACCOUNT = "default"
SIGNING_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
IMAGE = {"width": 96, "height": 64, "format": "png", "bytes": 100, "sha256": "0" * 64}
MASK = {**IMAGE, "coverage": 0.1}
RESULT = {**IMAGE, "outside_mask_max_delta": 0}
SENT = frozenset(State) - UNSENT - {State.CANCELLED}
SOURCES = {name: {"url": f"http://127.0.0.9:9/{name}.png?sig=secret"} for name in ("image", "mask")}


def tenant(tx: Session, id_: str = TENANT) -> str:
    """Make a tenant unless there is one of that id."""
    tx.execute(insert(Tenant).values(id=id_, name=id_).on_conflict_do_nothing())
    return id_


def account(tx: Session, cap: int = 24, name: str = ACCOUNT, **columns: Any) -> None:
    """Make an upstream account."""
    tx.add(Account(name=name, **{"cap": cap, "allowed": cap, **columns}))
    tx.flush()


def worker(tx: Session, id_: str = WORKER, *, lease_seconds: float = 60.0) -> str:
    """Make a worker's lease, or one that ended for a negative time."""
    tx.execute(insert(Worker).values(id=id_, expires_at=func.now() + timedelta(seconds=lease_seconds)))
    return id_


def endpoint(tx: Session, url: str = "http://127.0.0.1:9/hook", **columns: Any) -> str:
    """Make a receiver of webhooks that knows ``SIGNING_SECRET``; ``CLEANPLATE_SECRET_KEYS`` has to be set."""
    return bare_endpoint(tx, url=url, secret_encrypted=vault.seal(SIGNING_SECRET), **columns)


def deaf_endpoint(tx: Session, **columns: Any) -> str:
    """Make a receiver of webhooks that nothing will be sent to, so that no key is needed."""
    return bare_endpoint(tx, url=f"http://127.0.0.1:9/{ids.new(Kind.ENDPOINT)}", secret_encrypted="-", **columns)


def bare_endpoint(tx: Session, **columns: Any) -> str:
    """Make an endpoint of just these columns."""
    id_ = ids.new(Kind.ENDPOINT)
    tx.add(Endpoint(**{"id": id_, "tenant_id": tenant(tx), **columns}))
    tx.flush()
    return id_


def due_deliveries(tx: Session) -> list[str]:
    """Return the deliveries of which a try is due, in the order of their ids."""
    its = (Delivery.state == "pending", Delivery.due_at <= func.now())
    return list(tx.scalars(select(Delivery.id).where(*its).order_by(Delivery.id)))


def batch(tx: Session, total: int = 1, *, sealed: bool = True, **columns: Any) -> str:
    """Make a batch that expects ``total`` jobs."""
    id_ = ids.new(Kind.BATCH)
    sealed_at = func.now() if sealed else None
    tx.add(Batch(**{"id": id_, "tenant_id": tenant(tx), "total": total, "sealed_at": sealed_at, **columns}))
    tx.flush()
    return id_


def job(tx: Session, state: State = State.QUEUED, **columns: Any) -> str:
    """Make a job that stands in ``state`` as if it had come there by one submit of ``WORKER``; return its id."""
    id_ = columns.pop("id", None) or ids.new(Kind.JOB)
    facts = {
        "id": id_,
        "tenant_id": tenant(tx),
        "state": state,
        "image_key": f"inputs/{id_}/image.png",
        "mask_key": f"inputs/{id_}/mask.png",
        "send_image_key": f"inputs/{id_}/image.png",
        "send_mask_key": f"inputs/{id_}/mask.png",
        "image": IMAGE,
        "mask": MASK,
    }
    facts |= {"image": None, "mask": None, "sources": SOURCES} if state is State.IMPORTING else {}
    facts |= {"fingerprint": "print"} if state is State.FOLLOWING else {}
    facts |= {"owner": WORKER} if state in LEASED else {}
    facts |= {"account": ACCOUNT} if state in HOLDS_SLOT else {}
    facts |= {"attempts": 1} if state in SENT else {}
    facts |= {"sample_url": f"http://127.0.0.3:9/{id_}.png?sig=secret"} if state is State.READY else {}
    facts |= {"result_key": f"results/{id_}.png", "result": RESULT} if state is State.SUCCEEDED else {}
    facts |= {"error_code": "upstream_error", "error_detail": "broken"} if state is State.FAILED else {}
    row = Job(**{**facts, **columns})
    tx.add(row)
    tx.flush()
    if row.attempts:
        tx.add(_attempt(row))
        tx.flush()
    return id_


def _attempt(row: Job) -> Attempt:
    outcome = {State.SENDING: "sending", State.UNCONFIRMED: "unconfirmed"}.get(State(row.state), "accepted")
    accepted = {"task_id": f"task-{row.id}", "polling_url": f"http://127.0.0.2:9/v1/get_result?id={row.id}"}
    return Attempt(
        job_id=row.id,
        number=row.attempts,
        account=ACCOUNT,
        worker=row.owner or WORKER,
        outcome=outcome,
        **(accepted if outcome == "accepted" else {}),
    )


def jobs(tx: Session, count: int, state: State = State.QUEUED, **columns: Any) -> list[str]:
    """Make so many jobs; return their ids in the order in which they were made."""
    return [job(tx, state, **columns) for _ in range(count)]


def states(tx: Session, job_ids: Collection[str] | None = None) -> dict[str, State]:
    """Return the states of these jobs, or of all."""
    query = select(Job.id, Job.state)
    if job_ids is not None:
        query = query.where(Job.id.in_(job_ids))
    return {id_: State(state) for id_, state in tx.execute(query)}


def events(tx: Session, job_id: str) -> list[tuple[str, str, str | None]]:
    """Return the events of a job, oldest first, as state, reason and worker."""
    query = select(JobEvent.state, JobEvent.reason, JobEvent.worker).where(JobEvent.job_id == job_id)
    return [(row.state, row.reason, row.worker) for row in tx.execute(query.order_by(JobEvent.id))]


def attempts(tx: Session, job_id: str) -> list[Attempt]:
    """Return the money ledger of a job."""
    return list(tx.scalars(select(Attempt).where(Attempt.job_id == job_id).order_by(Attempt.number)))


def seats(tx: Transaction, owner: str, ids_: Collection[str]) -> tuple[AbstractSet[str], AbstractSet[str]]:
    """Ask for slots for jobs that ``owner`` has claimed; return who holds one now and who is not its own any more."""
    turn = capacity.turn(tx, owner, accounts.in_use(tx), [], [], dict.fromkeys(ids_))
    return turn.seated.keys(), turn.lost


def due_now(tx: Session) -> None:
    """Let every job that follows a twin be looked at again at once."""
    tx.execute(update(Job).where(Job.state == State.FOLLOWING).values(due_at=func.now()))


def carry(tx: Transaction, job_id: str, target: State, source: State = State.QUEUED) -> None:
    """Bring a job to its end, as the workers would by one submit; what succeeds has its result's facts."""
    path = [State.QUEUED, State.CLAIMED, State.SENDING, State.INFLIGHT, State.READY, State.SUCCEEDED]
    path = path if target is State.SUCCEEDED else [State.QUEUED, State.CLAIMED, target]
    values: dict[State, dict[str, Any]] = {
        State.CLAIMED: {"owner": WORKER},
        State.SENDING: {"owner": WORKER, "account": ACCOUNT, "attempts": 1},
        State.INFLIGHT: {"owner": WORKER},
        State.SUCCEEDED: {"result_key": f"results/{job_id}.png", "result": {**RESULT, "sha256": job_id}},
        State.FAILED: {"error_code": "upstream_error", "error_detail": "broken"},
    }
    for here, step in pairwise(path[path.index(source) :]):
        if step is State.SENDING:
            tx.add(Attempt(job_id=job_id, number=1, account=ACCOUNT, worker=WORKER, task_id=job_id, outcome="accepted"))
            tx.flush()
        wish = Change(job_id, frozenset({here}), step, "test", values=values.get(step, {}))
        assert apply(tx, [wish]) == {job_id}
