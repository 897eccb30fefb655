"""Slots, the gate, the pause and what a 429 teaches, in one row that every conveyor shares."""

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from cleanplate import accounts, db, jobs
from cleanplate.access import Access
from cleanplate.models import Account, Attempt, Delivery, Job
from cleanplate.outcomes import ErrorCode, NotAccepted, Rejected
from cleanplate.states import HOLDS_SLOT, State
from tests import rows
from tests.threads import at_once
from worker import capacity, meaning
from worker.latencies import Learned

pytestmark = pytest.mark.usefixtures("database")

LIMIT = NotAccepted("the upstream's limit (429)", over_limit=True, retry_after=5.0)
CREDITS = ("credits", "out of credits (402)")


def account() -> Account:
    with db.transaction() as tx:
        return tx.get_one(Account, rows.ACCOUNT)


def named(**slots: int) -> list[Access]:
    """Accounts as the settings name them."""
    return [Access(name, SecretStr(name), "http://127.0.0.1:9", cap) for name, cap in slots.items()]


def claimed(count: int, owner: str = rows.WORKER) -> list[str]:
    with db.transaction() as tx:
        return rows.jobs(tx, count, State.CLAIMED, owner=owner)


def take(ids: list[str], worker: str = rows.WORKER) -> tuple[AbstractSet[str], AbstractSet[str]]:
    with db.transaction() as tx:
        return rows.seats(tx, worker, ids)


def with_account(cap: int = 24, **columns: Any) -> None:
    with db.transaction() as tx:
        rows.account(tx, cap, **columns)


def gate_seconds() -> float:
    with db.transaction() as tx:
        return float(tx.scalar(select(func.extract("epoch", Account.gate_until - func.now()))) or 0.0)


def open_gate() -> None:
    with db.transaction() as tx:
        tx.execute(update(Account).values(gate_until=func.now()))


def used(tx: Session) -> int:
    return tx.scalar(jobs.slots_held(rows.ACCOUNT)) or 0


def told() -> list[str]:
    with db.transaction() as tx:
        return list(tx.scalars(select(Delivery.event_type).order_by(Delivery.id)))


# -- the row -----------------------------------------------------------------------------------------------------------


def test_the_account_is_made_once_and_follows_the_setting() -> None:
    for cap, allowed in ((24, 24), (24, 7), (48, 48), (12, 12)):
        with db.transaction() as tx:
            capacity.ensure(tx, named(default=cap))
        if allowed == 7:
            with db.transaction() as tx:
                tx.execute(update(Account).values(allowed=7))
                capacity.ensure(tx, named(default=cap))
        assert (account().cap, account().allowed) == (cap, allowed)


def test_the_latency_is_learned_for_the_next_start() -> None:
    with_account()
    with db.transaction() as tx:
        assert capacity.learned(tx) == {}
        capacity.keep_up(tx, {rows.ACCOUNT: Learned(4.25, {"20": 4.0})})
    with db.transaction() as tx:
        capacity.keep_up(tx, {rows.ACCOUNT: Learned(4.5, {"22": 9.0})})
    with db.transaction() as tx:
        assert capacity.learned(tx) == {rows.ACCOUNT: Learned(4.5, {"20": 4.0, "22": 9.0})}


# -- slots -------------------------------------------------------------------------------------------------------------


def test_slots_go_to_the_first_in_line_and_each_has_its_row_in_the_ledger_before_anything_is_sent() -> None:
    with_account(cap=3)
    ids = claimed(5)
    order = [ids[4], ids[0], ids[3], ids[1]]
    assert take(order) == ({ids[4], ids[0], ids[3]}, set())
    with db.transaction() as tx:
        for id_ in order[:3]:
            (attempt,) = rows.attempts(tx, id_)
            assert (attempt.number, attempt.outcome, attempt.account) == (1, "sending", rows.ACCOUNT)
            assert (attempt.worker, attempt.answered_at) == (rows.WORKER, None)
            job = tx.get_one(Job, id_)
            assert (job.state, job.attempts, job.account) == ("sending", 1, rows.ACCOUNT)
            assert job.started_at is not None
        assert rows.attempts(tx, ids[1]) == []
    assert take([ids[1]]) == (set(), set())


def test_every_state_that_holds_a_slot_counts_and_no_other() -> None:
    with_account(cap=20)
    with db.transaction() as tx:
        for state in State:
            rows.job(tx, state)
    granted, _ = take(claimed(25))
    assert len(granted) == 20 - len(HOLDS_SLOT)


def test_what_is_no_longer_the_workers_is_told_to_be_lost_and_pays_nothing() -> None:
    with_account()
    mine, (others,) = claimed(1), claimed(1, "w2")
    with db.transaction() as tx:
        gone = rows.job(tx, State.CANCELLED)
    assert take([others, gone, *mine]) == (set(mine), {others, gone})
    with db.transaction() as tx:
        assert tx.scalar(select(func.count()).select_from(Attempt)) == 1


def test_a_second_submit_is_a_second_row_and_the_start_stays_the_first() -> None:
    with_account()
    (id_,) = claimed(1)
    take([id_])
    with db.transaction() as tx:
        first = tx.get_one(Job, id_).started_at
        back = jobs.Change(id_, frozenset({State.SENDING}), State.CLAIMED, "429", values={"owner": rows.WORKER})
        jobs.apply(tx, [back])
    take([id_])
    with db.transaction() as tx:
        assert [attempt.number for attempt in rows.attempts(tx, id_)] == [1, 2]
        assert tx.get_one(Job, id_).started_at == first


def test_eight_conveyors_at_once_fill_the_slots_to_the_last_and_never_one_more() -> None:
    with_account(cap=10)
    shares = [claimed(20, f"w{number}") for number in range(8)]
    seen: list[int] = []

    def work(worker: str, ids: list[str]) -> None:
        for _ in range(6):
            with db.transaction() as tx:
                moved, _ = rows.seats(tx, worker, ids)
                seen.append(used(tx))
            over = [
                jobs.Change(id_, frozenset({State.SENDING}), State.FAILED, "x", values={"error_code": "upstream_error"})
                for id_ in sorted(moved)[:2]
            ]
            with db.transaction() as tx:
                jobs.apply(tx, over)
            ids = [id_ for id_ in ids if id_ not in moved]
        with db.transaction() as tx:
            rows.seats(tx, worker, ids)

    at_once([lambda name=f"w{number}", ids=share: work(name, ids) for number, share in enumerate(shares)])
    assert max(seen) <= 10
    with db.transaction() as tx:
        assert used(tx) == 10
    with db.transaction() as tx:
        assert tx.scalar(select(func.count()).select_from(Attempt)) == tx.scalar(select(func.sum(Job.attempts)))


# -- what a 429 teaches ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("retry_after", "seconds"), [(7.0, 7.0), (0.0, 0.0), (None, 1.0)])
def test_after_a_429_what_was_accepted_is_allowed_and_the_gate_is_shut_for_as_long_as_it_asked(
    retry_after: float | None, seconds: float
) -> None:
    with_account()
    with db.transaction() as tx:
        rows.jobs(tx, 9, State.INFLIGHT)
        capacity.limit_hit(tx, rows.ACCOUNT, retry_after)
    assert account().allowed == 9
    assert gate_seconds() == pytest.approx(seconds, abs=0.5)
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


def test_a_slot_that_becomes_free_is_given_on_in_the_same_transaction() -> None:
    with_account(cap=1)
    first, second = claimed(2)
    take([first])
    refused = meaning.of_submit(first, 1, Rejected(ErrorCode.UPSTREAM_REJECTED, "422"), rows.WORKER, 30.0)
    with db.transaction() as tx:
        assert capacity.turn(tx, rows.WORKER, {rows.ACCOUNT}, [refused], [], {second: None}) == capacity.Turn(
            {first}, {second: capacity.Seat(rows.ACCOUNT, 1)}, set()
        )
        assert used(tx) == 1


# -- pause -------------------------------------------------------------------------------------------------------------


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
        assert take(ids) == ({probe}, set())
        assert gate_seconds() == pytest.approx(accounts.PROBE_SECONDS, abs=1.0)
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
    with db.transaction() as tx:
        capacity.limit_hit(tx, rows.ACCOUNT, 60.0)
        accounts.answered(tx, rows.ACCOUNT)
    assert gate_seconds() > 50


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
