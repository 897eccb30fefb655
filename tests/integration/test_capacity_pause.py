"""What stops an account, what opens it again, and who is told."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import func, select, update

from cleanplate import accounts, db
from cleanplate.models import Account, Delivery
from cleanplate.states import State
from tests import rows
from tests.seen import passing
from tests.slots import account, claimed, take, with_account
from tests.threads import at_once
from worker import capacity

pytestmark = pytest.mark.usefixtures("database", "shut_gates")
CREDITS = ("credits", "out of credits (402)")


def open_gate() -> None:
    with db.transaction() as tx:
        tx.execute(update(Account).values(gate_until=func.now()))


def told() -> list[str]:
    with db.transaction() as tx:
        return list(tx.scalars(select(Delivery.event_type).order_by(Delivery.id)))


def test_a_pause_says_why_and_lets_one_job_through_every_few_seconds_to_see_whether_it_is_mended() -> None:
    with_account()
    ids = claimed(4)
    with db.transaction() as tx:
        accounts.pause(tx, rows.ACCOUNT, *CREDITS)
    assert (account().paused_reason, account().paused_detail) == ("credits", "out of credits (402)")
    assert account().paused_at is not None
    assert take(ids) == (set(), set())
    for probe in ids[:2]:
        open_gate()
        with passing() as span:
            assert take(ids) == ({probe}, set())
        assert account().gate_until - timedelta(seconds=accounts.PROBE_SECONDS) in span
        assert take(ids[1:]) == (set(), set())
        ids = ids[1:]


def test_conveyors_that_probe_at_once_send_one_job_together() -> None:
    with_account(paused_reason="credits", gate_until=func.now())
    shares = [claimed(3, f"w{number}") for number in range(6)]
    taken = at_once([lambda name=f"w{number}", ids=share: take(ids, name) for number, share in enumerate(shares)])
    assert sum(len(moved) for moved, _ in taken) == 1


def test_a_probe_takes_no_slot_that_is_not_free() -> None:
    with_account(cap=2, paused_reason="credits", gate_until=func.now())
    with db.transaction() as tx:
        rows.jobs(tx, 2, State.UNCONFIRMED)
    assert take(claimed(1)) == (set(), set())


def test_an_accepted_submit_opens_the_account_again() -> None:
    with_account()
    with db.transaction() as tx:
        accounts.pause(tx, rows.ACCOUNT, *CREDITS)
    with db.transaction() as tx:
        accounts.answered(tx, rows.ACCOUNT)
    after = account()
    assert (after.paused_reason, after.paused_detail, after.paused_at, after.gate_until) == (None, None, None, None)
    ids = claimed(3)
    assert take(ids) == (set(ids), set())


def test_an_accepted_submit_leaves_the_gate_that_a_429_shut() -> None:
    with_account()
    with passing() as span, db.transaction() as tx:
        capacity.limit_hit(tx, rows.ACCOUNT, 60.0)
        accounts.answered(tx, rows.ACCOUNT)
    assert account().gate_until - timedelta(seconds=60) in span


def test_a_pause_that_goes_on_keeps_its_beginning_and_hears_the_newest_reason() -> None:
    with_account()
    with db.transaction() as tx:
        accounts.pause(tx, rows.ACCOUNT, *CREDITS)
    began = account().paused_at
    with db.transaction() as tx:
        accounts.pause(tx, rows.ACCOUNT, "access", "refused (403)")
    assert account().paused_at == began
    assert account().paused_reason == "access"


def test_what_a_person_paused_no_answer_opens_and_no_probe_tries() -> None:
    with_account()
    with db.transaction() as tx:
        accounts.pause(tx, rows.ACCOUNT, accounts.BY_HAND, "stocktaking")
    for seen in (accounts.answered, partial(accounts.pause, reason="credits", detail="402")):
        with db.transaction() as tx:
            seen(tx, account=rows.ACCOUNT)
        assert (account().paused_reason, account().paused_detail) == ("manual", "stocktaking")
    open_gate()
    assert take(claimed(1)) == (set(), set())
    with db.transaction() as tx:
        assert accounts.resume(tx, rows.ACCOUNT)
    assert account().paused_reason is None


def test_submits_without_an_answer_one_after_another_stop_it_and_an_answer_counts_anew() -> None:
    with_account()

    def unanswered(times: int) -> str | None:
        for _ in range(times):
            with db.transaction() as tx:
                accounts.unanswered(tx, rows.ACCOUNT)
        return account().paused_reason

    assert unanswered(accounts.UNANSWERED_ALLOWED - 1) is None
    with db.transaction() as tx:
        accounts.answered(tx, rows.ACCOUNT)
    assert unanswered(accounts.UNANSWERED_ALLOWED - 1) is None
    assert unanswered(1) == "unanswered"
    with db.transaction() as tx:
        accounts.answered(tx, rows.ACCOUNT)
    assert (account().paused_reason, account().unanswered) == (None, 0)


def test_every_tenant_hears_once_of_a_pause_and_once_of_its_end_however_many_conveyors_saw_it() -> None:
    with db.transaction() as tx:
        rows.account(tx)
        rows.deaf_endpoint(tx)
        rows.deaf_endpoint(tx, tenant_id=rows.tenant(tx, "ten_2"))
        rows.deaf_endpoint(tx, events=["job.succeeded"])

    def change(effect: Callable[[Any], None]) -> None:
        with db.transaction() as tx:
            effect(tx)

    at_once([lambda: change(lambda tx: accounts.pause(tx, rows.ACCOUNT, *CREDITS))] * 6)
    assert told() == ["upstream.paused"] * 2
    at_once([lambda: change(lambda tx: accounts.answered(tx, rows.ACCOUNT))] * 6)
    assert told() == ["upstream.paused"] * 2 + ["upstream.resumed"] * 2
