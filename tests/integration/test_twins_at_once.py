"""Clients, workers, people who cancel and two watches at the same twins at the same time."""

import random
import threading
from functools import partial

import pytest
from sqlalchemy import func, select

from cleanplate import cancel, db, jobs
from cleanplate.models import Job
from cleanplate.states import TERMINAL, InFlight, State
from tests import rows
from tests.threads import at_once
from tests.twinned import come, see_to
from worker import twins
from worker.store import store

pytestmark = pytest.mark.usefixtures("database", "worker_store")

CLIENTS, EACH, DIFFERENT = 4, 25, 8


class Crowd:
    """Clients, workers, people who cancel and two watches, at the same jobs until all have ended."""

    def __init__(self) -> None:
        self.over = threading.Event()

    def submit(self, seed: int) -> None:
        draw = random.Random(seed)
        for _ in range(EACH):
            come(f"print-{draw.randrange(DIFFERENT)}")

    def work(self, seed: int) -> None:
        draw = random.Random(seed)
        while not self.over.is_set():
            with db.transaction() as tx:
                claimed = jobs.claim(tx, rows.WORKER, 2)
            for job in claimed:
                is_done = draw.random() > 0.3
                if is_done:
                    store().put(f"results/{job.id}.png", job.id.encode(), media_type="image/png")
                with db.transaction() as tx:
                    rows.carry(tx, job.id, State.SUCCEEDED if is_done else State.FAILED, source=State.CLAIMED)

    def call_off(self, seed: int) -> None:
        draw = random.Random(seed)
        while not self.over.is_set():
            with db.transaction() as tx:
                those = tx.scalars(select(Job.id).where(Job.state == State.FOLLOWING)).all()
                cancel.stop(tx, draw.sample(those, len(those) // 20), InFlight.FINISH)

    def watch(self) -> None:
        mine = twins.Watch()
        while not self.over.is_set():
            see_to(mine)
            with db.transaction() as tx:
                if tx.scalar(select(func.count()).where(Job.state.in_(TERMINAL))) == CLIENTS * EACH:
                    self.over.set()


def test_all_at_once_each_fingerprint_is_paid_once_and_nobody_waits_in_a_circle() -> None:
    crowd = Crowd()
    clients = [partial(crowd.submit, seed) for seed in range(CLIENTS)]
    at_once([*clients, partial(crowd.work, 8), partial(crowd.work, 9), partial(crowd.call_off, 7)] + [crowd.watch] * 2)
    with db.transaction() as tx:
        done = list(tx.scalars(select(Job).where(Job.state == State.SUCCEEDED)))
    paid = {job.fingerprint: job.id for job in done if job.attempts}
    assert len(paid) == sum(1 for job in done if job.attempts) == DIFFERENT
    shared = [job for job in done if not job.attempts]
    assert {(job.result or {})["reused_from"] for job in shared} <= set(paid.values())
    assert all(job.result_key == f"results/{paid[job.fingerprint]}.png" for job in shared)
