"""The catalogue of events in docs/webhooks.md: every kind, each with a body such as the code makes."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from cleanplate import accounts, db, endpoints, jobs, outbox
from cleanplate.jobs import Change
from cleanplate.models import Delivery
from cleanplate.states import State
from cleanplate.webhooks import EVENTS
from tests import rows

pytestmark = pytest.mark.usefixtures("database")

GUIDE = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text(encoding="utf-8")
BODIES = re.findall(r"^### `(\S+)`\n\n.*\n\n```json\n((?:.*\n)+?)```", GUIDE, re.MULTILINE)
TOLD = {kind: json.loads(body) for kind, body in BODIES}
ENDS: dict[State, dict[str, Any]] = {
    State.SUCCEEDED: {"result_key": "results/x.png", "result": rows.RESULT},
    State.FAILED: {"error_code": "content_moderated", "error_detail": "The upstream ended the task."},
    State.CANCELLED: {},
}


def end(tx: db.Transaction, target: State) -> None:
    """Let a job of a sealed batch of one come to its end, and its batch with it."""
    batch_id = rows.batch(tx, 1, name="spring catalogue")
    state = State.QUEUED if target is State.CANCELLED else State.READY
    started = {} if target is State.CANCELLED else {"started_at": func.now()}
    job_id = rows.job(tx, state, batch_id=batch_id, custom_id="sofa", meta={"sku": "SOFA-3"}, **started)
    jobs.apply(tx, [Change(job_id, frozenset({state}), target, "end", values=ENDS[target])])


@pytest.fixture
def made() -> dict[str, Any]:
    """Everything happens once; the body of each kind of event."""
    with db.transaction() as tx:
        hears = rows.deaf_endpoint(tx)
        for target in ENDS:
            end(tx, target)
        rows.account(tx)
        accounts.pause(tx, rows.ACCOUNT, "credits", "HTTP 402: the account is out of credits")
        accounts.resume(tx, rows.ACCOUNT)
        endpoints.disable(tx, rows.deaf_endpoint(tx), "the receiver answered 410 Gone")
        outbox.test(tx, rows.TENANT, hears)
        told = tx.execute(select(Delivery.event_type, Delivery.body).order_by(Delivery.id.desc()))
        return {kind: json.loads(body) for kind, body in told}


def shape(value: Any) -> Any:
    """Return what does not change from one event to the next: the names and the types."""
    if isinstance(value, dict):
        return {name: shape(one) for name, one in value.items()}
    if isinstance(value, list):
        return [shape(one) for one in value]
    return "number" if type(value) in {int, float} else type(value).__name__


def test_every_event_stands_in_the_catalogue_and_happens(made: dict[str, Any]) -> None:
    assert sorted(TOLD) == sorted(EVENTS) == sorted(made)


@pytest.mark.parametrize("kind", EVENTS)
def test_a_body_in_the_catalogue_is_such_as_the_code_makes(made: dict[str, Any], kind: str) -> None:
    assert TOLD[kind]["type"] == kind
    assert shape(TOLD[kind]) == shape(made[kind])
