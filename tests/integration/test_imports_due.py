"""Whose pair is fetched next: each tenant has its turn, and a message that nobody took is sent again."""

from typing import Any

import pytest
from sqlalchemy import func, select, update

from cleanplate import db
from cleanplate.models import Job
from cleanplate.states import State
from tests import rows
from tests.servers import wait_until
from worker import importing
from worker.sweep import Sweeper

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture(autouse=True)
def _hinted_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "RESEND_SECONDS", 3600.0)


def waiting(**columns: Any) -> str:
    with db.transaction() as tx:
        return rows.job(tx, State.IMPORTING, due_at=func.now(), **columns)


def due(limit: int = 32) -> list[str]:
    with db.transaction() as tx:
        return importing.due(tx, limit)


def test_tenants_are_imported_for_by_turns_and_nobody_waits_behind_anothers_thousands() -> None:
    many = [waiting() for _ in range(20)]
    with db.transaction() as tx:
        rows.tenant(tx, "ten_2")
    few = [waiting(tenant_id="ten_2") for _ in range(2)]
    found = due(6)
    assert set(found[:4]) == {*many[:2], *few}
    assert set(found[4:]) == set(many[2:4])


def test_what_was_hinted_at_is_found_again_when_nobody_took_the_hint() -> None:
    job_id = waiting()
    assert due() == [job_id]
    assert due() == []
    with db.transaction() as tx:
        tx.execute(update(Job).values(due_at=func.now()))
    assert due() == [job_id]


def test_a_job_that_somebody_holds_is_passed_over() -> None:
    held, free = waiting(), waiting()
    with db.transaction() as tx:
        tx.execute(select(Job.id).where(Job.id == held).with_for_update())
        assert due() == [free]


def test_the_sweep_hints_at_what_is_to_be_imported(hints: list[tuple[str, str]]) -> None:
    job_id = waiting()
    sweeper = Sweeper(on_death=pytest.fail)
    sweeper.start()
    try:
        wait_until(lambda: ("import", job_id) in hints)
    finally:
        sweeper.end()
        sweeper.join()
