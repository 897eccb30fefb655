"""From a result's address to a stored picture and a job that succeeded, or to a reason why not."""

import asyncio
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import func, select, text

from cleanplate import db, jobs, outbox
from cleanplate.models import Delivery, Job
from cleanplate.states import State
from cleanplate.storage import Store
from tests import pictures, rows, web
from tests.threads import at_once
from worker import download, finalize

pytestmark = pytest.mark.usefixtures("database")

ORIGINAL = pictures.encoded(pictures.scene())
MASK = pictures.encoded(pictures.mask_image())
RESULT = pictures.encoded(pictures.redrawn(pictures.scene()))
UNUSABLE: dict[str, tuple[web.Answer, str]] = {
    "cut short": (web.says(200, RESULT[: len(RESULT) // 2]), "result_invalid"),
    "no bytes": (web.says(200, b""), "result_invalid"),
    "a page": (web.says(200, b"<html>error</html>", content_type="text/html"), "result_invalid"),
    "another size": (web.says(200, pictures.encoded(pictures.scene(95, 64))), "result_invalid"),
    "401": (web.says(401), "result_expired"),
    "403": (web.says(403), "result_expired"),
    "404": (web.says(404), "result_expired"),
    "410": (web.says(410), "result_expired"),
}


@pytest.fixture
def store(configure: Callable[..., None], tmp_path: Path) -> Iterator[Store]:
    """The directory store of finalize."""
    configure(STORAGE_URL=(tmp_path / "objects").as_uri(), BFL_DELIVERY_HOSTS="127.0.0.1", BFL_API_KEY="the-key")
    yield finalize._store(os.getpid())
    finalize._store.cache_clear()


@pytest.fixture
def site() -> Iterator[web.Site]:
    """The upstream's delivery host."""
    with web.serving(web.says(200, RESULT)) as site, finalize._client(os.getpid()):
        yield site
    finalize._client.cache_clear()


def ready(store: Store, site: web.Site, **columns: Any) -> str:
    with db.transaction() as tx:
        url = f"{site.url}/result.png?sig=secret"
        job_id = rows.job(tx, State.READY, **{"sample_url": url, "window_ends": func.now(), **columns})
        row = tx.get_one(Job, job_id)
    store.put(row.image_key, ORIGINAL, media_type="image/png")
    store.put(row.mask_key, MASK, media_type="image/png")
    return job_id


def row(job_id: str) -> Job:
    with db.transaction() as tx:
        return tx.get_one(Job, job_id)


def due_seconds(job_id: str) -> float:
    with db.transaction() as tx:
        return float(tx.scalar(select(func.extract("epoch", Job.due_at - func.now())).where(Job.id == job_id)) or 0.0)


def events(job_id: str) -> list[str]:
    with db.transaction() as tx:
        return [state for state, _, _ in rows.events(tx, job_id)]


# -- success -----------------------------------------------------------------------------------------------------------


def test_a_result_is_stored_and_the_job_and_its_receivers_hear_of_it_together(store: Store, site: web.Site) -> None:
    with db.transaction() as tx:
        rows.deaf_endpoint(tx)
    job_id = ready(store, site)
    finalize.finalize(job_id)
    after = row(job_id)
    assert (after.state, after.result_key, after.sample_url) == ("succeeded", f"results/{job_id}.png", None)
    data = store.get(after.result_key or "")
    assert after.result is not None
    assert after.result.keys() == {"width", "height", "format", "bytes", "sha256", "outside_mask_max_delta"}
    assert (after.result["width"], after.result["height"], after.result["bytes"]) == (96, 64, len(data))
    assert after.result["outside_mask_max_delta"] == 0
    with db.transaction() as tx:
        (delivery,) = tx.scalars(select(Delivery))
    assert delivery.event_type == "job.succeeded"
    assert json.loads(delivery.body)["data"]["result"]["sha256"] == after.result["sha256"]


def test_what_the_mask_does_not_cover_is_the_originals_to_the_bit(store: Store, site: web.Site) -> None:
    job_id = ready(store, site, params={"dilate_pixels": 2})
    finalize.finalize(job_id)
    stored = np.asarray(pictures.decoded(store.get(f"results/{job_id}.png")))
    original, redrawn = np.asarray(pictures.scene()), np.asarray(pictures.decoded(RESULT))
    kept = np.ones(stored.shape[:2], bool)
    kept[14:34, 18:42] = False
    assert (stored[kept] == original[kept]).all()
    assert (stored[16:32, 20:40] == redrawn[16:32, 20:40]).all()


@pytest.mark.parametrize(("form", "suffix"), [("png", "png"), ("jpeg", "jpg"), ("webp", "webp")])
def test_the_format_is_the_one_that_was_asked_for(store: Store, site: web.Site, form: str, suffix: str) -> None:
    job_id = ready(store, site, params={"output_format": form, "fidelity": "raw"})
    finalize.finalize(job_id)
    assert row(job_id).result_key == f"results/{job_id}.{suffix}"
    assert pictures.decoded(store.get(f"results/{job_id}.{suffix}")).format == form.upper()


def test_the_address_is_asked_once_and_the_key_is_not_sent_to_it(store: Store, site: web.Site) -> None:
    finalize.finalize(ready(store, site))
    (request,) = site.requests
    assert (request.method, request.target) == ("GET", "/result.png?sig=secret")
    assert "the-key" not in str(request.headers)


def test_a_message_that_comes_again_changes_nothing(store: Store, site: web.Site) -> None:
    with db.transaction() as tx:
        rows.deaf_endpoint(tx)
    job_id = ready(store, site)
    for _ in range(3):
        finalize.finalize(job_id)
    assert events(job_id) == ["succeeded"]
    assert len(site.requests) == 1


def test_messages_that_come_at_once_are_one_piece_of_work_and_one_commit(store: Store, site: web.Site) -> None:
    with db.transaction() as tx:
        rows.deaf_endpoint(tx)
    job_id = ready(store, site)
    others_are_gone = threading.Event()

    async def wait(request: Any) -> Any:
        await asyncio.to_thread(others_are_gone.wait)
        return await web.says(200, RESULT)(request)

    site.answer = wait
    ends = []

    def work() -> None:
        finalize.finalize(job_id)
        ends.append(row(job_id).state)
        if len(ends) == 5:
            others_are_gone.set()

    at_once([work] * 6)
    assert ends == ["ready"] * 5 + ["succeeded"]
    assert events(job_id) == ["succeeded"]
    assert row(job_id).finalize_starts == 1
    with db.transaction() as tx:
        assert tx.scalar(select(func.count()).select_from(Delivery)) == 1
    assert len(site.requests) == 1


@pytest.mark.parametrize("state", sorted(set(State) - {State.READY}))
def test_a_message_for_a_job_that_is_not_ready_does_nothing(store: Store, site: web.Site, state: State) -> None:
    with db.transaction() as tx:
        job_id = rows.job(tx, state)
    finalize.finalize(job_id)
    finalize.finalize("job_nowhere")
    assert (row(job_id).state, site.requests, list(store.list("results/"))) == (state, [], [])


def test_a_commit_that_fails_leaves_the_job_ready_and_nobody_told(
    store: Store, site: web.Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with db.transaction() as tx:
        rows.deaf_endpoint(tx)
    job_id = ready(store, site)
    publish = outbox.jobs_ended

    def publish_and_fail(*given: Any) -> None:
        publish(*given)
        raise ConnectionError

    monkeypatch.setattr(outbox, "jobs_ended", publish_and_fail)
    with pytest.raises(ConnectionError):
        finalize.finalize(job_id)
    assert (row(job_id).state, row(job_id).result_key) == ("ready", None)
    with db.transaction() as tx:
        assert tx.scalars(select(Delivery)).all() == []
    monkeypatch.setattr(outbox, "jobs_ended", publish)
    finalize.finalize(job_id)
    assert events(job_id) == ["succeeded"]


# -- a result that cannot be used --------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", UNUSABLE)
def test_a_result_that_cannot_be_used_is_never_stored_but_asked_for_again_by_any_conveyor(
    store: Store, site: web.Site, fault: str
) -> None:
    site.answer, code = UNUSABLE[fault]
    job_id = ready(store, site)
    finalize.finalize(job_id)
    after = row(job_id)
    assert (after.state, after.owner, after.sample_url) == ("inflight", None, None)
    assert (after.fetches, after.finalize_starts) == (1, 0)
    assert list(store.list("results/")) == []
    with db.transaction() as tx:
        ((_, reason, _),) = rows.events(tx, job_id)
        assert reason.startswith(code)
        assert jobs.rescue(tx, "w1", hold_seconds=30.0) == [job_id]


@pytest.mark.parametrize("fault", UNUSABLE)
def test_after_three_fresh_addresses_the_job_fails_with_the_reason(store: Store, site: web.Site, fault: str) -> None:
    site.answer, code = UNUSABLE[fault]
    job_id = ready(store, site)
    for _ in range(3):
        finalize.finalize(job_id)
        again = {"sample_url": f"{site.url}/again.png"}
        with db.transaction() as tx:
            wish = jobs.Change(job_id, frozenset({State.INFLIGHT}), State.READY, "ready", values=again)
            assert jobs.apply(tx, [wish]) == {job_id}
    finalize.finalize(job_id)
    assert (row(job_id).state, row(job_id).error_code) == ("failed", code)
    assert len(site.requests) == 4


def test_nothing_is_fetched_from_a_foreign_host(store: Store, site: web.Site) -> None:
    job_id = ready(store, site, sample_url=site.url.replace("127.0.0.1", "localhost"))
    finalize.finalize(job_id)
    assert (row(job_id).state, site.requests) == ("inflight", [])


def test_a_result_without_an_end_is_not_read_to_its_end(
    store: Store, site: web.Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "LARGEST_BYTES", 100)
    job_id = ready(store, site)
    finalize.finalize(job_id)
    assert row(job_id).state == "inflight"


# -- what passes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [web.says(500), web.says(503), web.says(429), web.says(302, location="/elsewhere"), web.hangs_up, web.breaks_off],
)
def test_a_download_that_fails_in_passing_is_tried_again_soon_and_no_redirect_is_followed(
    store: Store, site: web.Site, answer: web.Answer
) -> None:
    job_id = ready(store, site)
    site.answer = answer
    finalize.finalize(job_id)
    assert (row(job_id).state, row(job_id).finalize_starts, row(job_id).fetches) == ("ready", 0, 0)
    assert due_seconds(job_id) == pytest.approx(finalize.LATER_SECONDS, abs=1.5)
    assert len(site.requests) == 1
    site.answer = web.says(200, RESULT)
    finalize.finalize(job_id)
    assert row(job_id).state == "succeeded"


def test_a_download_that_takes_too_long_is_given_up_in_passing(
    store: Store, site: web.Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "WHOLE_SECONDS", -1.0)
    job_id = ready(store, site)
    finalize.finalize(job_id)
    assert (row(job_id).state, row(job_id).finalize_starts) == ("ready", 0)


def test_a_store_that_is_away_is_waited_for_however_often(store: Store, site: web.Site, tmp_path: Path) -> None:
    job_id = ready(store, site)
    (tmp_path / "objects").rename(tmp_path / "away")
    for _ in range(5):
        finalize.finalize(job_id)
        assert (row(job_id).state, row(job_id).finalize_starts, row(job_id).fetches) == ("ready", 0, 0)
        assert due_seconds(job_id) == pytest.approx(finalize.LATER_SECONDS, abs=1.5)
    (tmp_path / "away").rename(tmp_path / "objects")
    finalize.finalize(job_id)
    assert row(job_id).state == "succeeded"


# -- what does not pass ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", ["image_key", "send_mask_key"])
def test_a_pair_that_is_gone_from_the_store_fails_the_job(store: Store, site: web.Site, lost: str) -> None:
    job_id = ready(store, site)
    store.delete([getattr(row(job_id), lost)])
    finalize.finalize(job_id)
    assert (row(job_id).state, row(job_id).error_code) == ("failed", "input_missing")


def test_a_pair_that_can_no_longer_be_read_fails_the_job(store: Store, site: web.Site) -> None:
    job_id = ready(store, site)
    store.put(row(job_id).image_key, ORIGINAL[:100], media_type="image/png")
    finalize.finalize(job_id)
    assert (row(job_id).state, row(job_id).error_code) == ("failed", "input_invalid")


def test_while_it_works_its_start_is_counted_and_the_rescuer_is_put_off(store: Store, site: web.Site) -> None:
    job_id = ready(store, site)
    seen = []

    async def look(request: Any) -> Any:
        seen.append((row(job_id).finalize_starts, due_seconds(job_id)))
        return await web.says(200, RESULT)(request)

    site.answer = look
    finalize.finalize(job_id)
    assert seen == [(1, pytest.approx(finalize.WORK_SECONDS, abs=1.5))]


def test_a_worker_whose_machine_dies_lets_go_of_the_job(store: Store, site: web.Site) -> None:
    job_id = ready(store, site)

    def die_at_work() -> None:
        with finalize._alone(job_id) as first, finalize._alone(job_id) as second:
            assert (first, second) == (True, False)
            with db.engine().connect() as connection:
                idle = (
                    "SELECT pid FROM pg_stat_activity WHERE state = 'idle in transaction' ORDER BY xact_start LIMIT 1"
                )
                died = connection.execute(text(f"SELECT pg_terminate_backend(({idle}), 10000)"))
                assert died.scalar()
            finalize.finalize(job_id)

    with pytest.raises(db.AWAY):
        die_at_work()
    assert row(job_id).state == "succeeded"


def test_a_picture_that_brings_down_whoever_works_on_it_is_left_alone_after_three_times(
    store: Store, site: web.Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def crash(*_: object, **__: object) -> None:
        raise Killed

    monkeypatch.setattr(finalize, "finish", crash)
    job_id, neighbour = ready(store, site), ready(store, site)
    for _ in range(3):
        with pytest.raises(Killed):
            finalize.finalize(job_id)
        assert row(job_id).state == "ready"
    finalize.finalize(job_id)
    assert (row(job_id).state, row(job_id).error_code) == ("failed", "worker_crashed")
    assert len(site.requests) == 3
    assert row(neighbour).state == "ready"
