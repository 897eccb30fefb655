"""The first items of an archive are worked on while the rest of it is still on its way."""

import json
import secrets
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.api import problem
from tests.archives import IMAGE, MASK, entries, jobs, pairs
from tests.arriving import CutError, Newest, Parts, cut, send
from tests.servers import wait_until
from tests.zips import crafted, piped, zipped

pytestmark = pytest.mark.usefixtures("quick_looks")

HEADER = b"PK\x03\x04"
MANIFEST = b"image,mask,custom_id,dilate_pixels\nmug.jpg,,M-1,20\ncup.jpg,mug_mask.png,C-1,\n"


def form(archive: bytes, **options: Any) -> Parts:
    return [("options", (None, json.dumps(options))), ("archive", ("photos.zip", archive))]


def send_archive(
    client: httpx.Client,
    parts: Parts,
    files: int,
    then: Callable[[], object],
    path: str = "/v1/batches",
    **headers: str,
) -> httpx.Response:
    """Send an archive, and when so many of its files have come, call ``then`` before the rest."""
    body = client.build_request("POST", path, files=parts).read()
    at = -1
    for _ in range(files + 1):
        at = body.index(HEADER, at + 1)
    return send(client, path, parts, at, then, **headers)


@pytest.mark.parametrize("write", [zipped, piped])
def test_the_first_job_of_an_archive_that_is_to_have_no_manifest_is_queued_before_its_rest_is_sent(
    client: httpx.Client, newest: Newest, write: Callable[[dict[str, bytes]], bytes]
) -> None:
    seen: list[dict[str, Any]] = []
    parts = form(write(pairs("mug", "cup", "vase")), manifest=False)
    told = send_archive(client, parts, 2, lambda: seen.append(newest())).json()
    (early,) = seen
    assert (early["id"], early["status"], early["counts"]["queued"]) == (told["id"], "open", 1)
    assert (told["status"], told["counts"]["total"], told["rejected"]) == ("processing", 3, [])


@pytest.mark.parametrize("before", [(), ("left",), ("left", "mug")])
def test_so_it_is_with_one_whose_manifest_has_come_also_for_pairs_that_came_before_it(
    client: httpx.Client, newest: Newest, before: tuple[str, ...]
) -> None:
    first = pairs(*before) | {"manifest.csv": MANIFEST} | pairs("mug", "left")
    told = send_archive(client, form(zipped(first | {"cup.jpg": IMAGE})), len(first), newest).json()
    assert sorted((one["item"], one["code"]) for one in told["rejected"]) == [
        ("left.jpg", "ignored_file"),
        ("left_mask.png", "ignored_file"),
    ]
    made = {job["custom_id"]: job["params"]["dilate_pixels"] for job in jobs(client, told["id"])}
    assert made == {"M-1": 20, "C-1": 10}


def test_rows_of_a_manifest_that_its_directory_does_not_have_are_no_more_taken(
    client: httpx.Client, newest: Newest
) -> None:
    whole = zipped({"manifest.csv": MANIFEST, **pairs("mug", "vase"), "cup.jpg": IMAGE})
    at = whole.rindex(b"manifest.csv")
    stale = whole[:at] + b"leftover.csv" + whole[at + len(b"manifest.csv") :]
    told = problem(send_archive(client, form(stale), 4, newest), 422, "archive_rejected")
    assert {job["custom_id"] for job in jobs(client, told["batch_id"])} <= {"M-1"}


def test_so_it_is_with_one_that_comes_to_an_open_batch(client: httpx.Client, newest: Newest) -> None:
    options = {"options": (None, '{"seal": false, "manifest": false}')}
    batch_id = client.post("/v1/batches", files=options).json()["id"]
    parts = form(zipped(pairs("mug", "cup")))[1:]
    told = send_archive(client, parts, 2, newest, f"/v1/batches/{batch_id}/items").json()
    assert ([job["custom_id"] for job in told["accepted"]], told["rejected"]) == (["mug", "cup"], [])


@pytest.mark.parametrize("options", [{}, {"atomic": True, "manifest": False}], ids=["by itself", "atomic"])
def test_nothing_is_begun_while_a_manifest_may_come_or_all_is_to_be_taken_or_none(
    client: httpx.Client, some_looks: Callable[[], None], options: dict[str, Any]
) -> None:
    seen: list[Any] = []
    archive = zipped({**pairs("mug", "left"), "cup.jpg": IMAGE, "manifest.csv": MANIFEST})

    def look() -> None:
        some_looks()
        seen.extend(client.get("/v1/batches").json()["data"])

    answer = send_archive(client, form(archive, **options), 4, look)
    assert seen == []
    if "atomic" in options:
        problem(answer, 422, "batch_rejected")  # cup.jpg has no mask of its name
    else:
        assert {job["custom_id"] for job in jobs(client, answer.json()["id"])} == {"M-1", "C-1"}


def test_a_manifest_that_is_not_to_be_there_is_left_aside(client: httpx.Client) -> None:
    archive = zipped({**pairs("mug"), "manifest.csv": MANIFEST})
    told = client.post("/v1/batches", files=form(archive, manifest=False)).json()
    assert [(one["item"], one["code"]) for one in told["rejected"]] == [("manifest.csv", "ignored_file")]
    assert [job["custom_id"] for job in jobs(client, told["id"])] == ["mug"]


def test_an_archive_whose_directory_says_otherwise_is_refused_and_told_where_its_items_are(
    client: httpx.Client, newest: Newest
) -> None:
    pair, other = crafted(*entries("mug.jpg", "mug_mask.png")), crafted(*entries("cup.jpg"))
    stale = pair[: pair.index(b"PK\x01\x02")] + other  # a directory of the other alone, which is in no pair
    answer = send_archive(client, form(stale, manifest=False), 2, newest)
    told = problem(answer, 422, "archive_rejected")
    assert told["reason"] == "damaged"
    batch = newest()
    assert (told["batch_id"], batch["status"], batch["counts"]["total"]) == (batch["id"], "open", 1)
    assert [one["code"] for one in batch["rejected"]] == ["body_incomplete"]


def test_an_archive_that_broke_off_is_gone_on_with_under_its_key(client: httpx.Client, newest: Newest) -> None:
    key = {"Idempotency-Key": secrets.token_hex(8)}
    parts = form(piped(pairs("mug", "cup", "vase")), manifest=False)

    def see_then_cut() -> None:
        newest()
        cut()

    with pytest.raises(CutError):
        send_archive(client, parts, 2, see_then_cut, **key)
    batch = newest()

    wait_until(lambda: newest()["rejected"])
    told = send_archive(client, parts, 4, newest, **key).json()
    assert (told["id"], told["status"], told["counts"]["total"]) == (batch["id"], "processing", 3)
    assert told["rejected"] == []


def test_a_pair_of_an_archive_that_cannot_be_worked_on_is_judged_at_the_end(
    client: httpx.Client, newest: Newest
) -> None:
    archive = zipped({**pairs("mug"), "bad.jpg": b"no picture", "bad_mask.png": MASK, **pairs("cup")})
    told = send_archive(client, form(archive, manifest=False), 4, newest).json()
    assert [one["item"] for one in told["rejected"]] == ["bad.jpg"]
    assert told["counts"]["total"] == 2
