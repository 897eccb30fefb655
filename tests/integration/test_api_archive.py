"""Batches that come as a ZIP: what becomes of archives as they really are, and of those that are made to hurt."""

import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from api import admission, intake
from api.errors import FINDINGS_TOLD
from api.store import store
from cleanplate import db, ids
from cleanplate.models import Batch, Job
from cleanplate.resources import Accepted
from cleanplate.resources import Batch as BatchResource
from cleanplate.storage import StoreUnavailable
from tests import pictures
from tests.api import Api, problem
from tests.servers import wait_until
from tests.zips import ENCRYPTED, LINK, Entry, crafted, zipped

IMAGE = pictures.encoded(pictures.scene(), "JPEG")
MASK = pictures.encoded(pictures.mask_image())
BAD_MASK = pictures.encoded(pictures.mask_image((97, 64)))


def pairs(*names: str) -> dict[str, bytes]:
    return {file: data for name in names for file, data in ((f"{name}.jpg", IMAGE), (f"{name}_mask.png", MASK))}


def entries(*names: str, **told: Any) -> list[Entry]:
    """Return stored entries of pictures; those whose names hold ``mask`` are masks."""
    return [Entry(name.encode(), MASK if "mask" in name.lower() else IMAGE, method=0, **told) for name in names]


def form(archive: bytes, options: Mapping[str, Any] | None = None) -> list[tuple[str, tuple[str | None, bytes | str]]]:
    sent: list[tuple[str, tuple[str | None, bytes | str]]] = [("archive", ("photos.zip", archive))]
    return [*sent, ("options", (None, json.dumps(options)))] if options else sent


def create(client: httpx.Client, archive: bytes, **options: Any) -> httpx.Response:
    return client.post("/v1/batches", files=form(archive, options))


def created(client: httpx.Client, archive: bytes, **options: Any) -> BatchResource:
    response = create(client, archive, **options)
    assert response.status_code == 202, response.text
    return BatchResource.model_validate_json(response.content)


def rejections(batch: BatchResource | Accepted) -> set[tuple[str, str]]:
    return {(one.item, one.code) for one in batch.rejected}


def jobs(client: httpx.Client, batch_id: str) -> list[dict[str, Any]]:
    return list(client.get(f"/v1/batches/{batch_id}/jobs", params={"limit": 200}).json()["data"])


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
    assert len(batch.rejected) == intake.IGNORED_TOLD + 1
    assert batch.rejected[-1].item == f"{100 - intake.IGNORED_TOLD} more"


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


def test_a_manifest_says_what_belongs_together(client: httpx.Client) -> None:
    text = (
        "image,mask,custom_id,dilate_pixels,output_format,metadata.sku\r\n"
        "red.jpg,masks/one.png,RED-1,22,webp,S-1\r\n"
        "red.jpg,Masks/TWO.png,RED-2,,,\r\n"
        "blue.jpg,,,,,S-3\r\n"
    )
    files = {"p/Manifest.csv": b"\xef\xbb\xbf" + text.encode(), "p/red.jpg": IMAGE, "p/blue.jpg": IMAGE}
    files |= {"p/masks/one.png": MASK, "p/masks/two.png": MASK, "p/blue_mask.png": MASK, "p/left.jpg": IMAGE}
    batch = created(client, zipped(files), params={"dilate_pixels": 5})
    found = jobs(client, batch.id)
    assert [job["custom_id"] for job in found] == ["RED-1", "RED-2", "p/blue"]
    assert [job["params"]["dilate_pixels"] for job in found] == [22, 5, 5]
    assert [job["params"]["output_format"] for job in found] == ["webp", "png", "png"]
    assert [job["metadata"] for job in found] == [{"sku": "S-1"}, {}, {"sku": "S-3"}]
    assert rejections(batch) == {("p/left.jpg", "ignored_file")}


def test_a_fault_in_a_row_names_its_line_and_spares_the_others(client: httpx.Client) -> None:
    text = (
        "image,mask,custom_id,dilate_pixels,metadata.note\n"
        "a.jpg,,one,,\n"
        "gone.jpg,a_mask.png,two,,\n"
        "a.jpg,gone.png,three,,\n"
        ",a_mask.png,four,,\n"
        "a.jpg,,one,,\n"
        "a.jpg,,five,101,\n"
        "a.jpg,,six,many,\n"
        f"a.jpg,,seven,,{'x' * 9000}\n"
        f"a.jpg,,{'y' * 256},,\n"
        "twin.jpg,,nine,,\n"
        "bad.jpg,,ten,,\n"
    )
    entries_ = entries("a.jpg", "a_mask.png", "twin.jpg", "TWIN.jpg", "twin_mask.png", "bad.jpg")
    archive = crafted(Entry(b"manifest.csv", text.encode()), *entries_, Entry(b"bad_mask.png", BAD_MASK))
    batch = created(client, archive)
    assert [job["custom_id"] for job in jobs(client, batch.id)] == ["one"]
    assert rejections(batch) - {("TWIN.jpg", "ignored_file")} == {
        ("twin.jpg", "ignored_file"),
        ("manifest.csv:3", "missing_image"),
        ("manifest.csv:4", "missing_mask"),
        ("manifest.csv:5", "missing_image"),
        ("manifest.csv:6", "custom_id_repeated"),
        ("manifest.csv:7", "invalid_params"),
        ("manifest.csv:8", "invalid_params"),
        ("manifest.csv:9", "invalid_metadata"),
        ("manifest.csv:10", "name_too_long"),
        ("manifest.csv:11", "ambiguous_pair"),
        ("manifest.csv:12", "mask_size_mismatch"),
    }
    problem(create(client, archive, atomic=True), 422, "batch_rejected")


def test_a_manifest_that_cannot_be_understood_refuses_the_archive(api: Api, client: httpx.Client) -> None:
    before = api.stored()
    for name, text in (("manifest.csv", "image,colour\na.jpg,ü\n".encode("cp1252")), ("MANIFEST.CSV", b"image,x\n")):
        told = problem(create(client, zipped(pairs("a") | {name: text})), 422, "manifest_invalid")
        assert told["errors"][0]["item"].startswith("manifest.csv:")
    two = pairs("a") | {"manifest.csv": b"image\n", "x/manifest.csv": b"image\n"}
    problem(create(client, zipped(two)), 422, "manifest_invalid")
    large = zipped(pairs("a") | {"manifest.csv": bytes(range(32, 127)) * 100_000})
    assert problem(create(client, large), 422, "archive_rejected")["reason"] == "ratio"
    assert api.stored() == before


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
        assert not late or self.open.wait(30)
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


def test_anothers_batch_is_not_found(api: Api, client: httpx.Client) -> None:
    archive = zipped(pairs("a"))
    batch_id = created(client, archive, seal=False).id
    with api.client() as other:
        for id_ in (batch_id, ids.new(ids.Kind.BATCH)):
            problem(other.post(f"/v1/batches/{id_}/items", files=form(archive)), 404, "not_found")
    assert total(batch_id) == 1
