"""URLs, uploads and objects on S3 are fetched by importers and come back erased; a private address is not asked."""

import socket
from pathlib import Path
from urllib.parse import unquote, urlsplit

import boto3
import pytest
from aiohttp import web as aiohttp

from cleanplate.client import Client
from cleanplate.items import Item, Source
from cleanplate.outcomes import ErrorCode
from cleanplate.resources import BatchOptions
from cleanplate.states import Status
from tests import web
from tests.journeys.harness import all_jobs, pairs, stack, wait_until
from tests.s3 import make_bucket, s3_environment, s3_server

EACH = 3


def mask_of(photo: Path) -> Path:
    return photo.with_name(f"{photo.stem}_mask.png")


def uploaded(client: Client, path: Path) -> Source:
    upload = client.create_upload(path.stat().st_size)
    client.put_upload(upload, path)
    return Source(upload_id=upload.upload_id)


def test_every_way_in_leads_to_a_result_and_a_redirect_inside_to_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = pairs(tmp_path / "photos", 3 * EACH)
    photos = sorted(path for path in folder.iterdir() if not path.stem.endswith("_mask"))
    by_url, by_upload, by_s3 = photos[:EACH], photos[EACH : 2 * EACH], photos[2 * EACH :]

    async def answer(request: aiohttp.Request) -> aiohttp.StreamResponse:
        if request.path == "/inside":
            return aiohttp.Response(status=302, headers={"Location": inside})
        return aiohttp.FileResponse(folder / unquote(request.path[1:]))

    with s3_server() as endpoint, web.serving(answer) as site, socket.create_server(("127.0.0.7", 0)) as private:
        inside = f"http://127.0.0.7:{private.getsockname()[1]}/secret.jpg"
        private.setblocking(False)
        for name, value in s3_environment(endpoint).items():
            monkeypatch.setenv(name, value)
        make_bucket(endpoint, "photos")
        for photo in by_s3:
            for path in (photo, mask_of(photo)):
                boto3.client("s3").upload_file(str(path), "photos", f"autumn/{path.name}")

        def at(path: Path) -> Source:
            return Source(url=f"{site.url}/{path.name}?signature=secret")

        settings = {"CLEANPLATE_ALLOW_PRIVATE_NETWORKS": "127.0.0.1/32", "CLEANPLATE_IMPORT_BUCKETS": "photos/autumn"}
        with stack(tmp_path / "data", latency=0.5, **settings) as running, running.client() as client:
            items = [Item(custom_id=photo.stem, image=at(photo), mask=at(mask_of(photo))) for photo in by_url]
            for photo in by_upload:
                image, mask = uploaded(client, photo), uploaded(client, mask_of(photo))
                items.append(Item(custom_id=photo.stem, image=image, mask=mask))
            for photo in by_s3:
                image, mask = (Source(s3=f"s3://photos/autumn/{path.name}") for path in (photo, mask_of(photo)))
                items.append(Item(custom_id=photo.stem, image=image, mask=mask))
            hidden = Source(url=f"{site.url}/inside")
            items.append(Item(custom_id="hidden", image=hidden, mask=at(mask_of(photos[0]))))
            items.append(Item(custom_id="refused", image=Source(url=inside), mask=hidden))
            batch = client.create_batch_of(items, BatchOptions(name="elsewhere"))
            assert [(one.item, one.code) for one in batch.rejected] == [("refused", "url_not_public")]
            wait_until(lambda: client.batch(batch.id).finished_at is not None)
            jobs = {job.custom_id: job for job in all_jobs(client, batch.id)}
            hidden_job = jobs.pop("hidden")
            assert hidden_job.status is Status.FAILED
            assert hidden_job.error is not None
            assert hidden_job.error.code is ErrorCode.INPUT_FORBIDDEN
            assert {job.status for job in jobs.values()} == {Status.SUCCEEDED}, [job.error for job in jobs.values()]
            assert set(jobs) == {photo.stem for photo in photos}
            for photo in photos:
                client.download(jobs[photo.stem], tmp_path / "out" / f"{photo.stem}.png")
                assert jobs[photo.stem].image.bytes == photo.stat().st_size  # type: ignore[union-attr]  # it is there
            assert running.paid() == len(photos)
            logs = "".join(path.read_text(errors="replace") for path in (tmp_path / "data" / "logs").iterdir())
        with pytest.raises(BlockingIOError):
            private.accept()
    assert "signature=secret" not in logs
    assert urlsplit(inside).path not in logs
