"""Who listens takes nothing from those to whom is sent: not what happened, not a seat, not a delivery."""

import threading
from collections.abc import Iterable
from datetime import timedelta

import pytest
from sqlalchemy import delete, func, insert, select

from cleanplate import db, jobs, outbox
from cleanplate.jobs import Change
from cleanplate.models import Delivery, Endpoint, Job, Listener, ListenerEvent
from cleanplate.outbox import Told
from cleanplate.states import State
from tests import rows
from worker import deliveries
from worker.forget import forget_more

pytestmark = pytest.mark.usefixtures("database")


def listener(name: str = "lsn_1", seconds: int = 120) -> str:
    with db.transaction() as tx:
        its = {"id": name, "tenant_id": rows.tenant(tx), "expires_at": func.now() + timedelta(seconds=seconds)}
        tx.execute(insert(Listener).values(its))
    return name


def end(job_id: str) -> None:
    failed = {"error_code": "upstream_error", "error_detail": ""}
    with db.transaction() as tx:
        jobs.apply(tx, [Change(job_id, frozenset({State.INFLIGHT}), State.FAILED, "", values=failed)])


def test_one_that_leaves_while_a_job_ends_does_not_keep_it_from_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    listener()
    with db.transaction() as tx:
        endpoint = rows.deaf_endpoint(tx)
        job_id = rows.job(tx, State.INFLIGHT)
    really, gone = outbox._write, threading.Event()

    def leave() -> None:
        with db.transaction() as tx:
            tx.execute(delete(Listener))
        gone.set()

    leaving = threading.Thread(target=leave)

    def write(tx: db.Transaction, told: Iterable[Told]) -> list[str]:
        leaving.start()
        gone.wait(0.3)  # it has to wait for us, which cannot be waited for
        return really(tx, told)

    monkeypatch.setattr(outbox, "_write", write)
    end(job_id)
    leaving.join()
    with db.transaction() as tx:
        assert tx.get_one(Job, job_id).state == State.FAILED
        assert tx.scalars(select(Delivery.endpoint_id)).all() == [endpoint]
        assert tx.scalars(select(ListenerEvent.id)).all() == []


def test_what_nobody_asks_for_is_no_delivery_and_turns_nothing_off() -> None:
    with db.transaction() as tx:
        endpoint = rows.deaf_endpoint(tx)
        job_id = rows.job(tx, State.INFLIGHT)
    for number in range(3):
        listener(f"lsn_{number}")
    end(job_id)
    with db.transaction() as tx:
        assert len(tx.scalars(select(ListenerEvent.id)).all()) == 3
        assert tx.scalars(select(Delivery.endpoint_id)).all() == [endpoint]
        assert [one.endpoint_id for one in deliveries.due(tx)] == [endpoint]
        assert tx.scalars(select(Endpoint.failing_since)).all() == [None]


def test_one_whose_process_died_hears_of_nothing_more_and_is_forgotten_with_what_it_did_not_hear() -> None:
    alive, dead, long_dead = listener("lsn_1"), listener("lsn_2", -5), listener("lsn_3", -600)
    with db.transaction() as tx:
        event = {"event_id": "evt_1", "event_type": "job.failed", "body": "{}"}
        tx.execute(insert(ListenerEvent), [{**event, "listener_id": one} for one in (dead, long_dead)])
        outbox.publish(tx, rows.TENANT, "job.failed", {})
    forget_more()
    with db.transaction() as tx:
        assert sorted(tx.scalars(select(Listener.id))) == [alive, dead]
        assert sorted(tx.scalars(select(ListenerEvent.listener_id))) == [alive, dead]
