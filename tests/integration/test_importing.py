"""Inputs that lie elsewhere are fetched, checked and stored, and get their turn, whatever stands in the way."""

from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from aiohttp import web as aiohttp
from sqlalchemy import func

from cleanplate import cancel, db, holding, jobs
from cleanplate.models import Job
from cleanplate.states import Hold, InFlight, State
from cleanplate.storage import Store, StoreUnavailable, foreign
from tests import pictures, rows, web
from tests.pictures import IMAGE, MASK
from tests.s3 import make_bucket, s3_environment, s3_server
from tests.seen import due_in, row
from tests.threads import at_once
from worker import importing, sources
from worker.alone import alone

SIGNED = "?X-Amz-Signature=secret"

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def site() -> Iterator[web.Site]:
    """A server of pictures on this machine."""

    async def answer(request: Any) -> Any:
        return await web.says(200, MASK if request.path.startswith("/mask") else IMAGE)(request)

    with web.serving(answer) as serving:
        yield serving


@pytest.fixture(autouse=True)
def at(worker_store: Store, configure: Callable[..., None]) -> Store:
    """The store, with an upload of the mask in it."""
    configure(CLEANPLATE_ALLOW_PRIVATE_NETWORKS="127.0.0.1/32", CLEANPLATE_MAX_FILE_BYTES="100000")
    worker_store.put("uploads/upl_1", MASK, media_type="image/png")
    return worker_store


def made(image: dict[str, str], mask: dict[str, str] | None = None, **columns: Any) -> str:
    with db.transaction() as tx:
        given = {"image": image, "mask": mask or {"upload_id": "upl_1"}}
        return rows.job(tx, State.IMPORTING, sources=given, due_at=func.now(), **columns)


def imported(image: dict[str, str], mask: dict[str, str] | None = None, **columns: Any) -> Job:
    job_id = made(image, mask, **columns)
    importing.import_pair(job_id)
    return row(job_id)


def events(job_id: str) -> list[str]:
    with db.transaction() as tx:
        return [state for state, _, _ in rows.events(tx, job_id)]


def refused(job: Job, code: str, detail: str) -> None:
    assert (job.state, job.error_code) == ("failed", code), job.error_detail
    assert detail in (job.error_detail or "")
    assert "secret" not in (job.error_detail or "")
    assert job.sources is None


def test_a_pair_is_queued_as_if_it_had_been_uploaded(site: web.Site, at: Store) -> None:
    job = imported({"url": f"{site.url}/image.jpg{SIGNED}"}, {"url": f"{site.url}/mask.png"})
    assert (job.state, job.sources, job.due_at) == ("queued", None, None)
    assert job.image is not None
    assert job.mask is not None
    assert (job.image["width"], job.image["format"], job.mask["format"]) == (96, "jpeg", "png")
    assert (at.get(job.image_key), at.get(job.mask_key)) == (IMAGE, MASK)
    assert at.stat(job.send_mask_key)
    assert events(job.id) == ["queued"]


def test_its_turn_is_behind_what_waits_already(site: web.Site) -> None:
    with db.transaction() as tx:
        rows.job(tx, tag=7 << 20)
    batch = _batch(2)
    first = imported({"url": f"{site.url}/1"}, batch_id=batch, reuse=False)
    second = imported({"url": f"{site.url}/2"}, batch_id=batch, reuse=False)
    with db.transaction() as tx:
        rows.worker(tx)
        turns = [job.id for job in jobs.claim(tx, rows.WORKER, 9)]
    assert turns.index(first.id) < turns.index(second.id)
    assert row(turns[0]).tag <= first.tag < second.tag


def _batch(total: int) -> str:
    with db.transaction() as tx:
        return rows.batch(tx, total)


def test_what_is_beyond_the_canary_of_its_batch_is_held_until_that_is_released(site: web.Site) -> None:
    with db.transaction() as tx:
        batch_id = rows.batch(tx, total=2, hold=Hold.CANARY, options={"canary": 1})
    first, second = (
        imported({"url": f"{site.url}/a.jpg"}, batch_id=batch_id, custom_id=str(n), position=n, reuse=False)
        for n in range(2)
    )
    assert (first.state, second.state, second.sources) == (State.QUEUED, State.HELD, None)
    with db.transaction() as tx:
        holding.ask(tx, tx.scalars(holding.locked(batch_id)).one(), None)
    holding.carry_on(batch_id, 5.0)
    assert row(second.id).state == State.QUEUED
    assert row(second.id).tag > first.tag


def test_a_pair_that_cannot_be_worked_on_fails_with_the_code_that_an_upload_would_have_had(site: web.Site) -> None:
    site.answer = web.says(200, pictures.encoded(pictures.scene(64, 64)))
    refused(imported({"url": f"{site.url}/x.png{SIGNED}"}), "input_invalid", "mask_size_mismatch: ")


async def without_end(request: Any) -> Any:
    """Send for as long as somebody reads."""
    response = aiohttp.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b"x" * 10_000)


def test_what_is_larger_than_a_file_may_be_is_read_no_further(site: web.Site) -> None:
    site.answer = without_end
    refused(imported({"url": f"{site.url}/x"}), "input_invalid", "the image: file_too_large: ")


def test_an_upload_to_which_nothing_was_put_is_missing() -> None:
    refused(imported({"upload_id": "upl_2"}), "input_missing", "the image: nothing was put to the upload upl_2")


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_what_a_source_refuses_is_not_asked_for_again(site: web.Site, status: int) -> None:
    site.answer = web.says(status)
    refused(imported({"url": f"{site.url}/x{SIGNED}"}), "input_unreachable", f"the image: 127.0.0.1 answered {status}")
    assert len(site.requests) == 1


@pytest.mark.parametrize("answer", [web.says(503), web.says(429), web.hangs_up, web.breaks_off])
def test_what_passes_is_waited_for_and_not_for_ever(
    site: web.Site, answer: web.Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "PAUSES", (1000.0, 2000.0, 4000.0))
    site.answer = answer
    job_id = made({"url": f"{site.url}/x{SIGNED}"})
    for tries, pause in enumerate(importing.PAUSES):
        importing.import_pair(job_id)
        assert (row(job_id).state, row(job_id).import_tries) == ("importing", tries + 1)
        assert due_in(job_id) == pytest.approx(pause, abs=300)
    importing.import_pair(job_id)
    refused(row(job_id), "input_unreachable", "the image: 127.0.0.1 ")


def test_a_source_that_says_nothing_is_given_up_in_time(site: web.Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "SECONDS", 0.2)
    site.answer = web.stays_silent
    assert imported({"url": f"{site.url}/x"}).import_tries == 1


def test_a_redirect_is_followed_and_judged_as_the_first_address_was(site: web.Site) -> None:
    site.answer = web.in_turn(web.says(302, b"", Location=f"{site.url}/there"), web.says(200, IMAGE))
    assert imported({"url": f"{site.url}/here"}).state == "queued"
    with web.serving(web.says(200, IMAGE)) as private:
        inside = private.url.replace("127.0.0.1", "127.0.0.2")
        site.answer = web.says(302, b"", Location=f"{inside}/x{SIGNED}")
        refused(imported({"url": f"{site.url}/here"}), "input_forbidden", "127.0.0.2: ")
        site.answer = web.says(302, b"", Location="file:///etc/passwd")
        refused(imported({"url": f"{site.url}/here"}), "input_forbidden", "begin with https")
        assert private.requests == []


def test_redirects_that_do_not_end_do(site: web.Site) -> None:
    site.answer = web.says(302, b"", Location="/again")
    refused(imported({"url": f"{site.url}/x"}), "input_unreachable", f"{sources.HOPS} redirects")
    assert len(site.requests) == sources.HOPS


def test_a_bucket_that_the_operator_no_longer_lists_is_not_read() -> None:
    refused(imported({"s3": "s3://photos/secret.jpg"}), "input_forbidden", "CLEANPLATE_IMPORT_BUCKETS")


def test_objects_are_read_from_the_places_that_the_operator_lists(
    configure: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with s3_server() as endpoint:
        make_bucket(endpoint, "photos")
        for name, value in s3_environment(endpoint).items():
            monkeypatch.setenv(name, value)
        bucket = boto3.client("s3")
        for key, data in (("autumn/ä b.jpg", IMAGE), ("autumn/large", b"x" * 100_001), ("spring/a.jpg", IMAGE)):
            bucket.put_object(Bucket="photos", Key=key, Body=data)
        configure(CLEANPLATE_IMPORT_BUCKETS="photos/autumn, elsewhere")
        assert imported({"s3": "s3://photos/autumn/ä b.jpg"}).state == "queued"
        refused(imported({"s3": "s3://photos/autumn/large"}), "input_invalid", "the image: file_too_large: ")
        refused(imported({"s3": "s3://photos/autumn/none"}), "input_missing", "there is no s3://photos/autumn/none")
        refused(imported({"s3": "s3://elsewhere/none"}), "input_missing", "there is no s3://elsewhere/none")
        refused(imported({"s3": "s3://photos/spring/a.jpg"}), "input_forbidden", "CLEANPLATE_IMPORT_BUCKETS")
    assert imported({"s3": "s3://photos/autumn/ä b.jpg"}).import_tries == 1
    foreign._client.cache_clear()


def test_our_own_store_being_away_is_waited_for_without_an_end(
    site: web.Site, monkeypatch: pytest.MonkeyPatch, at: Store
) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise StoreUnavailable("gone")

    job_id = made({"url": f"{site.url}/x"}, {"url": f"{site.url}/mask"})
    with monkeypatch.context() as patch:
        patch.setattr(type(at), "put", away)
        for _ in range(len(importing.PAUSES) + importing.CRASHES_ALLOWED):
            importing.import_pair(job_id)
        assert (row(job_id).state, row(job_id).import_starts, row(job_id).import_tries) == ("importing", 0, 0)
    importing.import_pair(job_id)
    assert row(job_id).state == "queued"


def test_a_picture_that_brings_down_whoever_imports_it_is_left_alone_after_three_times(
    site: web.Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def killed(*_: Any) -> None:
        raise Killed

    monkeypatch.setattr(importing, "take", killed)
    job_id = made({"url": f"{site.url}/x"})
    for _ in range(importing.CRASHES_ALLOWED):
        with pytest.raises(Killed):
            importing.import_pair(job_id)
    importing.import_pair(job_id)
    assert (row(job_id).state, row(job_id).error_code) == ("failed", "worker_crashed")


def test_two_messages_fetch_once(site: web.Site) -> None:
    job_id = made({"url": f"{site.url}/x"})
    with alone("import", job_id):
        importing.import_pair(job_id)
    assert (site.requests, row(job_id).import_starts) == ([], 0)
    at_once([lambda: importing.import_pair(job_id)] * 4)
    importing.import_pair(job_id)
    assert (row(job_id).state, events(job_id), len(site.requests)) == ("queued", ["queued"], 1)


def test_a_job_that_is_cancelled_while_it_is_fetched_ends_at_once_and_leaves_nothing(
    site: web.Site, at: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = _batch(1)
    job_id = made({"url": f"{site.url}/x"}, batch_id=batch)
    taken = importing.take

    def cancelled_meanwhile(store: Store, job: Job) -> Any:
        outcome = taken(store, job)
        with db.transaction() as tx:
            cancel.stop(tx, [job_id], InFlight.FINISH)
        return outcome

    monkeypatch.setattr(importing, "take", cancelled_meanwhile)
    importing.import_pair(job_id)
    assert (row(job_id).state, row(job_id).sources, events(job_id)) == ("cancelled", None, ["cancelled"])
    assert list(at.list("inputs/")) == []


def test_imports_cancels_and_intake_of_one_batch_never_wait_in_a_circle(site: web.Site) -> None:
    batch = _batch(24)
    ids = [made({"url": f"{site.url}/x"}, batch_id=batch, reuse=False) for _ in range(24)]

    def stop() -> None:
        with db.transaction() as tx:
            cancel.stop(tx, ids[::2], InFlight.ABANDON)

    at_once([lambda job_id=job_id: importing.import_pair(job_id) for job_id in ids] + [stop, stop])
    with db.transaction() as tx:
        assert set(rows.states(tx, ids).values()) <= {State.QUEUED, State.CANCELLED}
