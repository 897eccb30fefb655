"""What becomes of a job whose result, store or pair is not as it should be."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, update

from cleanplate import db, jobs, leases
from cleanplate.models import Job
from cleanplate.states import State
from tests import pictures, rows, web
from tests.seen import passing, row
from tests.workshop import ORIGINAL, RESULT, Workshop, workshop
from worker import finalize

pytestmark = pytest.mark.usefixtures("database")

UNUSABLE: dict[str, tuple[web.Answer, str]] = {
    "cut short": (web.says(200, RESULT[: len(RESULT) // 2]), "result_invalid"),
    "a page": (web.says(200, b"<html>error</html>", content_type="text/html"), "result_invalid"),
    "another size": (web.says(200, pictures.encoded(pictures.scene(95, 64))), "result_invalid"),
    "403": (web.says(403), "result_expired"),
}


@pytest.fixture
def shop(configure: Callable[..., None], tmp_path: Path) -> Iterator[Workshop]:
    with workshop(configure, tmp_path / "objects") as made:
        yield made


# -- a result that cannot be used --------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", UNUSABLE)
def test_a_result_that_cannot_be_used_is_never_stored_but_asked_for_again_by_any_conveyor(
    shop: Workshop, fault: str
) -> None:
    shop.site.answer, code = UNUSABLE[fault]
    job_id = shop.ready()
    finalize.finalize(job_id)
    after = row(job_id)
    assert (after.state, after.owner, after.sample_url) == ("inflight", None, None)
    assert (after.fetches, after.finalize_starts) == (1, 0)
    assert list(shop.store.list("results/")) == []
    with db.transaction() as tx:
        ((_, reason, _),) = rows.events(tx, job_id)
        assert reason.startswith(code)
        assert leases.rescue(tx, "w1", hold_seconds=30.0) == [job_id]


@pytest.mark.parametrize("fault", UNUSABLE)
def test_after_three_fresh_addresses_the_job_fails_with_the_reason(shop: Workshop, fault: str) -> None:
    shop.site.answer, code = UNUSABLE[fault]
    job_id = shop.ready()
    for _ in range(3):
        finalize.finalize(job_id)
        again = {"sample_url": f"{shop.site.url}/again.png"}
        with db.transaction() as tx:
            wish = jobs.Change(job_id, frozenset({State.INFLIGHT}), State.READY, "ready", values=again)
            assert jobs.apply(tx, [wish]) == {job_id}
    finalize.finalize(job_id)
    assert (row(job_id).state, row(job_id).error_code) == ("failed", code)
    assert len(shop.site.requests) == 4


# -- what passes -------------------------------------------------------------------------------------------------------


def test_a_download_that_fails_in_passing_is_tried_again_soon(shop: Workshop) -> None:
    job_id = shop.ready()
    shop.site.answer = web.says(503)
    with passing() as span:
        finalize.finalize(job_id)
    assert (row(job_id).state, row(job_id).finalize_starts, row(job_id).fetches) == ("ready", 0, 0)
    assert row(job_id).due_at - timedelta(seconds=finalize.LATER_SECONDS) in span
    assert len(shop.site.requests) == 1
    shop.site.answer = web.says(200, RESULT)
    finalize.finalize(job_id)
    assert row(job_id).state == "succeeded"


def test_a_download_that_still_fails_when_its_window_is_over_asks_for_a_fresh_address(shop: Workshop) -> None:
    job_id = shop.ready()
    with db.transaction() as tx:
        tx.execute(update(Job).where(Job.id == job_id).values(window_ends=func.now()))
    shop.site.answer = web.says(503)
    finalize.finalize(job_id)
    assert (row(job_id).state, row(job_id).fetches) == ("inflight", 1)


def test_a_store_that_is_away_is_waited_for_however_often(shop: Workshop, tmp_path: Path) -> None:
    job_id = shop.ready()
    (tmp_path / "objects").rename(tmp_path / "away")
    for _ in range(5):
        with passing() as span:
            finalize.finalize(job_id)
        assert (row(job_id).state, row(job_id).finalize_starts, row(job_id).fetches) == ("ready", 0, 0)
        assert row(job_id).due_at - timedelta(seconds=finalize.LATER_SECONDS) in span
    (tmp_path / "away").rename(tmp_path / "objects")
    finalize.finalize(job_id)
    assert row(job_id).state == "succeeded"


# -- what does not pass ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", ["image_key", "send_mask_key"])
def test_a_pair_that_is_gone_from_the_store_fails_the_job(shop: Workshop, lost: str) -> None:
    job_id = shop.ready()
    shop.store.delete([getattr(row(job_id), lost)])
    finalize.finalize(job_id)
    assert (row(job_id).state, row(job_id).error_code) == ("failed", "input_missing")


def test_a_pair_that_can_no_longer_be_read_fails_the_job(shop: Workshop) -> None:
    job_id = shop.ready()
    shop.store.put(row(job_id).image_key, ORIGINAL[:100], media_type="image/png")
    finalize.finalize(job_id)
    assert (row(job_id).state, row(job_id).error_code) == ("failed", "input_invalid")
