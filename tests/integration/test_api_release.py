"""What a batch may cost, over REST: the dry run, the canary and its release, the budget."""

import json
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from cleanplate import db
from cleanplate.client import Client
from cleanplate.models import Batch
from cleanplate.quoted import Quote
from cleanplate.resources import BatchOptions
from cleanplate.states import Hold
from tests.api import Api, problem
from tests.intake import pairs
from tests.pictures import BAD_MASK, IMAGE, MASK


def post(client: httpx.Client, *stems: str, dry_run: bool = False, **options: Any) -> httpx.Response:
    given = {"params": {"dry_run": "true"}} if dry_run else {}
    form = {"options": json.dumps(options)}
    return client.post("/v1/batches", files=pairs(*stems), data=form, **given)


def typed(api: Api, client: httpx.Client) -> Client:
    return Client(api.url, client.headers["authorization"].removeprefix("Bearer "))


def stages(client: httpx.Client, batch_id: str) -> list[str]:
    return [job["stage"] for job in client.get(f"/v1/batches/{batch_id}/jobs").json()["data"]]


def test_a_dry_run_tells_all_that_a_batch_would_and_leaves_nothing(client: httpx.Client, api: Api) -> None:
    before = api.stored()
    sent = [
        *pairs("good"),
        ("files", ("alone.jpg", IMAGE)),
        ("files", ("odd.jpg", IMAGE)),
        ("files", ("odd_mask.png", BAD_MASK)),
    ]
    form = {"options": json.dumps({"budget_credits": 7})}
    response = client.post("/v1/batches", files=sent, data=form, params={"dry_run": "true"})
    assert response.status_code == 200
    quote = Quote.model_validate_json(response.content)
    assert [(one.item, one.custom_id, one.credits) for one in quote.items] == [("good.jpg", "good", 5.0)]
    assert {(one.item, one.code) for one in quote.rejected} == {
        ("alone.jpg", "missing_mask"),
        ("odd.jpg", "mask_size_mismatch"),
    }
    assert (quote.accepted, quote.quote_credits, quote.within_budget) == (True, 5.0, 1)
    assert api.stored() == before
    assert client.get("/v1/batches").json()["data"] == []


@pytest.mark.parametrize(
    ("options", "accepted"), [({}, True), ({"atomic": True}, False), ({"atomic": False, "seal": False}, True)]
)
def test_a_dry_run_says_whether_the_batch_would_be_taken(
    client: httpx.Client, options: dict[str, Any], *, accepted: bool
) -> None:
    sent = [*pairs("good"), ("files", ("alone.jpg", IMAGE))]
    form = {"options": json.dumps(options)}
    answer = client.post("/v1/batches", files=sent, data=form, params={"dry_run": "true"}).json()
    assert answer["accepted"] is accepted


def test_the_warnings_of_a_dry_run_are_those_of_the_jobs(client: httpx.Client) -> None:
    dry = post(client, "a", dry_run=True).json()["items"][0]["warnings"]
    batch_id = post(client, "a").json()["id"]
    assert client.get(f"/v1/batches/{batch_id}/jobs").json()["data"][0]["warnings"] == dry


def test_a_canary_waits_for_its_release_also_with_what_comes_later(client: httpx.Client) -> None:
    batch = post(client, "a", "b", canary=1, seal=False, reuse=False).json()
    assert (batch["held"], batch["counts"]["queued"]) == ("canary", 2)
    client.post(f"/v1/batches/{batch['id']}/items", files=pairs("c"))
    assert stages(client, batch["id"]) == ["queued", "held", "held"]
    released = client.post(f"/v1/batches/{batch['id']}/release").json()
    assert released["held"] is None
    client.post(f"/v1/batches/{batch['id']}/items", files=pairs("d"))
    assert stages(client, batch["id"]) == ["queued"] * 4
    assert client.post(f"/v1/batches/{batch['id']}/release").status_code == 200


def test_what_waits_is_cancelled_and_then_there_is_nothing_to_release(client: httpx.Client) -> None:
    batch_id = post(client, "a", "b", "c", canary=1).json()["id"]
    assert client.post(f"/v1/batches/{batch_id}/cancel").json()["saved"]["stopped"] == 3
    assert stages(client, batch_id) == ["cancelled"] * 3
    problem(client.post(f"/v1/batches/{batch_id}/release"), 409, "already_finished")


def test_a_budget_is_raised_by_the_release(api: Api, client: httpx.Client) -> None:
    batch_id = post(client, "a", budget_credits=3).json()["id"]
    with db.transaction() as tx:
        tx.execute(update(Batch).where(Batch.id == batch_id).values(hold=Hold.BUDGET))
    with typed(api, client) as mine:
        assert mine.batch(batch_id).held == "budget"
        after = mine.release(batch_id, 30.0)
    assert (after.held, after.options.budget_credits) == (None, 30.0)


def test_the_client_asks_for_a_quote(api: Api, client: httpx.Client) -> None:
    with typed(api, client) as mine:
        assert mine.quote(BatchOptions(), [("a.jpg", IMAGE), ("a_mask.png", MASK)]).quote_credits == 5.0


def test_another_tenants_batch_is_not_there(api: Api, client: httpx.Client) -> None:
    batch_id = post(client, "a", "b", canary=1).json()["id"]
    with api.client() as stranger:
        problem(stranger.post(f"/v1/batches/{batch_id}/release"), 404, "not_found")
    with api.client("read") as reader:
        problem(reader.post(f"/v1/batches/{batch_id}/release"), 403, "forbidden_scope")


@pytest.mark.parametrize("wrong", ["0", "-1", "nan", "inf", "x"])
def test_a_budget_is_a_number_of_credits(client: httpx.Client, wrong: str) -> None:
    batch_id = post(client, "a", "b", canary=1).json()["id"]
    assert client.post(f"/v1/batches/{batch_id}/release", params={"budget_credits": wrong}).status_code == 422


@pytest.mark.parametrize("wrong", [{"canary": 0}, {"budget_credits": 0}, {"budget_credits": 1e999}])
def test_options_that_mean_nothing_are_refused(client: httpx.Client, wrong: dict[str, Any]) -> None:
    assert post(client, "a", **wrong).status_code == 422
