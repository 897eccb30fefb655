"""Archives of pairs, and sending them: what the tests of batches that come as a ZIP have in common."""

import json
from collections.abc import Mapping
from typing import Any

import httpx

from cleanplate.resources import Accepted
from cleanplate.resources import Batch as BatchResource
from tests.pictures import IMAGE, MASK
from tests.zips import Entry


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
