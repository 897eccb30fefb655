"""The API is killed while it takes things in: what was committed goes on, and the same call brings the rest, once."""

import json
import os
import signal
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import pytest
from aiohttp import web as aiohttp

from cleanplate.client import Client
from cleanplate.resources import Batch, BatchOptions
from tests import pictures, web
from tests.arriving import CutError, cut, post
from tests.bench.archive import write
from tests.journeys.harness import Stack, stack
from tests.servers import wait_until

PAIRS, ITEMS = 300, 24
SETTINGS: dict[str, Any] = {"CLEANPLATE_ALLOW_PRIVATE_NETWORKS": "127.0.0.1/32", "CLEANPLATE_BODY_TIMEOUT_SECONDS": 600}
IMAGE, MASK = pictures.encoded(pictures.scene(), "JPEG"), pictures.encoded(pictures.mask_image())
LEASES_END = "UPDATE idempotency_keys SET leased_until = now() WHERE status IS NULL RETURNING key"

Call = Callable[[Callable[[], object]], httpx.Response]
"""Sends a body, and calls what it is given when half of it has come."""


@pytest.mark.timeout(240)
def test_requests_survive_the_death_of_the_api(tmp_path: Path) -> None:
    archive, dead = tmp_path / "photos.zip", Event()
    write(archive, PAIRS)

    def until_death() -> None:
        dead.wait(120)
        cut()

    with (
        web.serving(hand_out) as site,
        stack(tmp_path / "data", slots=24, latency=0.2, fast=True, **SETTINGS) as running,
        running.client() as client,
        ThreadPoolExecutor() as others,
    ):
        calls: dict[str, Call] = {"form": partial(form, running), "json": partial(items, running, site.url)}
        into = client.create_batch(BatchOptions(seal=False, reuse=False)).id
        broken = [others.submit(call, until_death) for call in calls.values()]
        wait_until(lambda: begun(running).keys() == calls.keys())
        sending = others.submit(client.add_archive, into, archive)
        wait_until(lambda: client.batch(into).counts.total)
        os.kill(running.pid("api"), signal.SIGKILL)
        running.rows(LEASES_END)  # as they do by themselves within a minute
        dead.set()
        assert all(isinstance(one.exception(), CutError) for one in broken)
        first = begun(running)
        for batch_id, number in first.values():
            assert number < ITEMS
            erased(client, batch_id, number)
        again = {name: call(lambda: None).raise_for_status().json()["id"] for name, call in calls.items()}
        assert again == {name: batch_id for name, (batch_id, _) in first.items()}
        answer = sending.result()
        assert {one.code for one in answer.rejected} == {"duplicate_custom_id"}
        assert answer.accepted_count + len(answer.rejected) == PAIRS
        client.seal(into)
        for batch_id, number in {into: PAIRS, **dict.fromkeys(again.values(), ITEMS)}.items():
            batch = erased(client, batch_id, number)
            assert (batch.status, batch.counts.total, batch.rejected) == ("completed", number, [])
        assert running.paid() == PAIRS + 2 * ITEMS
        everything_is_there_once(running)


def erased(client: Client, batch_id: str, number: int) -> Batch:
    """Return the batch when so many of its jobs have succeeded."""
    wait_until(lambda: client.batch(batch_id).counts.succeeded >= number, 120)
    return client.batch(batch_id)


def form(running: Stack, half_way: Callable[[], object]) -> httpx.Response:
    """Send pairs as a form whose options come first."""
    files = [
        ("files", part) for number in range(ITEMS) for part in ((f"{number}.jpg", IMAGE), (f"{number}_mask.png", MASK))
    ]
    options = ("options", (None, '{"name": "form", "reuse": false}'))
    made = httpx.Request("POST", "http://api", files=[options, *files])
    return send(running, made.read(), made.headers["content-type"], half_way)


def items(running: Stack, site: str, half_way: Callable[[], object]) -> httpx.Response:
    """Send items without names as JSON whose options come first."""
    signature = "0123456789abcdef" * 50
    given = [
        {"image": {"url": f"{site}/{number}.jpg?{signature}"}, "mask": {"url": f"{site}/mask.png?{signature}"}}
        for number in range(ITEMS)
    ]
    body = json.dumps({"options": {"name": "json", "reuse": False}, "items": given})
    return send(running, body.encode(), "application/json", half_way)


def send(running: Stack, body: bytes, content_type: str, half_way: Callable[[], object]) -> httpx.Response:
    half, key = len(body) // 2, {"Idempotency-Key": content_type.partition(";")[0]}
    headers = {"Authorization": f"Bearer {running.running.api_key}"}
    with httpx.Client(base_url=running.running.url, headers=headers, timeout=120) as client:
        return post(client, "/v1/batches", [body[:half], body[half:]], half_way, content_type, **key)


def begun(running: Stack) -> dict[str, tuple[str, int]]:
    """Return the ids of the batches that still arrive, and how many jobs are in each, by their names."""
    rows = running.rows(
        "SELECT name, id, total FROM batches WHERE name IS NOT NULL AND sealed_at IS NULL AND total > 0"
    )
    return {name: (batch_id, number) for name, batch_id, number in rows}


async def hand_out(request: aiohttp.Request) -> aiohttp.StreamResponse:
    return aiohttp.Response(body=MASK if request.path.endswith(".png") else IMAGE)


def everything_is_there_once(running: Stack) -> None:
    rows = running.rows("SELECT position, custom_id, image_key, mask_key FROM jobs")
    assert Counter(position for position, *_ in rows) == Counter([*range(PAIRS), *range(ITEMS), *range(ITEMS)])
    assert Counter(custom_id for _, custom_id, *_ in rows)[None] == ITEMS
    objects = Path(running.running.environment["STORAGE_URL"].removeprefix("file://"))
    assert all((objects / key).is_file() for *_, image, mask in rows for key in (image, mask))
