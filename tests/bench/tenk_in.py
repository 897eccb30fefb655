"""Ten thousand items by every way in: how fast, how soon the first is submitted, and at what memory of the API."""

import csv
import io
import json
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest import mock

import boto3
import httpx
import psycopg
from aiohttp import web as aiohttp

from cleanplate.states import InFlight
from cleanplate.storage import open_store
from tests import pictures, web
from tests.bench import peaks, tenk_rows
from tests.journeys.harness import Stack, stack
from tests.s3 import make_bucket, s3_environment, s3_server
from tests.servers import wait_until

ITEMS, PAGE = 10_000, 100
SIZE, BOX = (16, 16), (4, 4, 12, 12)
FIRST_SECONDS = 120.0
SUBMITTED = """
    SELECT extract(epoch FROM min(sent_at))::float8 FROM attempts JOIN jobs ON jobs.id = job_id WHERE batch_id = %s
"""


@dataclass(frozen=True)
class Intake:
    """A stack and what is sent to it: ``items`` pairs, no two of which have the same picture."""

    running: Stack
    http: httpx.Client
    site: str
    items: int

    @cached_property
    def images(self) -> list[bytes]:
        return [pictures.encoded(pictures.scene(*SIZE, seed=number), "JPEG") for number in range(self.items)]

    @cached_property
    def mask(self) -> bytes:
        return pictures.encoded(pictures.mask_image(SIZE, BOX))

    def post(self, path: str = "", **given: Any) -> str:
        """Return the id of the batch that the answer tells of."""
        told = self.http.post(f"/v1/batches{path}", **given).raise_for_status().json()
        return str(told.get("batch", told)["id"])

    def files(self, numbers: range) -> list[Any]:
        return [
            ("files", part)
            for number in numbers
            for part in ((f"{number}.jpg", self.images[number]), (f"{number}_mask.png", self.mask))
        ]

    def json(self, source: Callable[[int, str], dict[str, str]]) -> bytes:
        """Return a body of items each of whose two sources ``source`` tells."""
        items = [
            {"custom_id": f"photo {number}", "image": source(number, "jpg"), "mask": source(number, "png")}
            for number in range(self.items)
        ]
        return json.dumps({"items": items}).encode()


Call = Callable[[], str]
AS_JSON = {"Content-Type": "application/json"}


def files_at_once(to: Intake) -> Call:
    parts = [("options", (None, "{}")), *to.files(range(to.items))]
    return lambda: to.post(files=parts)


def files_in_pages(to: Intake) -> Call:
    pages = [to.files(range(start, start + PAGE)) for start in range(0, to.items, PAGE)]

    def call() -> str:
        batch_id = to.post(files={"options": (None, '{"seal": false}')})
        for page in pages:
            to.post(f"/{batch_id}/items", files=page)
        return to.post(f"/{batch_id}/seal")

    return call


def archive(to: Intake, options: str = "{}") -> Call:
    """Of a manifest and the pictures."""
    spool, rows = io.BytesIO(), io.StringIO()
    writer = csv.writer(rows)
    writer.writerow(("image", "mask", "custom_id", "dilate_pixels", "metadata.shelf"))
    for number in range(to.items):
        writer.writerow((f"{number:05}.jpg", f"{number:05}_mask.png", f"photo {number}", 12, number // 100))
    with zipfile.ZipFile(spool, "w") as file:
        file.writestr("manifest.csv", rows.getvalue())
        for number, image in enumerate(to.images):
            file.writestr(f"{number:05}.jpg", image)
            file.writestr(f"{number:05}_mask.png", to.mask)
    parts = {"options": (None, options), "archive": ("photos.zip", spool.getvalue())}
    return lambda: to.post(files=parts)


def atomic_archive(to: Intake) -> Call:
    return archive(to, '{"atomic": true}')


def urls(to: Intake) -> Call:
    """With signatures as long as a body of the largest size may have them."""
    signature = "0123456789abcdef" * 46
    body = to.json(lambda number, kind: {"url": f"{to.site}/{number}.{kind}?X-Amz-Signature={signature}"})
    return lambda: to.post(content=body, headers=AS_JSON)


def uploads(to: Intake) -> Call:
    put = {kind: tenk_rows.uploads(to.running, to.items) for kind in ("jpg", "png")}
    store = open_store(to.running.running.environment["STORAGE_URL"])
    for number in range(PAGE):  # of the others the ids are all that is read before the batch is cancelled
        store.put(f"uploads/{put['jpg'][number]}", to.images[number], media_type="image/jpeg")
        store.put(f"uploads/{put['png'][number]}", to.mask, media_type="image/png")
    body = to.json(lambda number, kind: {"upload_id": put[kind][number]})
    return lambda: to.post(content=body, headers=AS_JSON)


def buckets(to: Intake) -> Call:
    client = boto3.client("s3")
    client.put_object(Bucket="photos", Key="autumn/mask.png", Body=to.mask)
    for number in range(PAGE):  # as above
        client.put_object(Bucket="photos", Key=f"autumn/{number}.jpg", Body=to.images[number])
    keys = {"jpg": "s3://photos/autumn/{}.jpg", "png": "s3://photos/autumn/mask.png"}
    body = to.json(lambda number, kind: {"s3": keys[kind].format(number)})
    return lambda: to.post(content=body, headers=AS_JSON)


def retry(to: Intake) -> Call:
    failed = tenk_rows.failed(to.running, to.items, to.images[0], to.mask)
    return lambda: to.post(f"/{failed}/retry", json={"params": {"dilate_pixels": 20}})


WAYS = {
    "multipart, one request": files_at_once,
    f"multipart, {PAGE} pairs a request": files_in_pages,
    "ZIP with manifest": archive,
    "ZIP with manifest, atomic": atomic_archive,
    "JSON of URLs": urls,
    "JSON of upload ids": uploads,
    "JSON of S3 keys": buckets,
    "retry of a batch that failed": retry,
}


def run(folder: Path, items: int = ITEMS) -> list[dict[str, Any]]:
    """Send tiny pictures to a stack whose upstream takes one a second, and return a row of figures for each way."""
    with _intake(folder, items) as to:
        return [{"way": name, **_measured(to, way(to))} for name, way in WAYS.items()]


def _measured(to: Intake, call: Call) -> dict[str, Any]:
    url = to.running.running.environment["DATABASE_URL"]
    with peaks.of(to.running) as peak, psycopg.connect(url, autocommit=True) as database:
        began = time.time()
        batch_id = call()
        seconds = time.time() - began

        def first() -> float | None:
            return (database.execute(SUBMITTED, (batch_id,)).fetchone() or (None,))[0]

        wait_until(first, FIRST_SECONDS)
        submitted = first()
    with to.running.client() as client:
        counts = client.batch(batch_id).counts
        client.cancel_batch(batch_id, InFlight.ABANDON)
        wait_until(lambda: client.batch(batch_id).finished_at, FIRST_SECONDS)
    assert submitted is not None
    return {
        "items accepted": counts.total,
        "accepted after, s": seconds,
        "items a second": counts.total / seconds,
        "first submit after, s": submitted - began,
        **peak,
    }


@contextmanager
def _intake(folder: Path, items: int) -> Iterator[Intake]:
    mask = pictures.encoded(pictures.mask_image(SIZE, BOX))

    async def answer(request: aiohttp.Request) -> aiohttp.StreamResponse:
        number, _, kind = request.path[1:].partition(".")
        image = pictures.scene(*SIZE, seed=int(number))
        return aiohttp.Response(body=mask if kind == "png" else pictures.encoded(image, "JPEG"))

    settings = {"CLEANPLATE_ALLOW_PRIVATE_NETWORKS": "127.0.0.1/32", "CLEANPLATE_IMPORT_BUCKETS": "photos/autumn"}
    with (
        s3_server() as endpoint,
        mock.patch.dict("os.environ", s3_environment(endpoint)),
        web.serving(answer) as site,
        stack(folder / "data", slots=1, latency=1.0, fast=True, **settings) as running,
    ):
        make_bucket(endpoint, "photos")
        headers = {"Authorization": f"Bearer {running.running.api_key}"}
        with httpx.Client(base_url=running.running.url, headers=headers, timeout=600) as http:
            yield Intake(running, http, site.url, items)
