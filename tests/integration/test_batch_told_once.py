"""However the ends of its jobs race, a batch is told to be over once, after all of them were told."""

from functools import partial

import pytest
from sqlalchemy import select

from cleanplate import db, jobs
from cleanplate.jobs import Change
from cleanplate.models import Delivery
from cleanplate.states import State
from tests import rows
from tests.threads import at_once

pytestmark = pytest.mark.usefixtures("database")
JOBS = 8
READY = frozenset({State.READY})


def succeed(job_id: str) -> None:
    values = {"result_key": f"results/{job_id}.png", "result": rows.RESULT}
    with db.transaction() as tx:
        jobs.apply(tx, [Change(job_id, READY, State.SUCCEEDED, "stored", values=values)])


@pytest.mark.parametrize("_round", range(5))
def test_the_end_of_a_batch_is_one_event_and_the_last(_round: int) -> None:
    with db.transaction() as tx:
        rows.deaf_endpoint(tx)
        batch_id = rows.batch(tx, JOBS)
        made = rows.jobs(tx, JOBS, State.READY, batch_id=batch_id)
    at_once([partial(succeed, job_id) for job_id in made] * 2)
    with db.transaction() as tx:
        told = tx.execute(select(Delivery.event_type, Delivery.subject_id).order_by(Delivery.id)).all()
    assert sorted(subject for _, subject in told[:-1]) == made
    assert tuple(told[-1]) == ("batch.completed", batch_id)
