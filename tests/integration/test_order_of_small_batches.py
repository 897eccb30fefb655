"""Small batches that come while others wait: each takes its share, and of nobody who would then wait for long."""

import pytest
from sqlalchemy import select

from cleanplate import db, order
from cleanplate.models import Batch, Job
from cleanplate.states import State
from tests import rows

pytestmark = pytest.mark.usefixtures("database")


def come(count: int, priority: int = 5) -> str:
    """Queue a batch as intake does; return its id."""
    with db.transaction() as tx:
        rows.tenant(tx)
        batch_id = rows.batch(tx, count, priority=priority)
        batch = tx.get_one(Batch, batch_id)
        for tag in order.line_up(tx, rows.TENANT, batch, count):
            rows.job(tx, batch_id=batch_id, tag=tag)
    return batch_id


def come_alone(count: int) -> None:
    """Queue single jobs one after the other."""
    for _ in range(count):
        with db.transaction() as tx:
            (tag,) = order.line_up(tx, rows.TENANT, None, 1)
            rows.job(tx, tag=tag)


def last_place(batch_id: str | None) -> int:
    """Return the place in line of the last job of a batch, or of the single ones."""
    with db.transaction() as tx:
        line = tx.scalars(select(Job.batch_id).where(Job.state == State.QUEUED).order_by(Job.tag, Job.id)).all()
    return len(line) - 1 - line[::-1].index(batch_id)


def test_small_batches_that_come_one_after_the_other_before_a_large_one_are_through_with_their_shares() -> None:
    come(400)
    small = [come(10) for _ in range(5)]
    assert max(map(last_place, small)) < 90


def test_a_small_batch_is_not_put_back_by_large_ones_that_come_later() -> None:
    come(200)
    small = come(10)
    come(200)
    come(200)
    assert last_place(small) < 40


def test_single_jobs_are_not_put_back_by_batches() -> None:
    come(200)
    come_alone(5)
    come(200)
    assert last_place(None) < 30


def test_batches_that_are_all_small_share_what_there_is() -> None:
    batches = [come(10) for _ in range(4)]
    assert min(map(last_place, batches)) >= 20
