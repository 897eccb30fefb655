"""JSON with items is taken page by page; a call that broke off between pages goes on behind the items that are done."""

import secrets
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select, update

from api import admission, leases, remote
from cleanplate import db
from cleanplate.idempotency import IdempotencyKey
from cleanplate.models import Job, Upload
from cleanplate.storage import StoreUnavailable
from tests.api import Api, problem

PAGE, NUMBER = 2, 7
BAD: dict[str, Any] = {"image": {"url": "ftp://x"}, "mask": {"url": "https://photos.example.com/m.png"}}
CALLS = pytest.mark.parametrize("call", ["create", "add"])


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "PAGE_ELSEWHERE", PAGE)


class Pages:
    """What is done before a page is read, by how many were read before; ``break_off`` is one of these things."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.first: dict[int, Callable[[], object]] = {}
        self._read = -1
        self._find = remote.Elsewhere.find

        def find_next(*given: Any) -> Any:
            self._read += 1
            self.first.pop(self._read, lambda: None)()
            return self._find(*given)

        monkeypatch.setattr(remote.Elsewhere, "find", find_next)


def break_off() -> None:
    raise StoreUnavailable("away")


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> Pages:
    return Pages(monkeypatch)


def items(first: int = 0, last: int = NUMBER) -> list[dict[str, Any]]:
    """Return items without names."""
    mask = {"url": "https://photos.example.com/m.png"}
    return [
        {"image": {"url": f"https://photos.example.com/{number}.jpg"}, "mask": mask} for number in range(first, last)
    ]


def opened(client: httpx.Client, call: str) -> str:
    """Return the path of the call."""
    if call == "create":
        return "/v1/batches"
    return (
        f"/v1/batches/{client.post('/v1/batches', json={'items': [], 'options': {'seal': False}}).json()['id']}/items"
    )


def send(client: httpx.Client, path: str, key: str, given: list[dict[str, Any]]) -> httpx.Response:
    return client.post(path, json={"items": given}, headers={"Idempotency-Key": key})


def expire(key: str) -> None:
    with db.transaction() as tx:
        its = update(IdempotencyKey).where(IdempotencyKey.key == key)
        tx.execute(its.values(leased_until=func.now() - timedelta(seconds=1)))


def batch_of(answer: httpx.Response) -> dict[str, Any]:
    told: dict[str, Any] = answer.raise_for_status().json()
    found: dict[str, Any] = told.get("batch", told)
    return found


def urls(batch_id: str) -> list[str]:
    with db.transaction() as tx:
        rows = tx.execute(
            select(Job.position, Job.sources).where(Job.batch_id == batch_id).order_by(Job.position)
        ).all()
    assert [position for position, _ in rows] == list(range(len(rows)))
    return [sources["image"]["url"].rpartition("/")[2] for _, sources in rows if sources]


def broken_off(client: httpx.Client, pages: Pages, path: str, key: str, given: list[dict[str, Any]]) -> dict[str, Any]:
    """Send items, of which only the first page is taken; return what is told."""
    pages.first[1] = break_off
    return problem(send(client, path, key, given), 503, "store_unavailable")


@CALLS
@pytest.mark.parametrize("died", [False, True])
def test_no_item_without_a_name_is_in_the_batch_twice(
    client: httpx.Client, pages: Pages, monkeypatch: pytest.MonkeyPatch, call: str, died: bool
) -> None:
    key, path, given = secrets.token_hex(8), opened(client, call), [BAD, *items()]
    with monkeypatch.context() as patch:
        if died:
            patch.setattr(leases, "free", lambda *_: None)  # the dead free nothing
        told = broken_off(client, pages, path, key, given)
    assert told["items_done"] == PAGE  # the one that is none, and one more
    batch = client.get(f"/v1/batches/{told['batch_id']}").json()
    assert (batch["status"], urls(batch["id"])) == ("open", ["0.jpg"])
    if died:
        problem(send(client, path, key, given), 409, "idempotency_in_progress")
        expire(key)
    problem(send(client, path, key, given[:-1]), 422, "idempotency_mismatch")
    client.post(f"/v1/batches/{batch['id']}/items", json={"items": items(90, 93)}).raise_for_status()
    again = send(client, path, key, given)
    assert (batch_of(again)["id"], batch_of(again)["counts"]["total"]) == (batch["id"], NUMBER + 3)
    assert sorted(urls(batch["id"]), key=len) == [f"{number}.jpg" for number in (*range(NUMBER), 90, 91, 92)]
    if call == "add":
        codes = [one["code"] for one in again.json()["rejected"]]
        assert (again.json()["accepted_count"], codes) == (NUMBER, ["url_scheme"])
    assert send(client, path, key, given).json() == again.json()
    assert len(urls(batch["id"])) == NUMBER + 3


@CALLS
def test_of_two_attempts_that_overtake_each_other_each_item_is_brought_by_one(
    client: httpx.Client, api: Api, pages: Pages, call: str
) -> None:
    key, path = secrets.token_hex(8), opened(client, call)

    def overtake() -> None:
        expire(key)
        with api.anonymous(Authorization=client.headers["authorization"]) as other:
            problem(send(other, path, key, items()), 503, "store_unavailable")

    pages.first |= {1: overtake, 4: break_off}
    told = problem(send(client, path, key, items()), 409, "idempotency_in_progress")
    assert len(urls(told["batch_id"])) == 2 * PAGE
    assert batch_of(send(client, path, key, items()))["id"] == told["batch_id"]
    assert urls(told["batch_id"]) == [f"{number}.jpg" for number in range(NUMBER)]


def test_without_a_key_the_rest_is_sent_to_the_batch_that_the_answer_names(client: httpx.Client, pages: Pages) -> None:
    pages.first[2] = break_off
    told = problem(client.post("/v1/batches", json={"items": items()}), 503, "store_unavailable")
    assert told["items_done"] == 2 * PAGE
    client.post(f"/v1/batches/{told['batch_id']}/items", json={"items": items(told["items_done"])}).raise_for_status()
    assert urls(told["batch_id"]) == [f"{number}.jpg" for number in range(NUMBER)]


@pytest.mark.parametrize(("how", "code"), [("seal", "batch_sealed"), ("cancel", "batch_cancelled")])
def test_to_a_batch_that_was_closed_meanwhile_nothing_more_comes(
    client: httpx.Client, pages: Pages, how: str, code: str
) -> None:
    key = secrets.token_hex(8)
    batch_id = broken_off(client, pages, "/v1/batches", key, items())["batch_id"]
    client.post(f"/v1/batches/{batch_id}/{how}").raise_for_status()
    told = send(client, "/v1/batches", key, items()).json()
    assert [(one["item"], one["code"]) for one in told["rejected"]] == [("the rest", code)]
    assert (told["id"], told["counts"]["total"]) == (batch_id, PAGE)


def test_what_expired_meanwhile_is_refused_and_the_rest_is_taken(client: httpx.Client, pages: Pages) -> None:
    key = secrets.token_hex(8)
    made = [client.post("/v1/uploads").json()["upload_id"] for _ in range(NUMBER)]
    given = [{"image": {"upload_id": one}, "mask": {"upload_id": one}} for one in made]
    broken_off(client, pages, "/v1/batches", key, given)
    with db.transaction() as tx:
        tx.execute(update(Upload).where(Upload.id == made[PAGE]).values(expires_at=func.now()))
    told = send(client, "/v1/batches", key, given).json()
    assert [(one["item"], one["code"]) for one in told["rejected"]] == [(f"items/{PAGE}", "upload_not_found")]
    assert told["counts"]["total"] == NUMBER - 1
