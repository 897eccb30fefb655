"""A pair that becomes a job: what is taken and stored, what is told of it, and what is refused."""

import hashlib
import json

import httpx
import pytest

from api.store import store
from cleanplate import db
from cleanplate.models import Attempt, Endpoint, Job, JobEvent
from cleanplate.resources import Job as JobResource
from cleanplate.vault import open_sealed
from tests import pictures
from tests.api import Api, problem
from tests.intake import send
from tests.pictures import BAD_MASK, IMAGE, MASK


def test_a_pair_is_taken_and_can_be_found_again(api: Api, client: httpx.Client) -> None:
    wanted = {"dilate_pixels": "20", "output_format": "webp", "seed": "7"}
    response = send(client, custom_id="sofa", metadata='{"sku": "S-3"}', **wanted)
    assert response.status_code == 202, response.text
    job = JobResource.model_validate_json(response.content)
    assert response.headers["location"] == f"/v1/jobs/{job.id}"
    assert (job.status, job.stage, job.custom_id, job.batch_id) == ("queued", "queued", "sofa", None)
    assert (job.params.dilate_pixels, job.params.output_format, job.params.seed) == (20, "webp", 7)
    assert job.metadata == {"sku": "S-3"}
    assert (job.image.width, job.image.height, job.image.format) == (96, 64, "jpeg")
    assert job.image.sha256 == hashlib.sha256(IMAGE).hexdigest()
    assert job.mask.coverage == pytest.approx(20 * 16 / (96 * 64))
    assert client.get(response.headers["location"]).json() == response.json()
    assert (api.objects / f"inputs/{job.id}/image").read_bytes() == IMAGE
    assert (api.objects / f"inputs/{job.id}/mask").read_bytes() == MASK


def test_what_the_upstream_will_be_sent_is_stored_beside_it(api: Api, client: httpx.Client) -> None:
    image = pictures.encoded(pictures.scene(mode="RGBA"))
    job = send(client, image, mask_invert="true").json()
    with db.transaction() as tx:
        row = tx.get_one(Job, job["id"])
    sent = pictures.decoded((api.objects / row.send_image_key).read_bytes())
    assert (sent.mode, sent.size) == ("RGB", (96, 64))
    mask = pictures.decoded((api.objects / row.send_mask_key).read_bytes())
    assert mask.getpixel((25, 20)) == 0  # white in the mask that came: inverted, it is kept
    assert mask.getpixel((0, 0)) == 255
    assert row.image_key != row.send_image_key


def test_what_needs_no_preparing_is_stored_once(client: httpx.Client) -> None:
    plain = pictures.encoded(pictures.scene(mode="L"))
    with db.transaction() as tx:
        row = tx.get_one(Job, send(client, plain).json()["id"])
    assert row.send_image_key == row.image_key
    assert row.send_mask_key == row.mask_key


def test_the_history_tells_states_and_submits(client: httpx.Client) -> None:
    job_id = send(client).json()["id"]
    with db.transaction() as tx:
        tx.add(Attempt(job_id=job_id, number=1, account="default", worker="w", outcome="unconfirmed", detail="lost"))
    told = client.get(f"/v1/jobs/{job_id}/history").json()
    assert [(event["stage"], event["reason"]) for event in told["events"]] == [("queued", "accepted")]
    assert [(one["number"], one["outcome"], one["detail"]) for one in told["attempts"]] == [(1, "unconfirmed", "lost")]


def test_the_history_comes_in_pages_with_all_attempts_and_without_secrets(client: httpx.Client) -> None:
    job_id = send(client).json()["id"]
    with db.transaction() as tx:
        secret = {"task_id": "task-1", "polling_url": "https://api.eu.bfl.ai/v1/get_result?id=task-1"}
        tx.add(Attempt(job_id=job_id, number=1, account="second", worker="w", outcome="accepted", **secret))
        tx.add_all(JobEvent(job_id=job_id, state="queued", reason=f"reason {number}") for number in range(4))
    reasons, cursor, pages = [], "0", 0
    while cursor:
        page = client.get(f"/v1/jobs/{job_id}/history", params={"limit": 2, "cursor": cursor})
        assert [(one["number"], one["account"]) for one in page.json()["attempts"]] == [(1, "second")]
        assert "task-1" not in page.text
        reasons += [event["reason"] for event in page.json()["events"]]
        cursor, pages = page.json()["next_cursor"], pages + 1
    assert (reasons, pages) == (["accepted", *(f"reason {number}" for number in range(4))], 3)
    problem(client.get(f"/v1/jobs/{job_id}/history?cursor=x"), 422, "validation_failed")
    problem(client.get(f"/v1/jobs/{job_id}/history?offset=1"), 400, "unknown_parameter")


@pytest.mark.parametrize(
    ("image", "mask", "status", "code"),
    [
        (IMAGE, BAD_MASK, 422, "mask_size_mismatch"),
        (IMAGE[:-200], MASK, 422, "image_corrupt"),
        (b"", MASK, 422, "empty_file"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", MASK, 415, "unsupported_media_type"),
        (IMAGE, pictures.encoded(pictures.mask_image(box=(0, 0, 96, 64))), 422, "mask_full"),
        (b"\xff\xd8" + bytes(100_000), MASK, 413, "file_too_large"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_pair_that_cannot_be_worked_on_leaves_nothing_behind(
    api: Api, client: httpx.Client, image: bytes, mask: bytes, status: int, code: str
) -> None:
    before = api.stored()
    problem(send(client, image, mask), status, code)
    assert api.stored() == before
    assert client.get("/v1/jobs").json()["data"] == []


def test_sizes_that_differ_are_told_as_numbers(client: httpx.Client) -> None:
    told = problem(send(client, mask=BAD_MASK), 422, "mask_size_mismatch")
    assert "97" in told["detail"]
    assert told["title"] == "Image and mask differ in size"


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"dilate_pixels": "101"}, "#/dilate_pixels"),
        ({"output_format": "bmp"}, "#/output_format"),
        ({"metadata": "[1]"}, "#/metadata"),
        ({"metadata": "{"}, "#/metadata"),
        ({"metadata": json.dumps({"x": "y" * 9000})}, "#/metadata"),
        ({"custom_id": "x" * 256}, "#/custom_id"),
        ({"colour": "red"}, "#/colour"),
    ],
)
def test_a_bad_field_is_pointed_at(client: httpx.Client, fields: dict[str, str], pointer: str) -> None:
    told = problem(send(client, **fields), 422, "validation_failed")
    assert [error["pointer"] for error in told["errors"]] == [pointer]


def test_a_missing_or_surplus_file_is_pointed_at(client: httpx.Client) -> None:
    only_image = client.post("/v1/jobs", files={"image": ("a.jpg", IMAGE)})
    assert problem(only_image, 422, "validation_failed")["errors"][0]["pointer"] == "#/mask"
    files = [("image", ("a.jpg", IMAGE)), ("mask", ("m.png", MASK)), ("third", ("x", b""))]
    assert problem(client.post("/v1/jobs", files=files), 422, "validation_failed")["errors"][0]["pointer"] == "#/third"


def test_text_that_cannot_be_stored_is_refused_and_breaks_nothing(client: httpx.Client) -> None:
    problem(send(client, metadata='{"x": "\\u0000"}'), 422, "unstorable_text")
    problem(client.get("/v1/jobs", params={"custom_id": "a\0b"}), 422, "unstorable_text")
    problem(client.get("/v1/jobs/a%00b"), 422, "unstorable_text")


def test_a_body_that_is_no_form_is_refused(client: httpx.Client) -> None:
    problem(client.post("/v1/jobs", json={}), 415, "unsupported_media_type")
    headers = {"content-type": "multipart/form-data; boundary=x"}
    problem(client.post("/v1/jobs", content=b"--x\r\nhalf a part", headers=headers), 400, "malformed_body")
    problem(
        client.post("/v1/jobs", content=b"", headers={"content-type": "multipart/form-data"}), 400, "malformed_body"
    )


def test_a_webhook_url_gives_its_secret_the_first_time_it_is_named(client: httpx.Client) -> None:
    url = "https://example.com/hooks"
    first, second = (send(client, webhook_url=url).json() for _ in range(2))
    assert first["webhook_secret"].startswith("whsec_")
    assert second["webhook_secret"] is None
    with db.transaction() as tx:
        rows = [tx.get_one(Job, job["id"]) for job in (first, second)]
        assert rows[0].endpoint_id == rows[1].endpoint_id
        endpoint = tx.get_one(Endpoint, rows[0].endpoint_id)
        assert (endpoint.url, endpoint.one_off) == (url, True)
        assert open_sealed(endpoint.secret_encrypted) == first["webhook_secret"]
    assert client.get(f"/v1/jobs/{first['id']}").json()["webhook_secret"] is None


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/", "http://169.254.169.254/latest", "ftp://example.com/", "nonsense"]
)
def test_a_webhook_url_that_leads_inside_is_refused_before_anything_is_stored(
    api: Api, client: httpx.Client, url: str
) -> None:
    before = api.stored()
    response = send(client, webhook_url=url)
    assert response.status_code == 422
    assert response.json()["code"].startswith("url_")
    assert api.stored() == before


def test_no_row_is_without_its_objects(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    from cleanplate.storage import StoreFull, StoreUnavailable

    kind = type(store())
    for fault, status, code in (
        (StoreUnavailable("secret-host is down"), 503, "store_unavailable"),
        (StoreFull("quota"), 507, "store_full"),
    ):

        def fail(_self: object, key: str, _data: bytes, fault: Exception = fault, **_: str) -> None:
            if not key.endswith("image"):
                raise fault

        monkeypatch.setattr(kind, "put", fail)
        response = send(client)
        assert "secret-host" not in response.text
        problem(response, status, code)
        assert ("retry-after" in response.headers) == (status == 503)
    assert client.get("/v1/jobs").json()["data"] == []
