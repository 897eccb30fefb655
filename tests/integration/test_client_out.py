"""Our client's ways out, against the real API."""

import threading
import zipfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import httpx
import pytest

from api import results
from api.store import store as api_store
from cleanplate import db, jobs
from cleanplate.client import Client
from cleanplate.client_errors import ApiError, NotFoundError, UnusableAnswerError
from cleanplate.jobs import Change
from cleanplate.resources import Batch, Job
from cleanplate.states import State
from tests import rows
from tests.api import Api
from tests.pictures import IMAGE, MASK

INFLIGHT, READY = frozenset({State.INFLIGHT}), frozenset({State.READY})


@pytest.fixture
def ours(api: Api, client: httpx.Client) -> Iterator[Client]:
    with Client(api.url, client.headers["authorization"].removeprefix("Bearer "), patience_seconds=100) as made:
        yield made


@pytest.fixture
def ready(tenant_id: str) -> Callable[[int], tuple[str, list[str]]]:
    """Makes a batch of so many jobs whose results are stored in a moment."""

    def make(number: int) -> tuple[str, list[str]]:
        with db.transaction() as tx:
            batch_id = rows.batch(tx, number, tenant_id=tenant_id)
            its = {"tenant_id": tenant_id, "batch_id": batch_id}
            return batch_id, [rows.job(tx, State.READY, **its, custom_id=f"p{place}") for place in range(number)]

    return make


def store(job_id: str) -> None:
    key = f"results/{job_id}.png"
    api_store().put(key, bytes(100), media_type="image/png")
    values = {"result_key": key, "result": rows.RESULT}
    with db.transaction() as tx:
        assert jobs.apply(tx, [Change(job_id, READY, State.SUCCEEDED, "stored", values=values)])


def test_a_batch_is_heard_to_its_end_though_every_line_breaks(
    api: Api, client: httpx.Client, ready: Callable[[int], tuple[str, list[str]]]
) -> None:
    batch_id, job_ids = ready(5)
    calls = count()

    class Breaking(httpx.HTTPTransport):
        """Breaks each line after some chunks."""

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            response = super().handle_request(request)
            assert isinstance(response.stream, httpx.SyncByteStream)
            return httpx.Response(response.status_code, headers=response.headers, stream=Cut(response.stream))

    class Cut(httpx.SyncByteStream):
        def __init__(self, whole: httpx.SyncByteStream) -> None:
            self.whole = whole

        def __iter__(self) -> Iterator[bytes]:
            left = 3 + next(calls)
            for chunk in self.whole:
                if left == 0:
                    raise httpx.ReadError("cut")
                left -= 1
                yield chunk

        def close(self) -> None:
            self.whole.close()

    ends = threading.Thread(target=lambda: [store(job_id) for job_id in job_ids])
    with Client(
        api.url, client.headers["authorization"].removeprefix("Bearer "), transport=Breaking(), patience_seconds=100
    ) as ours:
        told = ours.events(batch_id)
        ends.start()
        heard = list(told)
    ends.join()
    assert [one.id for one in heard if isinstance(one, Job)] == job_ids
    assert isinstance(heard[-1], Batch)
    assert heard[-1].status == "completed"


def test_results_receipt_history_and_usage_are_understood_and_then_forgotten(
    ours: Client, ready: Callable[[int], tuple[str, list[str]]], tmp_path: Path
) -> None:
    batch_id, (first, second) = ready(2)
    store(first)
    target = tmp_path / "results.zip"
    assert ours.download_results(batch_id, target) == "processing"
    store(second)
    assert ours.download_results(batch_id, target) == "completed"
    with zipfile.ZipFile(target) as archive:
        assert archive.namelist() == ["p0.png", "p1.png", "results.csv"]
    assert [path.name for path in tmp_path.iterdir()] == ["results.zip"]
    assert [(line.custom_id, line.result_bytes) for line in ours.receipt(batch_id)] == [("p0", 100), ("p1", 100)]
    assert [event.stage for event in ours.history(first).events] == [State.SUCCEEDED]
    assert ours.usage(by="batch").data[0].images == 2
    ours.delete_job(first)
    ours.delete_batch(batch_id)
    with pytest.raises(NotFoundError):
        ours.job(second)
    assert [line.images for line in ours.usage().data] == [2]


def test_a_zip_file_that_breaks_off_leaves_no_file(
    ours: Client, ready: Callable[[int], tuple[str, list[str]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch_id, (first, _) = ready(2)
    with pytest.raises(ApiError, match="not_finished"):
        ours.download_results(batch_id, tmp_path / "results.zip")
    store(first)

    def broken(_: object) -> Iterator[bytes]:
        yield bytes(10)
        raise RuntimeError("test")

    monkeypatch.setattr(results, "_open", broken)
    with pytest.raises(UnusableAnswerError):
        ours.download_results(batch_id, tmp_path / "results.zip")
    assert list(tmp_path.iterdir()) == []


def test_a_call_waits_for_its_job_and_no_longer(ours: Client) -> None:
    pair = ("a.jpg", IMAGE), ("m.png", MASK)
    assert ours.create_job(*pair, wait=0.05).status == "queued"
