"""One call, however often it is sent: replayed, refused under another body, and never done twice."""

import json
import secrets
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import event, func, select, update

from api import idempotency, intake, leases, receivers
from cleanplate import db
from cleanplate.idempotency import KEPT, IdempotencyKey
from tests import pictures
from tests.api import Api, problem
from tests.pictures import IMAGE, MASK
from tests.threads import at_once
from worker import forget

OTHER = pictures.encoded(pictures.scene(seed=1), "JPEG")


def files(image: bytes = IMAGE) -> list[tuple[str, Any]]:
    return [("files", ("mug.jpg", image)), ("files", ("mug_mask.png", MASK))]


def send_batch(client: httpx.Client, key: str, image: bytes = IMAGE, **options: Any) -> httpx.Response:
    form = [*files(image), ("options", (None, json.dumps(options)))]
    return client.post("/v1/batches", files=form, headers={"Idempotency-Key": key})


def fresh() -> str:
    return secrets.token_hex(8)


def batches(client: httpx.Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get("/v1/batches").json()["data"]
    return found


def test_a_repeated_batch_is_answered_as_before_and_made_once(client: httpx.Client) -> None:
    key = fresh()
    first = send_batch(client, key, webhook_url="https://example.com/hook")
    again = send_batch(client, key, webhook_url="https://example.com/hook")
    assert (first.status_code, again.status_code) == (202, 202)
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["content-type"] == first.headers["content-type"]
    assert again.headers["x-request-id"] != first.headers["x-request-id"]
    assert again.json() == first.json()
    assert again.json()["webhook_secret"].startswith("whsec_")
    assert len(batches(client)) == 1


def test_no_secret_is_kept_in_the_clear(client: httpx.Client) -> None:
    secret = send_batch(client, key := fresh(), webhook_url="https://example.com/x").json()["webhook_secret"]
    with db.transaction() as tx:
        body = tx.scalars(select(IdempotencyKey.body).where(IdempotencyKey.key == key)).one()
    assert body
    assert secret not in body


@pytest.mark.parametrize(
    ("path", "given"),
    [
        ("/v1/jobs", {"files": {"image": ("a.jpg", IMAGE), "mask": ("m.png", MASK)}}),
        ("/v1/webhook-endpoints", {"json": {"url": "https://example.com/"}}),
    ],
)
def test_every_call_that_creates_happens_once(client: httpx.Client, path: str, given: dict[str, Any]) -> None:
    headers = {"Idempotency-Key": fresh()}
    first, again = (client.post(path, headers=headers, **given) for _ in range(2))
    assert first.is_success
    assert again.json() == first.json()
    assert again.headers["idempotency-replayed"] == "true"
    assert len(client.get(path).json()["data"]) == 1


def test_a_job_that_is_waited_for_is_made_once_and_answered_again_at_once(client: httpx.Client) -> None:
    headers = {"Idempotency-Key": fresh()}
    given = {"image": ("a.jpg", IMAGE), "mask": ("m.png", MASK)}
    first, again = (
        client.post("/v1/jobs", params={"wait": 0.3}, headers=headers, files=given).raise_for_status() for _ in range(2)
    )
    assert again.json()["id"] == first.json()["id"]
    assert (again.status_code, again.headers["idempotency-replayed"]) == (202, "true")
    assert again.headers["location"] == first.headers["location"]


def test_items_that_are_sent_again_are_answered_as_accepted_and_not_as_duplicates(client: httpx.Client) -> None:
    batch_id = client.post("/v1/batches", files={"options": (None, '{"seal": false}')}).json()["id"]
    path, headers = f"/v1/batches/{batch_id}/items", {"Idempotency-Key": fresh()}
    first, again = (client.post(path, files=files(), headers=headers) for _ in range(2))
    assert again.json() == first.json()
    assert [job["custom_id"] for job in again.json()["accepted"]] == ["mug"]
    assert client.get(f"/v1/batches/{batch_id}").json()["counts"]["total"] == 1


def test_another_body_or_address_under_the_same_key_is_refused(client: httpx.Client) -> None:
    key = fresh()
    assert send_batch(client, key).status_code == 202
    problem(send_batch(client, key, OTHER), 422, "idempotency_mismatch")
    problem(send_batch(client, key, name="other"), 422, "idempotency_mismatch")
    endpoint = {"json": {"url": "https://example.com/"}, "headers": {"Idempotency-Key": key}}
    problem(client.post("/v1/webhook-endpoints", **endpoint), 422, "idempotency_mismatch")
    assert len(batches(client)) == 1


def test_a_key_belongs_to_its_tenant(api: Api) -> None:
    key = fresh()
    with api.client() as one, api.client() as two:
        mine, yours = send_batch(one, key), send_batch(two, key)
        assert "idempotency-replayed" not in yours.headers
        assert mine.json()["id"] != yours.json()["id"]


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there", "sm\u00f8rbr\u00f8d"])
def test_a_key_that_is_none_is_refused(client: httpx.Client, key: str) -> None:
    headers = {"Idempotency-Key": key.encode("latin-1")}
    problem(client.post("/v1/batches", files=files(), headers=headers), 400, "invalid_idempotency_key")
    assert batches(client) == []


def test_the_longest_key_is_taken(client: httpx.Client) -> None:
    assert send_batch(client, "~" * 255).status_code == 202


def test_a_refused_call_may_be_mended_under_the_same_key(client: httpx.Client) -> None:
    key = fresh()
    problem(send_batch(client, key, MASK[:60]), 422, "no_valid_items")
    assert send_batch(client, key).status_code == 202


def test_a_call_that_failed_here_frees_its_key(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    key = fresh()
    with monkeypatch.context() as patch:
        patch.setattr(receivers, "one_off", lambda *_: 1 / 0)
        problem(send_batch(client, key, webhook_url="https://example.com/"), 500, "internal_error")
    assert send_batch(client, key, webhook_url="https://example.com/").status_code == 202


def test_fifty_at_once_under_one_key_make_one_batch(client: httpx.Client) -> None:
    key = fresh()
    answers = at_once([lambda: send_batch(client, key)] * 50)
    done = [answer for answer in answers if answer.status_code == 202]
    for answer in answers:
        if answer.status_code != 202:
            problem(answer, 409, "idempotency_in_progress")
            assert int(answer.headers["retry-after"]) >= 1
    assert len({answer.json()["id"] for answer in done}) == 1
    assert sum("idempotency-replayed" not in answer.headers for answer in done) == 1
    assert [batch["counts"]["total"] for batch in batches(client)] == [1]
    assert send_batch(client, key).headers["idempotency-replayed"] == "true"


def test_the_key_of_a_process_that_died_is_free_when_its_lease_has_ended(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = fresh()
    with monkeypatch.context() as patch:
        patch.setattr(receivers, "one_off", lambda *_: 1 / 0)
        patch.setattr(leases, "free", lambda *_: None)  # the dead free nothing
        assert send_batch(client, key, webhook_url="https://example.com/").status_code == 500
    problem(send_batch(client, key, webhook_url="https://example.com/"), 409, "idempotency_in_progress")
    problem(send_batch(client, key, OTHER), 422, "idempotency_mismatch")
    with db.transaction() as tx:
        its = update(IdempotencyKey).where(IdempotencyKey.key == key)
        tx.execute(its.values(leased_until=func.now() - timedelta(seconds=1)))
    assert send_batch(client, key).status_code == 202
    assert len(batches(client)) == 1


def test_of_two_that_run_at_once_only_the_first_to_commit_has_done_anything(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease has ended while the first still runs: it is slow, and not dead."""
    key = fresh()
    monkeypatch.setattr(leases, "LEASE", timedelta(0))
    take = intake.take_pages
    overtaken: list[httpx.Response] = []

    def late(*given: Any) -> Any:
        monkeypatch.setattr(intake, "take_pages", take)
        overtaken.append(send_batch(client, key))
        return take(*given)

    monkeypatch.setattr(intake, "take_pages", late)
    problem(send_batch(client, key), 409, "idempotency_in_progress")
    assert send_batch(client, key).json() == overtaken[0].json()
    assert len(batches(client)) == 1


@pytest.mark.parametrize("committed", [True, False])
def test_a_connection_cut_during_the_commit_and_a_retry_make_one_batch(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    key = fresh()
    keep = idempotency.Call.keep

    def cut(tx: db.Transaction) -> None:
        tx.flush()
        driver = tx.connection().connection.driver_connection
        assert driver is not None
        if committed:
            driver.commit()
        driver.close()

    def keep_and_cut(call: idempotency.Call, tx: db.Transaction, answer: Any, **told: Any) -> Any:
        kept = keep(call, tx, answer, **told)
        event.listen(tx, "before_commit", cut, once=True)
        return kept

    with monkeypatch.context() as patch:
        patch.setattr(idempotency.Call, "keep", keep_and_cut)
        problem(send_batch(client, key), 503, "database_unavailable")
    assert len(batches(client)) == committed
    again = send_batch(client, key)
    assert again.status_code == 202
    assert ("idempotency-replayed" in again.headers) == committed
    assert [batch["id"] for batch in batches(client)] == [again.json()["id"]]


def test_after_a_day_a_key_means_nothing_any_more(client: httpx.Client) -> None:
    key = fresh()
    first = send_batch(client, key)
    with db.transaction() as tx:
        its = update(IdempotencyKey).where(IdempotencyKey.key == key)
        tx.execute(its.values(created_at=func.now() - KEPT - timedelta(seconds=1)))
    assert send_batch(client, key, OTHER).json()["id"] != first.json()["id"]


def test_the_sweep_forgets_keys_after_a_day(client: httpx.Client) -> None:
    old, young = fresh(), fresh()
    for key in (old, young):
        send_batch(client, key)
    with db.transaction() as tx:
        its = update(IdempotencyKey).where(IdempotencyKey.key == old)
        tx.execute(its.values(created_at=func.now() - KEPT - timedelta(seconds=1)))
        tx.execute(forget.OLD_KEYS)
        left = set(tx.scalars(select(IdempotencyKey.key).where(IdempotencyKey.key.in_([old, young]))))
    assert left == {young}
