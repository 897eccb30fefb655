"""Batches that come as a ZIP: what becomes of archives as they really are, and of those that are made to hurt."""

from pathlib import Path

import httpx
import pytest
from sqlalchemy import select

from api import admission
from api.errors import FINDINGS_TOLD
from api.pairs import IGNORED_TOLD
from api.store import store
from cleanplate import db, ids
from cleanplate.models import Job
from cleanplate.resources import Accepted
from tests.api import Api, problem
from tests.archives import create, created, entries, form, jobs, pairs, rejections
from tests.pictures import BAD_MASK, IMAGE
from tests.zips import ENCRYPTED, LINK, Entry, crafted, zipped


def test_an_archive_becomes_a_batch(api: Api, client: httpx.Client) -> None:
    batch = created(client, zipped(pairs("b", "shoes/a")), name="spring")
    assert (batch.name, batch.status, batch.counts.total, batch.rejected) == ("spring", "processing", 2, [])
    assert [job["custom_id"] for job in jobs(client, batch.id)] == ["b", "shoes/a"]
    with db.transaction() as tx:
        rows = tx.scalars(select(Job).where(Job.batch_id == batch.id)).all()
    assert {key for row in rows for key in (row.image_key, row.mask_key)} <= api.stored()
    assert {store().get(row.image_key) for row in rows} == {IMAGE}


def test_names_are_paired_as_they_are_meant_and_nothing_is_written_by_them(
    api: Api, client: httpx.Client, tmp_path: Path
) -> None:
    before = {path for path in api.objects.parent.rglob("*") if path.is_file()}
    archive = crafted(
        *entries("../../climb.jpg", "climb_mask.png", f"{tmp_path}/root.jpg", f"{tmp_path}/root_mask.png"),
        *entries("a\\win.jpg", "a/win_mask.png", "gru\u0308n.JPG", "GR\u00dcN_Mask.PNG"),
        *entries("plain-é.jpg", "plain-é_mask.png", flags=0),
    )
    batch = created(client, archive)
    assert batch.rejected == []
    assert {job["custom_id"] for job in jobs(client, batch.id)} == {
        "climb",
        "a/win",
        "gr\u00fcn",
        "plain-é",
        f"{tmp_path}/root".lstrip("/"),
    }
    written = {path for path in api.objects.parent.rglob("*") if path.is_file()} - before
    assert all(path.relative_to(api.objects).parts[0] == "inputs" for path in written)
    assert list(tmp_path.iterdir()) == []


def test_names_that_are_the_same_are_ambiguous(client: httpx.Client) -> None:
    archive = crafted(
        *entries("twice.jpg", "twice.jpg", "twice_mask.png", "Case.jpg", "case.JPG", "case_mask.png"),
        *entries("../up.jpg", "up.jpg", "up_mask.png", "good.jpg", "good_mask.png"),
    )
    batch = created(client, archive)
    assert batch.counts.total == 1
    assert {code for _, code in rejections(batch)} == {"ambiguous_pair"}
    assert len(batch.rejected) == 9


def test_what_systems_leave_in_archives_is_listed_and_ignored(client: httpx.Client) -> None:
    junk = ["__MACOSX/._a.jpg", "._b.jpg", "x/Thumbs.db", ".DS_Store", "desktop.ini"]
    archive = zipped(pairs("a") | dict.fromkeys(junk, b"junk") | {"x/": b""})
    batch = created(client, archive, atomic=True)
    assert batch.counts.total == 1
    assert rejections(batch) == {(name, "ignored_file") for name in junk}


def test_of_very_much_junk_some_is_listed_and_the_rest_counted(client: httpx.Client) -> None:
    batch = created(client, zipped(pairs("a") | {f"__MACOSX/._{n}.jpg": b"junk" for n in range(100)}))
    assert len(batch.rejected) == IGNORED_TOLD + 1
    assert batch.rejected[-1].item == f"{100 - IGNORED_TOLD} more"


def test_a_problem_lists_the_first_faults_and_counts_the_others(client: httpx.Client) -> None:
    archive = crafted(*entries(*(f"{number}.jpg" for number in range(FINDINGS_TOLD + 7))))
    told = problem(create(client, archive), 422, "no_valid_items")
    assert len(told["errors"]) == FINDINGS_TOLD + 1
    assert told["errors"][-1]["item"] == "7 more"
    problem(create(client, archive, atomic=True), 422, "batch_rejected")


def test_what_cannot_be_read_spares_the_rest(client: httpx.Client) -> None:
    archive = crafted(
        *entries("secret.jpg", "secret_mask.png", flags=ENCRYPTED),
        Entry(b"link.jpg", b"/etc/passwd", method=0, attributes=LINK),
        *entries("link_mask.png", "alone.jpg", "nobody_mask.png", "good.jpg", "good_mask.png"),
        *entries("crc.jpg", crc=1),
        *entries("crc_mask.png", "big_mask.png"),
        Entry(b"big.jpg", bytes(range(256)) * 400, method=0),
        Entry(b"small.jpg", IMAGE),
        Entry(b"small_mask.png", BAD_MASK),
    )
    batch = created(client, archive)
    assert [job["custom_id"] for job in jobs(client, batch.id)] == ["good"]
    assert rejections(batch) == {
        ("secret.jpg", "encrypted_file"),
        ("link.jpg", "unsupported_entry"),
        ("alone.jpg", "missing_mask"),
        ("nobody_mask.png", "missing_image"),
        ("crc.jpg", "archive_damaged"),
        ("big.jpg", "file_too_large"),
        ("small.jpg", "mask_size_mismatch"),
    }


@pytest.mark.parametrize("atomic", [False, True])
def test_an_archive_that_hurts_is_refused_and_leaves_nothing(api: Api, client: httpx.Client, *, atomic: bool) -> None:
    before = api.stored()
    nested = zipped(pairs("a"))
    bombs = {
        "ratio": zipped(pairs("a") | {"zeros.jpg": bytes(90_000_000)}),
        "overlap": crafted(*entries("a.jpg", "a_mask.png"), Entry(b"b.jpg", IMAGE, method=0, offset=0)),
        "nested": zipped(pairs("a") | {"inner.zip": nested}),
        "not_a_zip": b"Rar!\x1a\x07",
        "damaged": nested[: len(nested) // 2] + nested[-22:],
    }
    for reason, archive in bombs.items():
        told = problem(create(client, archive, atomic=atomic), 422, "archive_rejected")
        assert told["reason"] == reason
    assert client.get("/v1/batches").json()["data"] == []
    assert api.stored() == before


def test_an_atomic_archive_is_taken_whole_or_not_at_all(api: Api, client: httpx.Client) -> None:
    before = api.stored()
    archive = crafted(*entries("a.jpg", "a_mask.png"), *entries("b.jpg", crc=1), *entries("b_mask.png"))
    told = problem(create(client, archive, atomic=True), 422, "batch_rejected")
    assert [(error["item"], error["code"]) for error in told["errors"]] == [("b.jpg", "archive_damaged")]
    assert api.stored() == before
    many = zipped(pairs(*(f"{n:03}" for n in range(2 * admission.PAGE + 1))))
    batch = created(client, many, atomic=True)
    assert batch.counts.total == 2 * admission.PAGE + 1


def test_one_archive_and_no_files_beside_it_are_taken(client: httpx.Client) -> None:
    archive = ("archive", ("a.zip", zipped(pairs("a"))))
    for files in ([archive, archive], [archive, ("files", ("b.jpg", IMAGE))]):
        problem(client.post("/v1/batches", files=files), 422, "validation_failed")


def test_an_archive_comes_to_an_open_batch_and_may_be_sent_again(api: Api, client: httpx.Client) -> None:
    number = 2 * admission.PAGE + 3
    archive = zipped(pairs(*(f"{n:03}" for n in range(number))))
    batch_id = created(client, zipped(pairs("000", "x")), seal=False).id
    path = f"/v1/batches/{batch_id}/items"
    answer = Accepted.model_validate_json(client.post(path, files=form(archive)).content)
    assert (answer.accepted_count, len(answer.accepted), answer.batch.counts.total) == (number - 1, 102, number + 1)
    assert rejections(answer) == {("000.jpg", "duplicate_custom_id")}
    before = api.stored()
    again = Accepted.model_validate_json(client.post(path, files=form(archive)).content)
    assert (again.accepted_count, again.batch.counts.total, again.batch.rejected) == (0, number + 1, [])
    assert api.stored() == before
    positions = [job["position"] for job in jobs(client, batch_id)]
    assert positions == list(range(number + 1))


def test_an_answer_lists_the_first_jobs_only(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "JOBS_TOLD", 3)
    monkeypatch.setattr(admission, "PAGE", 2)
    batch_id = created(client, zipped(pairs("x")), seal=False).id
    sent = client.post(f"/v1/batches/{batch_id}/items", files=form(zipped(pairs(*"abcdefg"))))
    answer = Accepted.model_validate_json(sent.content)
    assert ([job.custom_id for job in answer.accepted], answer.accepted_count) == (["a", "b", "c"], 7)


def test_anothers_batch_is_not_found(api: Api, client: httpx.Client) -> None:
    archive = zipped(pairs("a"))
    batch_id = created(client, archive, seal=False).id
    with api.client() as other:
        for id_ in (batch_id, ids.new(ids.Kind.BATCH)):
            problem(other.post(f"/v1/batches/{id_}/items", files=form(archive)), 404, "not_found")
    assert client.get(f"/v1/batches/{batch_id}").json()["counts"]["total"] == 1
