"""The first items of JSON are imported while the rest of it is still on its way."""

import json
import secrets
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from cleanplate import db
from cleanplate.models import Job
from tests.api import problem
from tests.arriving import CutError, Newest, cut, post
from tests.servers import wait_until

NUMBER = 8
SIGNATURE = "0123456789abcdef" * 50

pytestmark = pytest.mark.usefixtures("quick_looks")


def items(number: int = NUMBER) -> list[dict[str, Any]]:
    """Return items without names, each of more than a kilobyte; the first and the last that each says is its number."""
    place = "https://photos.example.com"
    return [
        {"image": {"url": f"{place}/{one}.jpg?{SIGNATURE}"}, "mask": {"url": f"{place}/mask.png?{SIGNATURE}{one}"}}
        for one in range(number)
    ]


def body(given: list[dict[str, Any]], **options: Any) -> bytes:
    return json.dumps({"options": options, "items": given} if options else {"items": given}).encode()


def send(
    client: httpx.Client, path: str, whole: bytes, first: int, then: Callable[[], object], **headers: str
) -> httpx.Response:
    """Send the body; when its first so many items have come, call ``then`` before the rest."""
    at = len(whole.split(b'{"image"', first + 1)[-1])
    return post(client, path, [whole[:-at], whole[-at:]], then, "application/json", **headers)


def urls(batch_id: str) -> list[str]:
    with db.transaction() as tx:
        rows = tx.scalars(select(Job.sources).where(Job.batch_id == batch_id).order_by(Job.position))
        return [sources["image"]["url"].rpartition("/")[2].partition("?")[0] for sources in rows if sources]


def all_of(number: int = NUMBER) -> list[str]:
    return [f"{one}.jpg" for one in range(number)]


def test_the_first_job_is_there_before_the_rest_is_sent(client: httpx.Client, newest: Newest) -> None:
    seen: list[dict[str, Any]] = []
    told = send(client, "/v1/batches", body(items(), name="a"), 3, lambda: seen.append(newest())).json()
    (early,) = seen
    assert (early["id"], early["status"], early["name"]) == (told["id"], "open", "a")
    assert early["counts"]["queued"] == early["counts"]["total"] <= 3
    assert (told["status"], told["counts"]["total"], told["rejected"]) == ("processing", NUMBER, [])
    assert urls(told["id"]) == all_of()


def test_so_it_is_with_items_for_an_open_batch_and_the_answer_tells_of_all_of_them(
    client: httpx.Client, newest: Newest
) -> None:
    batch_id = client.post("/v1/batches", json={"items": [], "options": {"seal": False}}).json()["id"]
    bad = {"image": {"url": "ftp://x"}, "mask": {"upload_id": "upl_none"}}
    given = [{"custom_id": "a"} | items(1)[0], bad, *items(), {"custom_id": "a"} | items(1)[0]]
    told = send(client, f"/v1/batches/{batch_id}/items", body(given), 4, newest).json()
    assert (told["accepted_count"], len(told["accepted"])) == (NUMBER + 1, NUMBER + 1)
    assert [job["position"] for job in told["accepted"]] == list(range(NUMBER + 1))
    assert [(one["item"], one["code"]) for one in told["rejected"]] == [
        ("items/1", "url_scheme"),
        ("a", "repeated_custom_id"),
    ]
    assert urls(batch_id) == ["0.jpg", *all_of()]


@pytest.mark.parametrize("how", ["behind", "without", "atomic"])
def test_nothing_is_begun_of_what_is_taken_whole_or_not_at_all_or_has_its_options_behind(
    client: httpx.Client, some_looks: Callable[[], None], how: str
) -> None:
    given = items()
    whole = {
        "behind": json.dumps({"items": given, "options": {}}).encode(),
        "without": body(given),
        "atomic": body(given, atomic=True),
    }[how]
    seen: list[Any] = []

    def look() -> None:
        some_looks()
        seen.extend(client.get("/v1/batches").json()["data"])

    told = send(client, "/v1/batches", whole, 4, look).json()
    assert seen == []
    assert urls(told["id"]) == all_of()


@pytest.mark.parametrize("into", ["new", "open"])
def test_sent_again_after_it_broke_off_no_item_is_taken_twice(client: httpx.Client, newest: Newest, into: str) -> None:
    key, path, whole = {"Idempotency-Key": secrets.token_hex(8)}, "/v1/batches", body(items(), name="a")
    if into == "open":
        made = client.post("/v1/batches", json={"items": [], "options": {"seal": False}}).json()
        path, whole = f"/v1/batches/{made['id']}/items", body(items())

    def see_then_cut() -> None:
        newest()
        cut()

    with pytest.raises(CutError):
        send(client, path, whole, 4, see_then_cut, **key)
    if into == "new":
        wait_until(lambda: newest()["rejected"])
        assert [one["code"] for one in newest()["rejected"]] == ["body_incomplete"]
    batch = newest()
    other = whole.replace(f"{SIGNATURE}{batch['counts']['total'] - 1}".encode(), f"{SIGNATURE}x".encode())
    wait_until(lambda: send(client, path, other, 2, lambda: None, **key).json()["code"] == "idempotency_mismatch")
    told = send(client, path, whole, 6, lambda: wait_until(lambda: len(urls(batch["id"])) >= 4), **key).json()
    assert urls(batch["id"]) == all_of()
    if into == "open":
        assert (told["accepted_count"], told["rejected"]) == (NUMBER, [])
    else:
        assert (told["id"], told["status"], told["rejected"]) == (batch["id"], "processing", [])
    assert send(client, path, whole, 2, lambda: None, **key).json() == told


def test_what_is_no_json_in_the_end_says_where_the_items_are_that_were_taken(
    client: httpx.Client, newest: Newest
) -> None:
    answer = send(client, "/v1/batches", body(items(), name="a")[:-2] + b"?", 4, newest)
    told = problem(answer, 400, "malformed_body")
    batch = newest()
    assert (told["batch_id"], batch["status"]) == (batch["id"], "open")
    assert urls(batch["id"]) == all_of(told["items_done"])
    assert [one["code"] for one in batch["rejected"]] == ["body_incomplete"]
