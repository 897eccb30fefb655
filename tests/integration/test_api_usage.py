from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from cleanplate import db
from cleanplate.states import State
from tests import rows
from tests.api import Api, problem

TALL = rows.IMAGE | {"width": 1000, "height": 1100}  # three times 1.1 is not 3.3 in binary
Ended = Callable[..., None]


@pytest.fixture
def ended(tenant_id: str) -> Ended:
    """Makes a job of 1.1 megapixels that ended then and cost five credits."""

    def make(day: int, state: State = State.SUCCEEDED, *, hour: int = 12, **columns: Any) -> None:
        with db.transaction() as tx:
            rows.job(
                tx,
                state,
                tenant_id=tenant_id,
                image=TALL,
                cost_credits=5.0,
                finished_at=datetime(2026, 3, day, hour, tzinfo=UTC),
                **columns,
            )

    return make


@pytest.fixture
def batch_id(tenant_id: str) -> str:
    with db.transaction() as tx:
        return rows.batch(tx, tenant_id=tenant_id)


def usage(client: httpx.Client, **wanted: Any) -> list[dict[str, Any]]:
    response = client.get("/v1/usage", params={"since": "2026-03-01", "until": "2026-03-31"} | wanted)
    assert response.status_code == 200, response.text
    assert response.json()["next_cursor"] is None
    return list(response.json()["data"])


def test_a_day_adds_up_what_ended_on_it_by_utc(api: Api, client: httpx.Client, ended: Ended) -> None:
    ended(2, hour=0)
    ended(2, hour=12)
    ended(2, hour=23)
    ended(2, State.FAILED)
    ended(5)
    assert usage(client) == [
        {"date": "2026-03-02", "batch_id": None, "jobs": 4, "images": 3, "megapixels": 3.3, "credits": 20.0},
        {"date": "2026-03-05", "batch_id": None, "jobs": 1, "images": 1, "megapixels": 1.1, "credits": 5.0},
    ]
    assert [line["date"] for line in usage(client, since="2026-03-03")] == ["2026-03-05"]
    assert [line["date"] for line in usage(client, until="2026-03-02")] == ["2026-03-02"]
    with api.client() as stranger:
        assert usage(stranger) == []


def test_a_batch_adds_up_its_own_and_single_jobs_are_a_line(client: httpx.Client, ended: Ended, batch_id: str) -> None:
    ended(2)
    ended(3, batch_id=batch_id)
    ended(4, batch_id=batch_id)
    assert [(line["batch_id"], line["date"], line["jobs"]) for line in usage(client, by="batch")] == [
        (None, None, 1),
        (batch_id, None, 2),
    ]
    assert [line["jobs"] for line in usage(client, batch_id=batch_id)] == [1, 1]


@pytest.mark.parametrize("limit", [1, 2, 6])
def test_batches_come_in_pages(client: httpx.Client, ended: Ended, tenant_id: str, limit: int) -> None:
    with db.transaction() as tx:
        batches = [rows.batch(tx, tenant_id=tenant_id) for _ in range(5)]
    for batch_id in [None, *batches]:
        ended(2, batch_id=batch_id)
    found: list[str | None] = []
    wanted: dict[str, Any] = {"since": "2026-03-01", "until": "2026-03-31", "by": "batch", "limit": limit}
    while True:
        page = client.get("/v1/usage", params=wanted).json()
        found += [line["batch_id"] for line in page["data"]]
        if not page["next_cursor"]:
            break
        wanted["cursor"] = page["next_cursor"]
    assert found == [None, *batches]


@pytest.mark.parametrize(
    ("period", "status", "code"),
    [
        ({"since": "2026-01-01", "until": "2026-04-03"}, 422, "invalid_period"),
        ({"since": "2026-03-02", "until": "2026-03-01"}, 422, "invalid_period"),
        ({"since": "soon"}, 422, "validation_failed"),
        ({"month": "3"}, 400, "unknown_parameter"),
    ],
)
def test_a_period_that_cannot_be_is_refused(
    client: httpx.Client, period: dict[str, str], status: int, code: str
) -> None:
    problem(client.get("/v1/usage", params=period), status, code)
