"""A client that openapi-python-client makes of the published document, as the guide says, and nothing of ours."""

import importlib
import io
import os
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import guide, pictures
from tests.journeys.harness import Stack, stack, wait_until
from tests.pictures import IMAGE, MASK

PACKAGE = "generated"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stack(tmp_path_factory.mktemp("stack") / "data", latency=0.3, fast=True) as started:
        yield started


@pytest.fixture(scope="module")
def generated(running: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The generated package, importable."""
    folder = tmp_path_factory.mktemp("client")
    (folder / "client.yaml").write_text(guide.block("A client in your language", "yaml"))
    made = subprocess.run(
        [
            *(sys.executable, "-m", "openapi_python_client", "generate", "--fail-on-warning"),
            *("--url", f"{running.running.url}/openapi.json", "--config", "client.yaml"),
            *("--meta", "none", "--output-path", PACKAGE),
        ],
        cwd=folder,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},  # ruff is there
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield folder / PACKAGE
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]


def module(name: str) -> types.ModuleType:
    return importlib.import_module(f"{PACKAGE}.{name}")


@pytest.fixture
def client(running: Stack, generated: Path) -> Iterator[Any]:  # noqa: ARG001 -- has to be there
    known = module("client").AuthenticatedClient
    with known(running.running.url, running.running.api_key, follow_redirects=True, timeout=300) as client:
        yield client


def file(content: bytes, name: str) -> Any:
    return module("types").File(io.BytesIO(content), name)


def test_no_model_is_called_after_its_place_in_a_schema(generated: Path) -> None:
    models = {path.stem for path in (generated / "models").glob("*.py")}
    assert {
        "batch_status",
        "event_type",
        "fidelity",
        "held",
        "new_batch_files",
        "new_job",
        "output_format",
        "problem",
    } <= models
    assert [name for name in sorted(models) if "_type_" in name or name.endswith(("_files_body", "_json_body"))] == []


def test_a_pair_is_uploaded_waited_for_and_fetched(client: Any) -> None:
    models, jobs = module("models"), module("api.jobs")
    pair = models.NewJob(file(IMAGE, "a.jpg"), file(MASK, "m.png"), custom_id="one", metadata='{"sku": "M-1"}')
    job = _call(jobs, "create_job", client, body=pair, wait=60, idempotency_key="one")
    assert type(job) is models.Job
    assert (job.status, job.custom_id, job.metadata["sku"]) == (models.Status.SUCCEEDED, "one", "M-1")
    picture = _call(jobs, "get_job_result", client, job.id)
    assert pictures.decoded(picture.payload.read()).size == (96, 64)
    assert _call(jobs, "create_job", client, body=pair, idempotency_key="two").status is models.Status.QUEUED


def test_a_batch_goes_its_way_and_is_listed_by_what_became_of_it(client: Any) -> None:
    models, batches = module("models"), module("api.batches")
    files = [
        file(content, name) for one in "abc" for content, name in ((IMAGE, f"{one}.jpg"), (MASK, f"{one}_mask.png"))
    ]
    options = models.BatchOptions(name="generated", params=models.Params(output_format=models.OutputFormat.WEBP))
    body = models.NewBatchFiles(files=[*files, file(IMAGE, "alone.jpg")], options=options)
    quote = _call(batches, "create_batch", client, body=body, dry_run=True)
    assert type(quote) is models.Quote
    assert [one.custom_id for one in quote.items] == ["a", "b", "c"]

    for one in files:
        one.payload.seek(0)
    batch = _call(batches, "create_batch", client, body=models.NewBatchFiles(files=files, options=options))
    assert type(batch) is models.Batch

    def now() -> Any:
        return _call(batches, "get_batch", client, batch.id)

    wait_until(lambda: now().status is models.BatchStatus.COMPLETED)
    assert now().counts.succeeded == 3
    page = _call(batches, "list_batch_jobs", client, batch.id, status=models.Status.SUCCEEDED, limit=2)
    assert [job.custom_id for job in page.data] == ["a", "b"]
    rest = _call(batches, "list_batch_jobs", client, batch.id, limit=2, cursor=page.next_cursor)
    assert [job.custom_id for job in rest.data] == ["c"]
    assert _call(batches, "list_batch_jobs", client, batch.id, custom_id="b").data[0].params.output_format == "webp"
    assert _call(batches, "download_batch_results", client, batch.id).payload.read(2) == b"PK"
    assert _call(batches, "get_batch_receipt_csv", client, batch.id).count("succeeded") == 3


def test_items_that_lie_elsewhere_and_receivers_are_named_in_json(client: Any) -> None:
    models, webhooks = module("models"), module("api.webhooks")
    room = _call(module("api.uploads"), "create_upload", client, body=models.NewUpload())
    assert type(room) is models.Upload
    httpx.put(room.url, content=MASK, headers=room.headers.to_dict()).raise_for_status()
    mask = models.Source(upload_id=room.upload_id)
    items = [models.Item(image=mask, mask=mask, custom_id="x", params=models.ItemParams(seed=7))]
    options = models.BatchOptions(params=models.Params(dilate_pixels=33))
    batch = _call(module("api.batches"), "create_batch", client, body=models.NewBatch(items, options))
    (job,) = _call(module("api.batches"), "list_batch_jobs", client, batch.id).data
    assert (job.params.dilate_pixels, job.params.seed) == (33, 7), "what an item does not name is the batch's"

    wanted = models.NewEndpoint("https://example.com/hooks", events=[models.EventType.BATCH_COMPLETED])
    endpoint = _call(webhooks, "create_webhook_endpoint", client, body=wanted)
    assert endpoint.secret.startswith("whsec_")
    assert [one.id for one in _call(webhooks, "list_webhook_endpoints", client).data] == [endpoint.id]


def test_what_is_refused_is_a_problem_with_a_code(client: Any) -> None:
    models, jobs = module("models"), module("api.jobs")
    other = pictures.encoded(pictures.mask_image((10, 10), (2, 2, 5, 5)))
    problem = _call(jobs, "create_job", client, body=models.NewJob(file(IMAGE, "a.jpg"), file(other, "m.png")))
    assert type(problem) is models.Problem
    assert (problem.status, problem.code) == (422, "mask_size_mismatch")
    assert "10 x 10" in problem.detail
    assert _call(jobs, "get_job", client, "job_" + "0" * 32).code == "not_found"


def _call(where: types.ModuleType, operation: str, client: Any, *given: Any, **named: Any) -> Any:
    return importlib.import_module(f"{where.__name__}.{operation}").sync(*given, client=client, **named)
