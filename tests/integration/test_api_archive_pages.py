"""An archive becomes a batch page by page: what is there while it comes, and when it breaks off."""

import threading
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from api import admission, intake
from cleanplate import db
from cleanplate.models import Batch
from cleanplate.resources import Batch as BatchResource
from cleanplate.storage import StoreUnavailable
from tests.api import Api, problem
from tests.archives import create, form, jobs, pairs, rejections
from tests.servers import wait_until
from tests.zips import zipped


class Gate:
    """Lets so many pairs be taken, then waits until it is opened, or raises what it is to raise."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, after: int, error: Exception | None = None) -> None:
        self.open = threading.Event()
        self._left, self._error, self._take = after, error, intake.take
        self._lock = threading.Lock()
        monkeypatch.setattr(intake, "take", self.take)

    def take(self, *given: Any) -> intake.Stored:
        with self._lock:
            self._left -= 1
            late = self._left < 0
        if late and self._error:
            raise self._error
        assert not late or self.open.wait(300)
        return self._take(*given)


def total(batch_id: str | None = None) -> int:
    with db.transaction() as tx:
        newest = batch_id or select(func.max(Batch.id)).scalar_subquery()
        return tx.scalar(select(Batch.total).where(Batch.id == newest)) or 0


def test_the_first_items_are_there_while_the_rest_is_still_taken_in(
    client: httpx.Client, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch, after=admission.PAGE)
    number = admission.PAGE + 20
    answers: list[httpx.Response] = []
    sending = threading.Thread(
        target=lambda: answers.append(create(client, zipped(pairs(*(f"{n:03}" for n in range(number))))))
    )
    sending.start()
    try:
        with api.anonymous(Authorization=client.headers["authorization"]) as other:
            wait_until(lambda: other.get("/v1/batches").json()["data"])
            (batch,) = other.get("/v1/batches").json()["data"]
            assert (batch["status"], batch["counts"]["total"]) == ("open", admission.PAGE)
            (first, *_) = jobs(other, batch["id"])
            assert first["status"] == "queued"
    finally:
        gate.open.set()
        sending.join()
    told = answers[0].json()
    assert (told["id"], told["status"], told["counts"]["total"]) == (batch["id"], "processing", number)
    assert told["sealed_at"] is not None


def test_a_batch_cancelled_while_it_comes_takes_no_more(
    client: httpx.Client, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch, after=admission.PAGE)
    answers: list[httpx.Response] = []
    archive = zipped(pairs(*(f"{n:03}" for n in range(2 * admission.PAGE))))
    sending = threading.Thread(target=lambda: answers.append(create(client, archive)))
    sending.start()
    try:
        with api.anonymous(Authorization=client.headers["authorization"]) as other:
            wait_until(lambda: other.get("/v1/batches").json()["data"])
            (batch,) = other.get("/v1/batches").json()["data"]
            assert other.post(f"/v1/batches/{batch['id']}/cancel").status_code == 200
    finally:
        gate.open.set()
        sending.join()
    told = BatchResource.model_validate_json(answers[0].content)
    assert (told.status, told.counts.total, told.counts.cancelled) == ("cancelled", admission.PAGE, admission.PAGE)
    assert rejections(told) == {("the rest", "batch_cancelled")}


def test_a_store_that_goes_away_in_the_middle_leaves_an_open_batch_that_takes_the_rest(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = 2 * admission.PAGE
    archive = zipped(pairs(*(f"{n:03}" for n in range(number))))
    with monkeypatch.context() as patch:
        Gate(patch, after=admission.PAGE + 5, error=StoreUnavailable("away"))
        response = create(client, archive)
    told = problem(response, 503, "store_unavailable")
    assert response.headers["location"] == f"/v1/batches/{told['batch_id']}"
    assert response.headers["retry-after"]
    batch = client.get(response.headers["location"]).json()
    assert (batch["status"], batch["counts"]["total"]) == ("open", admission.PAGE)
    rest = client.post(f"/v1/batches/{batch['id']}/items", files=form(archive)).json()
    assert rest["accepted_count"] == number - admission.PAGE
    assert client.post(f"/v1/batches/{batch['id']}/seal").json()["counts"]["total"] == number


def test_a_fault_before_the_first_page_leaves_no_batch(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    Gate(monkeypatch, after=3, error=StoreUnavailable("away"))
    told = problem(create(client, zipped(pairs(*"abcdef"))), 503, "store_unavailable")
    assert "batch_id" not in told
    assert client.get("/v1/batches").json()["data"] == []


def test_a_client_that_disconnects_in_the_middle_of_its_archive_leaves_nothing(api: Api, client: httpx.Client) -> None:
    before = api.stored()
    body = client.build_request("POST", "/v1/batches", files=form(zipped(pairs("a", "b")))).read()
    request = client.build_request("POST", "/v1/batches", files=form(zipped(pairs("a", "b"))))

    def half() -> Any:
        yield body[: len(body) // 2]
        raise InterruptedError

    with pytest.raises(InterruptedError):
        client.post("/v1/batches", content=half(), headers={"Content-Type": request.headers["content-type"]})
    assert client.get("/v1/batches").json()["data"] == []
    assert api.stored() == before
