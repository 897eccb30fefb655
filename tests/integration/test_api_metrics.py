"""What `/metrics` tells, and how often the database is asked for it."""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, event, func

from api import metrics
from cleanplate import db
from cleanplate.models import Delivery
from cleanplate.states import State
from tests import rows
from tests.api import Api

GUIDE = Path(__file__).parents[2] / "docs" / "metrics.md"
LINE = re.compile(r"(cleanplate_[a-z_]+)(?:\{([a-z]+)=\"([a-z]+)\"\})? (\S+)")


@pytest.fixture(autouse=True)
def _asked_anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(metrics, "KEPT_SECONDS", 1e9)
    metrics._text.cache_clear()
    yield
    metrics._text.cache_clear()


def told() -> dict[tuple[str, str], float]:
    """Return the values by metric and label."""
    metrics._text.cache_clear()
    text = bytes(metrics.get_metrics().body).decode()
    found = [LINE.fullmatch(line) for line in text.splitlines() if not line.startswith("#")]
    assert all(found)
    return {(one[1], one[3] or ""): float(one[4]) for one in found if one is not None}


def test_it_is_served_to_whoever_asks_as_prometheus_wants_it(api: Api) -> None:
    with api.anonymous() as nobody:
        response = nobody.get("/metrics")
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    head = "# HELP cleanplate_conveyors Conveyors that are alive.\n# TYPE cleanplate_conveyors gauge\n"
    assert f"{head}cleanplate_conveyors 0.0\n" in response.text


def test_jobs_accounts_and_results_are_told(database: Engine) -> None:
    assert database
    with db.transaction() as tx:
        rows.account(tx, 24, allowed=20, latency_seconds=4.5, paused_reason="credits", balance_credits=3.0)
        rows.account(tx, 0, "forgotten")
        rows.worker(tx)
        rows.worker(tx, "dead", lease_seconds=-1.0)
        batch_id = rows.batch(tx, 10, succeeded=4)
        rows.jobs(tx, 2, State.INFLIGHT, batch_id=batch_id)
        rows.jobs(tx, 4, State.QUEUED, batch_id=batch_id)
        rows.jobs(tx, 3, State.QUEUED)
        rows.job(tx, State.READY, window_ends=func.now() + timedelta(seconds=9000))
    found = told()
    stages = {label: value for (name, label), value in found.items() if name == "cleanplate_jobs"}
    assert stages == {"claimed": 0, "sending": 0, "unconfirmed": 0, "inflight": 2, "ready": 1}
    assert (found["cleanplate_jobs_waiting", "batches"], found["cleanplate_jobs_waiting", "singles"]) == (4, 3)
    assert {name: value for (name, account), value in found.items() if account == "default"} == {
        "cleanplate_upstream_slots": 24,
        "cleanplate_upstream_slots_allowed": 20,
        "cleanplate_upstream_slots_used": 2,
        "cleanplate_upstream_paused": 1,
        "cleanplate_upstream_latency_seconds": 4.5,
        "cleanplate_upstream_balance_credits": 3,
    }
    assert "forgotten" not in {label for _, label in found}
    assert (found["cleanplate_conveyors", ""], found["cleanplate_results_waiting", ""]) == (1, 1)
    assert found["cleanplate_results_seconds_left", ""] == pytest.approx(9000, abs=600)


def test_webhooks_that_are_late_are_told(database: Engine) -> None:
    assert database
    with db.transaction() as tx:
        endpoint_id = rows.deaf_endpoint(tx)
        facts = {"tenant_id": rows.TENANT, "endpoint_id": endpoint_id, "event_type": "job.failed", "body": "{}"}
        for number, late in enumerate((6000, 5, -6000)):
            due_at = func.now() - timedelta(seconds=late)
            tx.add(Delivery(id=f"dlv_{number}", event_id=f"evt_{number}", due_at=due_at, **facts))
    found = told()
    assert found["cleanplate_webhooks_due", ""] == 2
    assert found["cleanplate_webhooks_late_seconds", ""] == pytest.approx(6000, abs=600)


def test_what_is_not_known_is_left_out(database: Engine) -> None:
    assert database
    with db.transaction() as tx:
        rows.account(tx)
    unknown = {"results_seconds_left", "webhooks_late_seconds", "upstream_latency_seconds", "upstream_balance_credits"}
    assert {name for name, _ in told()}.isdisjoint({f"cleanplate_{name}" for name in unknown})


def test_however_many_ask_the_database_is_asked_once_in_a_while(database: Engine) -> None:
    statements: list[str] = []

    def remember(_c: object, _m: object, statement: str, *_: object) -> None:
        statements.append(statement)

    event.listen(database, "before_cursor_execute", remember)
    told()
    assert statements
    asked = len(statements)
    metrics.get_metrics()
    event.remove(database, "before_cursor_execute", remember)
    assert len(statements) == asked


def test_the_page_of_the_metrics_names_each_with_what_it_tells(database: Engine) -> None:
    assert database
    with db.transaction() as tx:
        known = {(metric.name, metric.documentation) for metric in metrics.gathered(tx)}
    page = GUIDE.read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(cleanplate_[a-z_]+)` \|[^|]*\| ([^|]+) \|$", page, re.MULTILINE)) == known
