"""Who goes first: fair among tenants by weight and among the batches of one, whatever comes when."""

from collections import Counter
from collections.abc import Callable
from itertools import combinations
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as often
from hypothesis import strategies as st
from sqlalchemy import delete, insert, select, update

from cleanplate import db, ids, jobs, order
from cleanplate.jobs import Change
from cleanplate.models import Base, Batch, Job, Tenant
from cleanplate.states import State
from tests import rows
from tests.threads import at_once

pytestmark = pytest.mark.usefixtures("database")

ONE = order.COST


def add(tenant: str, count: int, batch_id: str | None = None) -> list[str]:
    """Queue jobs as intake does, single ones without a batch; return their ids."""
    with db.transaction() as tx:
        rows.tenant(tx, tenant)
        batch = tx.get_one(Batch, batch_id, with_for_update={"key_share": True}) if batch_id else None
        tags = order.line_up(tx, tenant, batch, count)
        facts = {"tenant_id": tenant, "batch_id": batch_id, "image": {}, "mask": {}}
        facts |= dict.fromkeys(("image_key", "mask_key", "send_image_key", "send_mask_key"), "k")
        made = [{"id": ids.new(ids.Kind.JOB), "tag": tag, **facts} for tag in tags]
        if made:
            tx.execute(insert(Job), made)
    return [str(job["id"]) for job in made]


def batch(tenant: str, count: int, priority: int = 5) -> str:
    with db.transaction() as tx:
        rows.tenant(tx, tenant)
        batch_id = rows.batch(tx, count, tenant_id=tenant, priority=priority)
    add(tenant, count, batch_id)
    return batch_id


def weigh(tenant: str, weight: float) -> None:
    with db.transaction() as tx:
        rows.tenant(tx, tenant)
        tx.execute(update(Tenant).where(Tenant.id == tenant).values(weight=weight))


def claim(count: int) -> list[Job]:
    """Claim so many jobs and return them, in the order in which they were."""
    with db.transaction() as tx:
        return [tx.get_one(Job, job.id) for job in jobs.claim(tx, "w1", count)]


def tenants(count: int) -> Counter[str]:
    return Counter(job.tenant_id for job in claim(count))


def batches(count: int) -> Counter[str | None]:
    return Counter(job.batch_id for job in claim(count))


def line(tenant: str) -> list[int]:
    with db.transaction() as tx:
        query = select(Job.tag).where(Job.tenant_id == tenant, Job.state == "queued").order_by(Job.tag)
        return list(tx.scalars(query))


# -- among tenants -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("under_way", [0, 100])
def test_ten_jobs_do_not_wait_behind_the_five_thousand_of_another(under_way: int) -> None:
    batch("A", 5000)
    claim(under_way)
    batch("B", 10)
    assert [tenants(1).keys() for _ in range(20)].count({"B"}) == 10


def test_more_batches_give_a_tenant_no_more_of_the_slots() -> None:
    batch("B", 60)
    for _ in range(6):
        batch("A", 20)
    add("A", 20)
    assert tenants(100) == {"A": 50, "B": 50}


def test_a_tenant_of_three_times_the_weight_has_three_times_the_share() -> None:
    weigh("A", 3)
    weigh("B", 0.5)
    weigh("C", 0.5)
    for tenant in "ABC":
        batch(tenant, 100)
    assert tenants(80) == pytest.approx({"A": 60, "B": 10, "C": 10}, abs=1)


def test_who_was_idle_has_saved_nothing_up_and_owes_nothing() -> None:
    batch("A", 300)
    claim(200)
    batch("B", 100)
    assert tenants(40) == {"A": 20, "B": 20}
    assert tenants(160) == {"A": 80, "B": 80}
    batch("B", 50)
    batch("A", 50)
    assert tenants(40) == {"A": 20, "B": 20}


def test_who_sends_one_job_after_the_other_has_no_more_than_its_share() -> None:
    batch("A", 100)
    served = Counter[str]()
    for _ in range(40):
        if not line("B"):
            batch("B", 1)
        served += tenants(1)
    assert served["B"] <= 21


def test_what_was_cancelled_is_no_debt() -> None:
    batch("A", 100)
    wrong = batch("B", 1000)
    with db.transaction() as tx:
        its = tx.scalars(select(Job.id).where(Job.batch_id == wrong)).all()
        jobs.apply(tx, [Change(id_, frozenset({State.QUEUED}), State.CANCELLED, "asked for") for id_ in its])
    batch("B", 100)
    assert tenants(40) == pytest.approx({"A": 20, "B": 20}, abs=1)


def test_a_job_that_is_queued_again_keeps_its_turn_and_turns_no_time_back() -> None:
    batch("A", 50)
    first, *_ = claim(40)
    with db.transaction() as tx:
        for source, target in (("CLAIMED", "SENDING"), ("SENDING", "UNCONFIRMED"), ("UNCONFIRMED", "QUEUED")):
            move = Change(first.id, frozenset({State[source]}), State[target], "test", values={"attempts": 1})
            jobs.apply(tx, [move])
    batch("B", 20)
    assert [job.id for job in claim(1)] == [first.id]
    assert tenants(20) == {"A": 10, "B": 10}


def test_an_empty_queue_begins_where_all_lines_have_ended() -> None:
    batch("A", 50)
    batch("B", 10)
    claim(60)
    batch("B", 20)
    batch("A", 20)
    assert tenants(20) == {"A": 10, "B": 10}


# -- among the batches of one tenant -----------------------------------------------------------------------------------


def test_a_small_batch_does_not_wait_behind_the_large_one_of_the_same_tenant() -> None:
    large = batch("A", 2000)
    claim(30)
    small = batch("A", 10)
    found = batches(22)
    assert found[small] == 10
    assert batches(4) == {large: 4}


def test_batches_of_one_tenant_have_equal_shares() -> None:
    three = [batch("A", 300) for _ in range(3)]
    found = batches(300)
    assert [found[one] for one in three] == pytest.approx([100] * 3, abs=12)


def test_each_step_of_priority_doubles_a_batchs_share_and_none_is_left_without() -> None:
    low = batch("A", 900, priority=4)
    high = batch("A", 900, priority=6)
    assert batches(500)[high] == pytest.approx(400, abs=10)
    assert batches(500)[low] == pytest.approx(100, abs=10)


def test_priority_does_not_overtake_another_tenant() -> None:
    batch("B", 100, priority=0)
    batch("A", 100, priority=0)
    batch("A", 100, priority=9)
    assert tenants(100) == {"A": 50, "B": 50}


def test_single_jobs_of_a_tenant_share_its_line_as_a_batch_would() -> None:
    batch("A", 200)
    for _ in range(50):
        add("A", 1)
    assert batches(60)[None] == pytest.approx(30, abs=6)


def test_a_batch_that_comes_in_parts_has_the_share_of_one_that_comes_whole() -> None:
    batch("A", 400)
    parts = batch("A", 0)
    for _ in range(20):
        add("A", 10, parts)
    assert batches(200)[parts] == pytest.approx(100, abs=12)


def test_a_line_has_no_gap_and_no_tag_twice_however_often_places_were_changed() -> None:
    for count, priority in ((50, 5), (7, 9), (30, 0), (1, 5), (12, 7)):
        batch("A", count, priority)
        add("A", 1)
    assert line("A") == [ONE * number for number in range(105)]


def test_who_is_being_claimed_keeps_its_place_and_nobody_waits_for_it() -> None:
    large = batch("A", 20)
    with db.transaction() as tx:
        mine = {job.id: job.tag for job in jobs.claim(tx, "w1", 15)}
        batch("A", 20)
        assert {job.id: job.tag for job in tx.scalars(select(Job).where(Job.id.in_(mine)))} == mine
    assert line("A") == [ONE * number for number in range(15, 40)]
    with db.transaction() as tx:
        assert len(tx.scalars(select(Job.id).where(Job.batch_id == large)).all()) == 20


# -- all at once -------------------------------------------------------------------------------------------------------


def test_intakes_claims_and_cancellations_at_once_tear_no_line_and_wait_in_no_circle() -> None:
    large = [batch("A", 60), batch("A", 60)]
    queued = frozenset({State.QUEUED})
    taken: list[str] = []

    def claims() -> None:
        for _ in range(20):
            taken.extend(job.id for job in claim(3))

    def cancels() -> None:
        with db.transaction() as tx:
            some = tx.scalars(select(Job.id).where(Job.batch_id == large[0]).limit(20)).all()
            taken.extend(jobs.apply(tx, [Change(id_, queued, State.CANCELLED, "asked for") for id_ in some]))

    calls: list[Callable[[], Any]] = [claims, claims, cancels]
    calls += [lambda: [add("A", 5, large[0]) for _ in range(5)], lambda: [add("A", 5, large[1]) for _ in range(5)]]
    calls += [lambda: [batch("A", 8) for _ in range(4)], lambda: [add("A", 1) for _ in range(10)]]
    at_once(calls)
    left = line("A")
    assert len(set(left)) == len(left)
    assert len(left) + len(taken) == 120 + 50 + 32 + 10


def test_intakes_of_one_tenant_at_once_are_one_line() -> None:
    at_once([lambda: batch("A", 10)] * 6)
    assert line("A") == [ONE * number for number in range(60)]


WEIGHTS = {"A": 1.0, "B": 2.0, "C": 0.5}
intakes = st.tuples(st.sampled_from("ABC"), st.integers(0, 3), st.integers(1, 12), st.sampled_from([0, 5, 9]))


class Race:
    """Counts by how much each tenant is ahead of each other, by weight, for as long as both have jobs waiting."""

    def __init__(self) -> None:
        self.waiting = Counter[str]()
        self.served = Counter[str]()
        self.ahead: dict[tuple[str, str], list[float]] = {}

    def serve(self, tenant: str) -> None:
        self.served[tenant] += 1
        for one, other in combinations(WEIGHTS, 2):
            if self.waiting[one] and self.waiting[other]:
                lead = self.served[one] / WEIGHTS[one] - self.served[other] / WEIGHTS[other]
                seen = self.ahead.setdefault((one, other), [])
                seen.append(lead)
                assert max(seen) - min(seen) <= 1 / WEIGHTS[one] + 1 / WEIGHTS[other] + 1e-3
        self.waiting[tenant] -= 1
        if not self.waiting[tenant]:
            self.ahead = {pair: seen for pair, seen in self.ahead.items() if tenant not in pair}


@often(max_examples=40, suppress_health_check=list(HealthCheck))
@given(st.lists(st.one_of(intakes, st.integers(1, 20)), max_size=25))
def test_while_two_tenants_have_jobs_waiting_neither_is_ahead_by_more_than_one_job_of_each(
    steps: list[tuple[str, int, int, int] | int],
) -> None:
    with db.transaction() as tx:
        for table in reversed(Base.metadata.sorted_tables):
            tx.execute(delete(table))
    for tenant, weight in WEIGHTS.items():
        weigh(tenant, weight)
    known: dict[tuple[str, int], str] = {}
    race = Race()
    for step in [*steps, 400]:
        if not isinstance(step, tuple):
            for job in claim(step):
                race.serve(job.tenant_id)
            continue
        tenant, number, count, priority = step
        race.waiting[tenant] += count
        if not number:
            add(tenant, count)
        elif (tenant, number) in known:
            add(tenant, count, known[tenant, number])
        else:
            known[tenant, number] = batch(tenant, count, priority)
    assert not +race.waiting
