"""Jobs in lists: in pages, by filters, and what lists refuse."""

import httpx
import pytest

from cleanplate import db
from cleanplate.states import State
from tests import rows
from tests.api import problem
from tests.intake import send


def test_a_list_goes_from_the_newest_to_the_oldest_in_pages(client: httpx.Client) -> None:
    made = [send(client, custom_id=str(number)).json()["id"] for number in range(5)]
    seen, cursor = [], None
    for size in (2, 2, 1):
        page = client.get("/v1/jobs", params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        assert len(page["data"]) == size
        seen += [job["id"] for job in page["data"]]
        cursor = page["next_cursor"]
    assert cursor is None
    assert seen == made[::-1]


def test_a_list_can_be_filtered(client: httpx.Client) -> None:
    first, second, third = (send(client, custom_id=name, reuse="false").json() for name in ("a", "b", "c"))
    with db.transaction() as tx:
        rows.carry(tx, second["id"], State.FAILED)
        rows.carry(tx, third["id"], State.SENDING)

    def found(**wanted: str) -> list[str]:
        return [job["custom_id"] for job in client.get("/v1/jobs", params=wanted).json()["data"]]

    assert found(status="queued") == ["a"]
    assert found(status="processing") == ["c"]
    assert found(status="failed", error_code="upstream_error") == ["b"]
    assert found(error_code="result_invalid") == []
    assert found(custom_id="a") == ["a"]
    assert found(created_after=first["created_at"]) == ["c", "b"]
    assert found(created_before=second["created_at"]) == ["a"]


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/batches", "/v1/webhook-endpoints"])
def test_a_list_refuses_parameters_that_it_does_not_know(client: httpx.Client, path: str) -> None:
    told = problem(client.get(path, params={"colour": "red"}), 400, "unknown_parameter")
    assert [error["pointer"] for error in told["errors"]] == ["#/query/colour"]
    for wrong in ({"limit": "0"}, {"limit": "201"}, {"cursor": "x"}):
        problem(client.get(path, params=wrong), 422, "validation_failed")


def test_a_parameter_that_is_given_twice_is_refused_and_told_once(client: httpx.Client) -> None:
    told = problem(client.get("/v1/jobs?status=failed&limit=5&status=succeeded"), 422, "validation_failed")
    assert [error["pointer"] for error in told["errors"]] == ["#/query/status"]
    told = problem(client.post("/v1/batches?dry_run=maybe", json={"items": []}), 422, "validation_failed")
    assert [error["pointer"] for error in told["errors"]] == ["#/query/dry_run"]
