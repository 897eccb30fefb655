"""By whatever way pairs come in, ten of the same and all at once: one is paid."""

import csv
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from cleanplate import db
from cleanplate.models import Job
from cleanplate.states import State
from tests.reusing import (
    IMAGE,
    MASK,
    PRICE,
    end,
    jobs_of,
    reused,
    see_to_twins,
    send,
    send_batch,
    stages,
    told,
)
from tests.threads import at_once
from tests.zips import zipped
from worker import importing


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
