"""What the typed client sends, and what it makes of the answers."""

import hashlib
from pathlib import Path

import httpx
import pytest

from cleanplate.client import Client
from cleanplate.client_errors import ApiError, AuthError, CreditsError, NotFoundError, UnusableAnswerError
from cleanplate.resources import BatchOptions, Job
from cleanplate.states import InFlight
from tests.fake_api import FakeApi, answering, problem

OPEN = BatchOptions(seal=False)


def finished_job(client: Client) -> Job:
    batch = client.create_batch(OPEN)
    client.add_items(batch.id, [("a.jpg", b"image"), ("a_mask.png", b"mask")])
    client.seal(batch.id)
    assert client.batch(batch.id).finished_at is not None
    (job,) = client.batch_jobs(batch.id).data
    return job


def test_a_batch_goes_in_and_comes_out_as_the_contracts_objects(api: FakeApi, tmp_path: Path) -> None:
    with api.client() as client:
        job = finished_job(client)
        client.download(job, tmp_path / "deep" / "a.png")
    assert (job.custom_id, job.image.sha256) == ("a", hashlib.sha256(b"image").hexdigest())
    assert (tmp_path / "deep" / "a.png").read_bytes() == f"the result of {job.id}".encode()
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.png"]
    assert {request.headers["authorization"] for request in api.requests} == {"Bearer cp_secret"}


def test_a_cancellation_says_what_it_saved_and_may_be_repeated(api: FakeApi) -> None:
    with api.client() as client:
        batch = client.create_batch(OPEN)
        files = [(f"{name}{end}", b"x") for name in "abc" for end in (".jpg", "_mask.png")]
        first, *_ = client.add_items(batch.id, files).accepted
        assert client.cancel_job(first.id, InFlight.ABANDON).status == "cancelled"
        api.before = answering(problem(503, "away"))
        saved = client.cancel_batch(batch.id).saved
    assert (saved.stopped, saved.credits, saved.in_flight, saved.in_flight_policy) == (2, 10.0, 0, "finish")
    assert api.requests[-1].url.params["in_flight"] == "finish"
    assert api.count("POST", f"/v1/batches/{batch.id}/cancel") == 2


@pytest.mark.parametrize(
    ("status", "kind"), [(401, AuthError), (403, AuthError), (402, CreditsError), (404, NotFoundError), (422, ApiError)]
)
def test_a_refusal_is_told_by_its_kind_and_not_repeated(api: FakeApi, status: int, kind: type[ApiError]) -> None:
    api.before = lambda _: problem(status, "some_code")
    with api.client() as client, pytest.raises(kind) as caught:
        client.upstream()
    error = caught.value
    assert (error.status, error.code, error.detail) == (status, "some_code", "because of some_code")
    assert error.request_id == "req_1"
    assert len(api.requests) == 1


def test_a_refusal_that_is_no_problem_document_is_told_too(api: FakeApi) -> None:
    api.before = lambda _: httpx.Response(400, text="<h1>no</h1>", headers={"x-request-id": "req_2"})
    with api.client() as client, pytest.raises(ApiError) as caught:
        client.upstream()
    assert (caught.value.code, caught.value.detail, caught.value.request_id) == ("http_400", "Bad Request", "req_2")


def test_another_server_is_not_taken_for_the_api(api: FakeApi) -> None:
    api.before = lambda _: httpx.Response(200, text="<h1>It works!</h1>")
    with api.client() as client, pytest.raises(UnusableAnswerError, match="as a cleanplate API does"):
        client.upstream()


def test_the_key_stays_behind_when_a_result_is_on_another_host(api: FakeApi, tmp_path: Path) -> None:
    with api.client() as client:
        job = finished_job(client)
        content = f"the result of {job.id}".encode()
        api.before = answering(
            httpx.Response(302, headers={"location": "https://store.test/signed?x=1"}),
            httpx.Response(200, content=content),
        )
        client.download(job, tmp_path / "a.png")
    ours, theirs = api.requests[-2:]
    assert (ours.url.host, theirs.url.host) == ("api.test", "store.test")
    assert "authorization" in ours.headers
    assert "authorization" not in theirs.headers


def test_a_stores_refusal_gets_a_fresh_url_and_is_not_taken_for_the_apis(api: FakeApi, tmp_path: Path) -> None:
    with api.client() as client:
        job = finished_job(client)
        api.before = answering(
            httpx.Response(302, headers={"location": "https://store.test/expired"}), httpx.Response(403)
        )
        client.download(job, tmp_path / "a.png")
    assert (tmp_path / "a.png").exists()


def test_a_result_that_comes_damaged_is_fetched_again_and_never_put_in_place(api: FakeApi, tmp_path: Path) -> None:
    with api.client() as client:
        job = finished_job(client)
        api.before = answering(*[httpx.Response(200, content=b"damaged")] * 3)
        with pytest.raises(UnusableAnswerError, match="damaged"):
            client.download(job, tmp_path / "a.png")
        assert list(tmp_path.iterdir()) == []
        client.download(job, tmp_path / "a.png")
    assert (tmp_path / "a.png").exists()


def test_how_things_stand_is_told_at_once_and_never_raises(api: FakeApi) -> None:
    for answer in (httpx.ConnectError("refused"), httpx.Response(503), httpx.Response(200, json=[])):
        api.before = answering(answer)
        assert api.client().checks() == {}
    api.before = lambda _: httpx.Response(503, json={"checks": {"database": "away"}})
    assert api.client().checks() == {"database": "away"}


@pytest.mark.parametrize("url", ["", "ftp://host", "host:8000", "http://", "http://x:port", "http://me:hunter2@host"])
def test_an_address_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="no http") as caught:
        Client(url, None)
    assert "hunter2" not in str(caught.value)
