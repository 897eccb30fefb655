"""What a 429 teaches: how much is allowed, when the gate opens and how the slots grow again."""

from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from cleanplate import db
from cleanplate.models import Account
from cleanplate.outcomes import NotAccepted
from cleanplate.states import State
from tests import rows
from tests.seen import passing
from tests.slots import account, claimed, take, with_account
from worker import capacity, meaning

pytestmark = pytest.mark.usefixtures("database")
LIMIT = NotAccepted("the upstream's limit (429)", over_limit=True, retry_after=5.0)


@pytest.mark.parametrize(("retry_after", "seconds"), [(7.0, 7.0), (0.0, 0.0), (None, 1.0)])
def test_after_a_429_what_was_accepted_is_allowed_and_the_gate_is_shut_for_as_long_as_it_asked(
    retry_after: float | None, seconds: float
) -> None:
    with_account()
    with passing() as span, db.transaction() as tx:
        rows.jobs(tx, 9, State.INFLIGHT)
        capacity.limit_hit(tx, rows.ACCOUNT, retry_after)
    assert account().allowed == 9
    assert account().gate_until - timedelta(seconds=seconds) in span
    granted, lost = take(claimed(30))
    assert (granted, lost) == (set(), set())


def test_a_429_never_closes_the_last_slot_and_never_opens_one() -> None:
    with_account(cap=5)
    with db.transaction() as tx:
        capacity.limit_hit(tx, rows.ACCOUNT, 0.0)
    assert account().allowed == 1
    with db.transaction() as tx:
        rows.jobs(tx, 3, State.INFLIGHT)
        capacity.limit_hit(tx, rows.ACCOUNT, 0.0)
    assert account().allowed == 1


def test_a_slot_more_is_allowed_for_each_latency_that_passes_until_the_cap() -> None:
    with_account(cap=4, allowed=2, latency_seconds=60.0)
    grown = []
    for passed in (59, 61, 30, 61, 61):
        with db.transaction() as tx:
            tx.execute(update(Account).values(allowed_at=func.now() - timedelta(seconds=passed)))
            grown.append((capacity.keep_up(tx, {}), tx.scalar(select(Account.allowed))))
    assert grown == [(False, 2), (True, 3), (False, 3), (True, 4), (False, 4)]


def test_an_upstream_whose_latency_is_not_known_regrows_each_second() -> None:
    with_account(cap=4, allowed=2)
    with db.transaction() as tx:
        tx.execute(update(Account).values(allowed_at=func.now()))
        assert not capacity.keep_up(tx, {})
        tx.execute(update(Account).values(allowed_at=func.now() - timedelta(seconds=2)))
        assert capacity.keep_up(tx, {})


def test_what_a_429_means_for_the_account_is_written_with_the_answer_so_no_other_job_slips_through() -> None:
    with_account(cap=8)
    first, second, third = claimed(3)
    take([first])
    refused = meaning.of_submit(first, 1, LIMIT, rows.WORKER, 30.0)
    effect = meaning.effect_of_submit(rows.ACCOUNT, LIMIT)
    assert effect is not None
    with db.transaction() as tx:
        turn = capacity.turn(tx, rows.WORKER, {rows.ACCOUNT}, [refused], [effect], dict.fromkeys([second, third]))
    assert turn.granted == {first}
    assert not turn.seated
    assert account().allowed == 1
