"""By whatever way a pair comes in: what one of the tenant's jobs has is not paid for again."""

import csv
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from api.store import store
from cleanplate import db, holding, jobs, settings
from cleanplate.jobs import Change
from cleanplate.models import Job
from cleanplate.quoted import Quote
from cleanplate.states import State
from tests import pictures, rows
from tests.api import Api
from tests.threads import at_once
from tests.zips import zipped
from worker import importing, purge, twins

IMAGE = pictures.encoded(pictures.scene(), "JPEG")
OTHER = pictures.encoded(pictures.scene(seed=1), "JPEG")
MASK = pictures.encoded(pictures.mask_image())
RESULT = b"the erased picture".ljust(rows.RESULT["bytes"])
PRICE = 5.0


def send(client: httpx.Client, image: bytes = IMAGE, **fields: str) -> dict[str, Any]:
    answer = client.post("/v1/jobs", files={"image": ("sofa.jpg", image), "mask": ("m.png", MASK)}, data=fields)
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


def send_batch(client: httpx.Client, *stems: str, dry_run: bool = False, **options: Any) -> dict[str, Any]:
    files = [("files", file) for stem in stems for file in ((f"{stem}.jpg", IMAGE), (f"{stem}_mask.png", MASK))]
    query = {"dry_run": "true"} if dry_run else {}
    answer = client.post("/v1/batches", files=files, data={"options": json.dumps(options)}, params=query)
    assert answer.status_code in {200, 202}, answer.text
    return dict(answer.json())


def told(client: httpx.Client, job_id: str) -> dict[str, Any]:
    return dict(client.get(f"/v1/jobs/{job_id}").json())


def jobs_of(client: httpx.Client, batch: dict[str, Any]) -> list[dict[str, Any]]:
    return list(client.get(f"/v1/batches/{batch['id']}/jobs").json()["data"])


def stages(client: httpx.Client, batch: dict[str, Any]) -> list[str]:
    return [job["stage"] for job in jobs_of(client, batch)]


def see_to_twins() -> None:
    """Do what the sweep does for those that follow, as often as there is something to do."""
    with db.transaction() as tx:
        rows.due_now(tx)
    watch = twins.Watch()
    while watch.see_to():
        pass


def end(job_id: str, state: State = State.SUCCEEDED) -> None:
    """End a queued job as the workers would; what succeeds was paid for."""
    with db.transaction() as tx:
        rows.carry(tx, job_id, state)
    if state is State.SUCCEEDED:
        store().put(f"results/{job_id}.png", RESULT, media_type="image/png")
    see_to_twins()


def reused(client: httpx.Client, job_id: str, source: str) -> None:
    """Hold a job against all that a reused one tells."""
    job = told(client, job_id)
    assert (job["status"], job["cost_credits"], job["attempts"]) == ("succeeded", 0.0, 0)
    assert job["result"]["reused_from"] == source
    its_own: dict[str, Any] = {"url": "", "reused_from": None}
    assert job["result"] | its_own == told(client, source)["result"] | its_own
    assert client.get(f"/v1/jobs/{job_id}/result").content == RESULT
    history = client.get(f"/v1/jobs/{job_id}/history").json()
    assert history["attempts"] == []
    assert (history["events"][-1]["stage"], source in history["events"][-1]["reason"]) == ("succeeded", True)


# -- the ways in -------------------------------------------------------------------------------------------------------


def test_a_pair_that_came_before_ends_with_its_result_and_is_not_paid(client: httpx.Client) -> None:
    first = send(client)["id"]
    end(first)
    second = send(client)
    assert (second["status"], second["stage"]) == ("queued", "following")
    see_to_twins()
    reused(client, second["id"], first)
    third = send(client)["id"]
    see_to_twins()
    reused(client, third, first)  # and not from the second, whose result it never was


def test_a_pair_that_comes_while_it_is_worked_on_waits_for_it(client: httpx.Client) -> None:
    first, second = send(client)["id"], send(client)["id"]
    see_to_twins()
    assert told(client, second)["stage"] == "following"
    end(first)
    reused(client, second, first)


def test_another_picture_or_param_or_tenant_is_paid(api: Api, client: httpx.Client) -> None:
    end(send(client)["id"])
    with api.client() as stranger:
        others = [send(client, OTHER), send(client, dilate_pixels="11"), send(client, seed="1"), send(stranger)]
    assert [job["stage"] for job in others] == ["queued"] * 4


def test_a_job_that_says_so_is_paid_anew_and_its_result_is_the_one_to_share(client: httpx.Client) -> None:
    first = send(client)["id"]
    end(first)
    second = send(client, reuse="false")
    assert second["stage"] == "queued"
    end(second["id"])
    third = send(client)["id"]
    see_to_twins()
    reused(client, third, second["id"])


def by_files(client: httpx.Client, **options: Any) -> dict[str, Any]:
    return send_batch(client, *"abcdefghij", **options)


def by_archive(client: httpx.Client, **options: Any) -> dict[str, Any]:
    files = {name: data for stem in "abcdefghij" for name, data in ((f"{stem}.jpg", IMAGE), (f"{stem}_mask.png", MASK))}
    sent = {"archive": ("a.zip", zipped(files))}
    return dict(client.post("/v1/batches", files=sent, data={"options": json.dumps(options)}).json())


def by_items(client: httpx.Client, **options: Any) -> dict[str, Any]:
    batch = dict(client.post("/v1/batches", json={"items": [], "options": options | {"seal": False}}).json())
    for stem in "abcdefghij":
        files = [("files", (f"{stem}.jpg", IMAGE)), ("files", (f"{stem}_mask.png", MASK))]
        assert client.post(f"/v1/batches/{batch['id']}/items", files=files).status_code == 202
    client.post(f"/v1/batches/{batch['id']}/seal")
    return batch


def by_import(client: httpx.Client, **options: Any) -> dict[str, Any]:
    items = []
    for _ in range(10):
        source = {}
        for name, data in (("image", IMAGE), ("mask", MASK)):
            room = client.post("/v1/uploads", json={}).json()
            assert client.put(room["url"], content=data, headers=room["headers"]).status_code < 300
            source[name] = {"upload_id": room["upload_id"]}
        items.append(source)
    batch = dict(client.post("/v1/batches", json={"items": items, "options": options}).json())
    at_once([lambda job_id=job["id"]: importing.import_pair(job_id) for job in jobs_of(client, batch)])
    return batch


WAYS = [by_files, by_archive, by_items, by_import]


@pytest.mark.parametrize("way", WAYS)
def test_the_same_pair_ten_times_in_a_batch_is_paid_once(client: httpx.Client, way: Callable[..., Any]) -> None:
    batch = way(client)
    assert sorted(stages(client, batch)) == ["following"] * 9 + ["queued"]
    (first,) = [job["id"] for job in jobs_of(client, batch) if job["stage"] == "queued"]
    counts = client.get(f"/v1/batches/{batch['id']}").json()["counts"]
    assert (counts["queued"], counts["total"]) == (10, 10)
    end(first)
    for job in jobs_of(client, batch):
        if job["id"] != first:
            reused(client, job["id"], first)
    whole = client.get(f"/v1/batches/{batch['id']}").json()
    assert (whole["status"], whole["counts"]["succeeded"], whole["reused"]) == ("completed", 10, 9)
    assert (whole["cost_credits"], whole["quote_credits"]) == (PRICE, PRICE)
    lines = client.get(f"/v1/batches/{batch['id']}/results.ndjson").text.splitlines()
    assert sorted(str(json.loads(line)["reused_from"]) for line in lines) == sorted(["None"] + [first] * 9)
    table = csv.DictReader(client.get(f"/v1/batches/{batch['id']}/results.csv").text.splitlines())
    assert sorted((row["reused_from"], row["cost_credits"]) for row in table) == [("", "5.0")] + [(first, "0.0")] * 9
    (day,) = client.get("/v1/usage").json()["data"]
    assert (day["images"], day["credits"]) == (10, PRICE)


@pytest.mark.parametrize("way", WAYS)
def test_a_batch_that_came_before_is_not_paid_again_unless_it_says_so(
    client: httpx.Client, way: Callable[..., Any]
) -> None:
    first = send(client)["id"]
    end(first)
    anew, batch = way(client, reuse=False), way(client)
    assert stages(client, anew) == ["queued"] * 10
    assert stages(client, batch) == ["following"] * 10
    see_to_twins()
    whole = client.get(f"/v1/batches/{batch['id']}").json()
    assert (whole["status"], whole["reused"], whole["cost_credits"]) == ("completed", 10, 0.0)


def test_what_failed_and_was_made_meanwhile_is_not_paid_by_its_retry_unless_its_params_change(
    client: httpx.Client,
) -> None:
    parents = [failed_batch(client) for _ in range(2)]
    single = send(client)["id"]
    end(single)
    same, other = (
        client.post(f"/v1/batches/{parent}/retry", json={"params": params}).json()
        for parent, params in zip(parents, ({}, {"seed": 3}), strict=True)
    )
    assert (stages(client, same), stages(client, other)) == (["following"], ["queued"])
    see_to_twins()
    reused(client, jobs_of(client, same)[0]["id"], single)


def failed_batch(client: httpx.Client, **options: Any) -> str:
    batch = send_batch(client, "a", **options)
    end(jobs_of(client, batch)[0]["id"], State.FAILED)
    return str(batch["id"])


def test_the_retry_of_what_was_to_be_paid_anew_is_paid_anew(client: httpx.Client) -> None:
    end(send(client)["id"])
    child = client.post(f"/v1/batches/{failed_batch(client, reuse=False)}/retry").json()
    assert (stages(client, child), child["options"]["reuse"]) == (["queued"], False)


def test_of_simultaneous_requests_with_the_same_pair_one_job_is_paid(client: httpx.Client) -> None:
    batches = at_once([lambda: send_batch(client, "a", "b", "c")] * 4 + [lambda: {"id": send(client)["id"]}] * 4)
    with db.transaction() as tx:
        tenant = select(Job.tenant_id).where(Job.batch_id == batches[0]["id"])
        found = list(tx.scalars(select(Job).where(Job.tenant_id.in_(tenant))))
    assert len(found) == 16
    (first,) = [job.id for job in found if job.state == State.QUEUED]
    end(first)
    assert {told(client, job.id)["status"] for job in found} == {"succeeded"}
    assert sum(told(client, job.id)["cost_credits"] for job in found) == PRICE


# -- canary, budget, dry run -------------------------------------------------------------------------------------------


def test_what_is_held_follows_when_it_is_released(client: httpx.Client) -> None:
    batch = send_batch(client, "a", "b", "c", canary=1)
    assert stages(client, batch) == ["queued", "held", "held"]
    single = send(client)  # nobody knows when what is held is released, so it is not followed
    first = jobs_of(client, batch)[0]["id"]
    assert single["stage"] == "following"
    end(first)
    reused(client, single["id"], first)
    client.post(f"/v1/batches/{batch['id']}/release")
    assert stages(client, batch) == ["succeeded", "following", "following"]
    see_to_twins()
    assert client.get(f"/v1/batches/{batch['id']}").json()["cost_credits"] == PRICE


def test_nobody_follows_a_job_that_is_held(client: httpx.Client) -> None:
    batch = send_batch(client, "a", "b", canary=1)
    end(jobs_of(client, batch)[0]["id"], State.FAILED)
    single = send(client)
    assert single["stage"] == "queued"
    client.post(f"/v1/batches/{batch['id']}/release")
    assert stages(client, batch)[1] == "following"


def test_when_the_one_that_goes_is_held_for_its_budget_the_next_goes(client: httpx.Client) -> None:
    first = send_batch(client, "a", budget_credits=1)
    second = send(client)["id"]
    with db.transaction() as tx:
        (job_id,) = tx.scalars(select(Job.id).where(Job.batch_id == first["id"]))
        queued = frozenset({State.QUEUED})
        jobs.apply(tx, [Change(job_id, queued, State.HELD, "at its budget")])
    see_to_twins()
    assert told(client, second)["stage"] == "queued"
    end(second)
    with db.transaction() as tx:
        holding.let_go(tx, tx.scalars(holding.locked(str(first["id"]))).one(), 9)
    see_to_twins()
    reused(client, job_id, second)


def test_a_dry_run_knows_what_would_not_be_paid(client: httpx.Client) -> None:
    plan = Quote.model_validate(send_batch(client, "a", "b", dry_run=True, budget_credits=1))
    assert [(one.credits, one.reused, one.reused_from) for one in plan.items] == [(PRICE, False, None), (0, True, None)]
    assert (plan.quote_credits, plan.within_budget) == (PRICE, 1)
    first = send(client)["id"]
    plan = Quote.model_validate(send_batch(client, "a", "b", dry_run=True, budget_credits=1))
    assert [(one.credits, one.reused_from) for one in plan.items] == [(0, first)] * 2
    assert (plan.quote_credits, plan.within_budget) == (0.0, 2)
    anew = Quote.model_validate(send_batch(client, "a", "b", dry_run=True, reuse=False))
    assert (anew.quote_credits, [one.reused for one in anew.items]) == (2 * PRICE, [False, False])


# -- what happens to the first -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [State.FAILED, State.CANCELLED])
def test_when_the_first_ends_without_a_result_the_next_goes_and_the_others_follow_it(
    client: httpx.Client, state: State
) -> None:
    first, second, third = (send(client)["id"] for _ in range(3))
    end(first, state)
    assert [told(client, id_)["stage"] for id_ in (second, third)] == ["queued", "following"]
    end(second)
    reused(client, third, second)


def test_who_follows_can_be_cancelled_and_is_passed_over(client: httpx.Client) -> None:
    first, second, third = (send(client)["id"] for _ in range(3))
    answer = client.post(f"/v1/jobs/{second}/cancel").json()
    assert (answer["status"], answer["saved"]["stopped"]) == ("cancelled", 1)
    end(first, State.FAILED)
    assert [told(client, id_)["stage"] for id_ in (second, third)] == ["cancelled", "queued"]


def test_a_batch_of_those_that_follow_is_cancelled_whole(client: httpx.Client) -> None:
    first = send(client)["id"]
    batch = send_batch(client, "a", "b")
    assert client.post(f"/v1/batches/{batch['id']}/cancel").json()["status"] == "cancelled"
    assert (stages(client, batch), told(client, first)["stage"]) == (["cancelled"] * 2, "queued")


# -- deletion, retention and the store ---------------------------------------------------------------------------------


def purge_all(retention_days: float | None = None) -> None:
    while purge.purge(store(), retention_days, limit=2):
        pass


@pytest.mark.parametrize("goes", ["first", "second"])
def test_what_is_deleted_takes_nothing_from_who_shares_it(api: Api, client: httpx.Client, goes: str) -> None:
    ids = {"first": send(client)["id"], "second": send(client)["id"]}
    end(ids["first"])
    kept = next(id_ for name, id_ in ids.items() if name != goes)
    assert client.delete(f"/v1/jobs/{ids[goes]}").status_code == 204
    purge_all()
    assert client.get(f"/v1/jobs/{kept}/result").content == RESULT
    third = send(client)["id"]
    see_to_twins()
    reused(client, third, kept)
    for id_ in (kept, third):
        client.delete(f"/v1/jobs/{id_}")
    purge_all()
    assert f"results/{ids['first']}.png" not in api.stored()
    assert send(client)["stage"] == "queued"


def test_what_is_past_its_retention_is_paid_again(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    end(send(client)["id"])
    for days, stage in ((1.0, "following"), (1e-9, "queued")):
        kept = settings.get().model_copy(update={"retention_days": days})
        monkeypatch.setattr(settings, "get", lambda kept=kept: kept)
        assert send(client)["stage"] == stage


def test_when_the_store_lost_the_result_it_is_paid_again_once(client: httpx.Client) -> None:
    first = send(client)["id"]
    end(first)
    store().delete([f"results/{first}.png"])
    second, third = send(client)["id"], send(client)["id"]
    see_to_twins()
    assert [told(client, id_)["stage"] for id_ in (second, third)] == ["queued", "following"]
    see_to_twins()
    assert told(client, third)["stage"] == "following"
    end(second)
    reused(client, third, second)
