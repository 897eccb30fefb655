"""Several upstream accounts share out one line: each has its own slots, its own pause and its own limit."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, event, func, select, update

from cleanplate import accounts, db, jobs
from cleanplate.models import Account, Attempt, Delivery, Job
from cleanplate.states import State
from tests import rows
from tests.slots import account, claimed, named
from tests.threads import at_once
from worker import capacity

pytestmark = pytest.mark.usefixtures("database", "shut_gates")

CAPS = {"big": 4, "small": 2}
SENDING = frozenset({State.SENDING})


def begin(**slots: int) -> None:
    with db.transaction() as tx:
        capacity.ensure(tx, named(**slots))


def take(line: Sequence[str], names: Sequence[str] = tuple(CAPS), worker: str = rows.WORKER) -> dict[str, str]:
    """Take a turn; return who has a slot, and of which account."""
    with db.transaction() as tx:
        seated = capacity.turn(tx, worker, names, [], [], dict.fromkeys(line)).seated
        return {id_: seat.account for id_, seat in seated.items()}


def held() -> Counter[str | None]:
    """How many slots of each account are held, by the rows."""
    with db.transaction() as tx:
        query = select(Job.account, func.count()).where(Job.state == State.SENDING).group_by(Job.account)
        return Counter(dict(tx.execute(query).all()))


def pause(name: str, reason: str = "credits") -> None:
    with db.transaction() as tx:
        accounts.pause(tx, name, reason, "402")


def open_gate(name: str) -> None:
    with db.transaction() as tx:
        tx.execute(update(Account).where(Account.name == name).values(gate_until=func.now()))


def test_a_line_fills_every_account_to_its_cap_and_the_ledger_knows_whose_each_submit_is() -> None:
    begin(**CAPS)
    line = claimed(10)
    seated = take(line)
    assert set(seated) == set(line[:6])
    assert Counter(seated.values()) == held() == CAPS
    with db.transaction() as tx:
        assert {id_: rows.attempts(tx, id_)[0].account for id_ in seated} == seated
        assert {id_: tx.get_one(Job, id_).account for id_ in seated} == seated


def test_each_job_goes_to_the_account_of_which_the_largest_share_is_free() -> None:
    begin(big=4, small=2)
    assert [Counter(take(claimed(1))) and held() for _ in range(4)] == [
        {"big": 1},
        {"big": 1, "small": 1},
        {"big": 2, "small": 1},
        {"big": 3, "small": 1},
    ]


def test_who_is_refused_by_one_account_may_go_to_another() -> None:
    begin(big=1, small=1)
    (job_id,) = claimed(1)
    assert take([job_id]) == {job_id: "big"}
    back = jobs.Change(job_id, SENDING, State.CLAIMED, "429", rows.WORKER, {"owner": rows.WORKER, "account": None})
    with db.transaction() as tx:
        jobs.apply(tx, [back])
        capacity.limit_hit(tx, "big", 60.0)
    assert take([job_id]) == {job_id: "small"}
    with db.transaction() as tx:
        assert [attempt.account for attempt in rows.attempts(tx, job_id)] == ["big", "small"]


@pytest.mark.parametrize("reason", ["credits", accounts.UNANSWERED, accounts.BY_HAND])
def test_a_paused_account_does_not_stop_the_others(reason: str) -> None:
    begin(**CAPS)
    pause("big", reason)
    assert Counter(take(claimed(10)).values()) == {"small": 2}


def test_a_probe_takes_the_first_of_the_line_and_no_more_until_the_next() -> None:
    begin(**CAPS)
    pause("big")
    open_gate("big")
    line = claimed(4)
    assert take(line) == {line[0]: "big", line[1]: "small", line[2]: "small"}
    assert take(line[3:]) == {}
    open_gate("big")
    assert take(line[3:]) == {line[3]: "big"}


def test_a_probe_that_may_be_paid_for_nothing_waits_until_no_other_account_has_a_slot() -> None:
    begin(**CAPS)
    pause("big", accounts.UNANSWERED)
    open_gate("big")
    line = claimed(4)
    assert take(line[:1]) == {line[0]: "small"}
    assert take(line[1:]) == {line[1]: "small", line[2]: "big"}


def test_a_429_teaches_its_own_account_which_regrows_alone() -> None:
    begin(**CAPS)
    take(claimed(3))
    with db.transaction() as tx:
        capacity.limit_hit(tx, "big", 0.0)
    assert {name: account(name).allowed for name in CAPS} == {"big": 2, "small": 2}
    with db.transaction() as tx:
        tx.execute(update(Account).values(allowed_at=func.now() - func.make_interval(0, 0, 0, 0, 0, 2)))
        assert capacity.keep_up(tx, {})
        tx.execute(update(Account).values(allowed_at=func.now() - func.make_interval(0, 0, 0, 0, 0, 2)))
        assert capacity.keep_up(tx, {})
        assert not capacity.keep_up(tx, {})
    assert {name: account(name).allowed for name in CAPS} == CAPS


def test_eight_conveyors_at_once_fill_every_account_to_the_last_slot_and_never_one_more() -> None:
    begin(big=7, small=3)
    shares = [claimed(20, f"w{number}") for number in range(8)]
    seen: list[dict[str, int]] = []

    def work(worker: str, ids: list[str]) -> None:
        for _ in range(6):
            with db.transaction() as tx:
                moved = capacity.turn(tx, worker, tuple(CAPS), [], [], dict.fromkeys(ids)).seated
                seen.append({name: tx.scalar(jobs.slots_held(name)) or 0 for name in CAPS})
            over = [
                jobs.Change(id_, SENDING, State.FAILED, "x", values={"error_code": "upstream_error"})
                for id_ in sorted(moved)[:2]
            ]
            with db.transaction() as tx:
                jobs.apply(tx, over)
            ids = [id_ for id_ in ids if id_ not in moved]
        take(ids, worker=worker)

    at_once([lambda name=f"w{number}", ids=share: work(name, ids) for number, share in enumerate(shares)])
    assert all(counts["big"] <= 7 and counts["small"] <= 3 for counts in seen)
    assert held() == {"big": 7, "small": 3}
    with db.transaction() as tx:
        assert tx.scalar(select(func.count()).select_from(Attempt)) == tx.scalar(select(func.sum(Job.attempts)))


def test_a_conveyor_gives_nothing_to_an_account_that_it_has_no_key_of() -> None:
    begin(**CAPS)
    assert Counter(take(claimed(10), names=["small"]).values()) == {"small": 2}


def test_an_account_that_the_settings_name_no_more_gets_no_job_and_what_it_has_in_flight_counts() -> None:
    begin(**CAPS)
    take(claimed(6))
    begin(small=2)
    assert (account("big").cap, account("big").allowed) == (0, 0)
    assert held() == CAPS
    assert take(claimed(3)) == {}
    with db.transaction() as tx:
        capacity.limit_hit(tx, "big", 0.0)
        accounts.answered(tx, "big")
        assert accounts.in_use(tx) == ["small"]
    assert account("big").allowed == 0
    begin(big=5, small=2)
    assert Counter(take(claimed(3)).values()) == {"big": 1}


def test_every_event_names_its_account() -> None:
    begin(**CAPS)
    with db.transaction() as tx:
        rows.deaf_endpoint(tx)
        accounts.pause(tx, "big", "credits", "402")
        accounts.answered(tx, "small")
        accounts.answered(tx, "big")
    with db.transaction() as tx:
        told = tx.execute(select(Delivery.event_type, Delivery.body).order_by(Delivery.id)).all()
    assert [(kind, '"account":"big"' in body.replace(" ", "")) for kind, body in told] == [
        ("upstream.paused", True),
        ("upstream.resumed", True),
    ]


@contextmanager
def counted(engine: Engine) -> Iterator[list[str]]:
    """Collect the statements that are executed."""
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(engine, "before_cursor_execute", note)


def test_a_turn_costs_as_many_statements_whatever_the_number_of_accounts(database: Engine) -> None:
    costs = []
    for slots in ({"a": 6}, {"a": 2, "b": 2, "c": 2}):
        begin(**slots)
        line = claimed(3)
        with counted(database) as statements:
            assert len(take(line, names=tuple(slots))) == 3
        costs.append(len(statements))
    assert costs[0] == costs[1]
