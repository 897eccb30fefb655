"""Pairs on their way to the API: as single jobs, and as files of a batch."""

import json
from typing import Any

import httpx

from cleanplate.resources import Accepted
from cleanplate.resources import Batch as BatchResource
from tests.pictures import IMAGE, MASK

Files = list[tuple[str, tuple[str, bytes]]]


def send(client: httpx.Client, image: bytes = IMAGE, mask: bytes = MASK, **fields: str) -> httpx.Response:
    """Ask for a single job."""
    return client.post("/v1/jobs", files={"image": ("sofa.jpg", image), "mask": ("m.png", mask)}, data=fields)


def pairs(*names: str, mask: bytes = MASK) -> Files:
    """Pairs of these names, as parts of a form."""
    return [("files", file) for name in names for file in ((f"{name}.jpg", IMAGE), (f"{name}_mask.png", mask))]


def create(client: httpx.Client, files: Files, **options: Any) -> httpx.Response:
    """Ask for a batch of these files."""
    form: list[tuple[str, tuple[str | None, bytes | str]]] = [*files]
    if options:
        form.append(("options", (None, json.dumps(options))))
    return client.post("/v1/batches", files=form)


def created(client: httpx.Client, files: Files, **options: Any) -> BatchResource:
    """Make a batch of these files."""
    response = create(client, files, **options)
    assert response.status_code == 202, response.text
    return BatchResource.model_validate_json(response.content)


def opened(client: httpx.Client, **options: Any) -> str:
    """Make a batch that waits for its items; return its id."""
    return created(client, [], seal=False, **options).id


def add(client: httpx.Client, batch_id: str, files: Files) -> Accepted:
    """Add these files to the batch."""
    response = client.post(f"/v1/batches/{batch_id}/items", files=files)
    assert response.status_code == 202, response.text
    return Accepted.model_validate_json(response.content)


def rejections(batch: BatchResource | Accepted) -> set[tuple[str, str]]:
    """What was not taken, and why."""
    return {(one.item, one.code) for one in batch.rejected}
