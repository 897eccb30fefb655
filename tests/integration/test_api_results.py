"""What came of a batch, as ZIP, CSV and NDJSON, from both stores."""

import csv
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import func, make_url, select, update

from api import receipts
from api.store import store as api_store
from cleanplate import db, ids
from cleanplate.models import Job
from cleanplate.states import State
from cleanplate.storage import Store, open_store
from tests import rows
from tests.api import Api, configured, problem, serving
from tests.s3 import make_bucket, s3_environment, s3_server
from tests.servers import fresh_database

Batches = Callable[..., str]
KINDS = ("zip", "csv", "ndjson")


@pytest.fixture(scope="module", params=["directory", "s3"])
def api(
    request: pytest.FixtureRequest, postgres_url: str, migrated_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Api]:
    objects = tmp_path_factory.mktemp("objects")
    with (
        fresh_database(postgres_url, make_url(migrated_url).database or "") as url,
        s3_server() if request.param == "s3" else nullcontext() as endpoint,
    ):
        if endpoint:
            make_bucket(endpoint, "results")
        at = {"STORAGE_URL": "s3://results/some/where"} if endpoint else {"STORAGE_URL": objects.as_uri()}
        at |= s3_environment(endpoint) if endpoint else {}
        with configured(DATABASE_URL=url, REDIS_URL="redis://127.0.0.1:9/0", **at), serving() as address:
            open_store(at["STORAGE_URL"]).prepare()
            yield Api(address, url, objects)


@pytest.fixture
def store(api: Api) -> Store:  # noqa: ARG001 -- its settings say where
    return api_store()


@pytest.fixture
def batch_of(tenant_id: str, store: Store) -> Batches:
    """Makes a batch of jobs, given as their columns, each with the result that its custom id says."""

    def make(*jobs: dict[str, Any], **columns: Any) -> str:
        done = [job for job in jobs if job.get("state", State.SUCCEEDED) is State.SUCCEEDED]
        failed = [job for job in jobs if job.get("state") is State.FAILED]
        counts = {"total": len(jobs), "succeeded": len(done), "failed": len(failed)}
        ended = {} if len(done) + len(failed) < len(jobs) else {"finished_at": func.now()}
        with db.transaction() as tx:
            batch_id = rows.batch(tx, tenant_id=tenant_id, **counts | ended | columns)
            for job in jobs:
                state = job.pop("state", State.SUCCEEDED)
                data = picture(job.get("custom_id"))
                result = {"result": rows.RESULT | {"bytes": len(data)}} if state is State.SUCCEEDED else {}
                job_id = rows.job(tx, state, tenant_id=tenant_id, batch_id=batch_id, **result | job)
                if state is State.SUCCEEDED:
                    store.put(f"results/{job_id}.png", data, media_type="image/png")
        return batch_id

    return make


def picture(custom_id: str | None) -> bytes:
    return f"the picture of {custom_id}".encode() * 1000


def unzipped(response: httpx.Response) -> tuple[dict[str, bytes], list[dict[str, str]]]:
    """Return the pictures by their paths and the receipt, having read the ZIP file whole."""
    assert response.status_code == 200, response.text
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        assert archive.testzip() is None
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        *pictures, last = archive.namelist()
        assert last == "results.csv"
        return {name: archive.read(name) for name in pictures}, table(archive.read(last))


def table(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode(), newline="")))


def test_a_finished_batch_comes_as_a_zip_of_its_pictures_and_a_receipt(client: httpx.Client, batch_of: Batches) -> None:
    batch_id = batch_of(
        {"custom_id": "shoes/red", "cost_credits": 5.0},
        {"custom_id": "mug"},
        {"custom_id": "vase", "state": State.FAILED},
        name="autumn",
        rejected=[{"item": "lamp.jpg", "code": "missing_mask", "detail": "lamp_mask.png is not there"}],
    )
    response = client.get(f"/v1/batches/{batch_id}/results.zip")
    pictures, receipt = unzipped(response)
    assert pictures == {"shoes/red.png": picture("shoes/red"), "mug.png": picture("mug")}
    assert [(line["custom_id"], line["status"], line["file"], line["error_code"]) for line in receipt] == [
        ("shoes/red", "succeeded", "shoes/red.png", ""),
        ("mug", "succeeded", "mug.png", ""),
        ("vase", "failed", "", "upstream_error"),
        ("lamp.jpg", "rejected", "", "missing_mask"),
    ]
    assert receipt[0]["cost_credits"] == "5.0"
    assert receipt[0]["result_sha256"] == receipt[0]["image_sha256"] == "0" * 64
    assert response.headers["content-type"] == "application/zip"
    assert response.headers["cache-control"] == "private, no-store"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["content-disposition"].startswith('attachment; filename="autumn.zip"')
    assert response.headers["cleanplate-batch-status"] == "completed"


def test_the_receipt_alone_says_the_same_as_csv_and_as_json(client: httpx.Client, batch_of: Batches) -> None:
    batch_id = batch_of({"custom_id": "=1+1"}, {"custom_id": 'a "b", c', "state": State.FAILED}, {"custom_id": "-x"})
    as_csv = client.get(f"/v1/batches/{batch_id}/results.csv")
    as_json = client.get(f"/v1/batches/{batch_id}/results.ndjson")
    objects = [json.loads(line) for line in as_json.text.splitlines()]
    assert [one["custom_id"] for one in objects] == ["=1+1", 'a "b", c', "-x"]
    assert [line["custom_id"] for line in table(as_csv.content)] == ["'=1+1", 'a "b", c', "'-x"]
    assert [{name: "" if value is None else str(value) for name, value in one.items()} for one in objects] == [
        line | {"custom_id": line["custom_id"].removeprefix("'")} for line in table(as_csv.content)
    ]
    assert as_csv.headers["content-type"] == "text/csv; charset=utf-8"
    assert as_json.headers["content-type"].startswith("application/x-ndjson")
    for response in (as_csv, as_json):
        assert response.headers["content-disposition"].startswith("attachment")
        assert response.headers["cache-control"] == "private, no-store"


def test_of_a_batch_that_is_still_running_comes_what_has_ended_and_a_header_says_so(
    client: httpx.Client, batch_of: Batches
) -> None:
    batch_id = batch_of({"custom_id": "a"}, {"custom_id": "b", "state": State.QUEUED})
    response = client.get(f"/v1/batches/{batch_id}/results.zip")
    pictures, receipt = unzipped(response)
    assert (list(pictures), len(receipt)) == (["a.png"], 1)
    assert response.headers["cleanplate-batch-status"] == "processing"


@pytest.mark.parametrize("kind", KINDS)
def test_before_anything_has_ended_there_is_nothing_to_tell(
    api: Api, client: httpx.Client, batch_of: Batches, kind: str
) -> None:
    path = f"/v1/batches/{batch_of({'state': State.QUEUED})}/results.{kind}"
    problem(client.get(path), 409, "not_finished")
    problem(client.get(f"/v1/batches/{ids.new(ids.Kind.BATCH)}/results.{kind}"), 404, "not_found")
    with api.client() as stranger, api.anonymous() as nobody:
        problem(stranger.get(path), 404, "not_found")
        problem(nobody.get(path), 401, "missing_key")


def test_names_are_made_safe_and_unique(client: httpx.Client, batch_of: Batches, tmp_path: Path) -> None:
    wanted = ["../../etc/passwd", "A", "a", "/abs", "con", "x:y", "tail. ", "\u202ename", "..", "long" * 60]
    batch_id = batch_of(*({"custom_id": name} for name in wanted), {"custom_id": None})
    response = client.get(f"/v1/batches/{batch_id}/results.zip")
    pictures, receipt = unzipped(response)
    assert len(pictures) == len({name.casefold() for name in pictures}) == len(wanted) + 1
    assert {line["custom_id"]: pictures[line["file"]] for line in receipt if line["custom_id"] in wanted} == {
        name: picture(name) for name in wanted if not name.startswith("=")
    }
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        archive.extractall(tmp_path / "deep" / "out")
    found = {path.relative_to(tmp_path / "deep" / "out").as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {*pictures, "results.csv"}


def test_what_is_no_longer_stored_is_listed_and_left_out(client: httpx.Client, batch_of: Batches, store: Store) -> None:
    batch_id = batch_of({"custom_id": "kept"}, {"custom_id": "lost"}, {"custom_id": "purged"})
    with db.transaction() as tx:
        by_name = {job.custom_id: job for job in tx.scalars(select(Job).where(Job.batch_id == batch_id))}
        store.delete([str(by_name["lost"].result_key)])
        tx.execute(update(Job).where(Job.id == by_name["purged"].id).values(purged_at=func.now()))
    pictures, receipt = unzipped(client.get(f"/v1/batches/{batch_id}/results.zip"))
    assert list(pictures) == ["kept.png"]
    assert {line["custom_id"]: line["error_code"] for line in receipt} == {
        "kept": "",
        "lost": "result_expired",
        "purged": "result_expired",
    }


def test_more_jobs_than_a_page_all_come_once_and_in_order(
    client: httpx.Client, batch_of: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receipts, "PAGE", 3)
    receipts.page.cache_clear()
    batch_id = batch_of(*({"custom_id": f"{number}", "position": number} for number in range(7)))
    receipt = table(client.get(f"/v1/batches/{batch_id}/results.csv").content)
    receipts.page.cache_clear()
    assert [line["position"] for line in receipt] == [str(number) for number in range(7)]
