from pathlib import Path

import httpx
import pytest

from cleanplate.client import Client
from cleanplate.client_errors import ApiError, AuthError, NotFoundError
from cleanplate.ids import Kind, new
from cleanplate.resources import BatchOptions
from tests.api import Api
from tests.pictures import IMAGE, MASK
from tests.zips import zipped


@pytest.fixture
def ours(api: Api, client: httpx.Client) -> Client:
    """Our own client, with the key of ``client``."""
    return Client(api.url, client.headers["authorization"].removeprefix("Bearer "), patience_seconds=100)


def test_our_client_sends_a_batch_in_parts_and_understands_every_answer(ours: Client, tmp_path: Path) -> None:
    image = tmp_path / "red \u201cshoe\u201d.jpg"
    image.write_bytes(IMAGE)
    with ours:
        assert ours.checks() == {"database": "ok", "store": "ok", "broker": "away"}
        batch = ours.create_batch(BatchOptions(name="parts", seal=False))
        for _ in range(2):
            answer = ours.add_items(batch.id, [(image.name, image), (f"{image.stem}_mask.png", MASK)])
        assert [one.code for one in answer.rejected] == ["duplicate_custom_id"]
        assert ours.seal(batch.id).counts.total == 1
        (job,) = ours.batch_jobs(batch.id).data
        assert job.custom_id == image.stem
        assert ours.job(job.id) == job
        assert ours.batch(batch.id).status == "processing"
        assert ours.upstream().slots == 24


def test_our_client_sends_an_archive_as_often_as_it_likes(ours: Client, tmp_path: Path) -> None:
    path = tmp_path / "photos.zip"
    path.write_bytes(zipped({"a.jpg": IMAGE, "a_mask.png": MASK, "manifest.csv": b"image,dilate_pixels\na.jpg,3\n"}))
    with ours:
        batch = ours.create_batch(BatchOptions(seal=False))
        first, again = ours.add_archive(batch.id, path), ours.add_archive(batch.id, path.read_bytes())
        assert ([job.params.dilate_pixels for job in first.accepted], first.accepted_count) == ([3], 1)
        assert ([one.code for one in again.rejected], again.accepted_count) == (["duplicate_custom_id"], 0)


def test_our_client_sends_one_pair(ours: Client) -> None:
    with ours:
        job = ours.create_job(("a.jpg", IMAGE), ("m.png", MASK), dilate_pixels=3, custom_id="a")
        assert (job.params.dilate_pixels, job.custom_id) == (3, "a")
        assert ours.create_endpoint("https://example.com/hooks", ["job.failed"]).secret


def test_our_client_knows_our_refusals(api: Api, ours: Client) -> None:
    with ours:
        with pytest.raises(NotFoundError):
            ours.batch(new(Kind.BATCH))
        with pytest.raises(ApiError, match="mask_corrupt"):
            ours.create_job(("a.jpg", IMAGE), ("m.png", MASK[:60]))
    with Client(api.url, "cp_wrong") as stranger, pytest.raises(AuthError, match="invalid_key"):
        stranger.batch(new(Kind.BATCH))
