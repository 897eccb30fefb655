"""From a result's address to a stored picture and a job that succeeded, or to a reason why not."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import func, select, text

from cleanplate import cancel, db, outbox
from cleanplate.models import Delivery
from cleanplate.states import InFlight, State
from tests import pictures, rows, web
from tests.seen import passing, row
from tests.threads import at_once
from tests.workshop import RESULT, Workshop, workshop
from worker import finalize
from worker.alone import alone

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def shop(configure: Callable[..., None], tmp_path: Path) -> Iterator[Workshop]:
    with workshop(configure, tmp_path / "objects") as made:
        yield made


# -- success -----------------------------------------------------------------------------------------------------------


def test_a_result_is_stored_and_the_job_and_its_receivers_hear_of_it_together(shop: Workshop) -> None:
    with db.transaction() as tx:
        rows.deaf_endpoint(tx)
    job_id = shop.ready()
    finalize.finalize(job_id)
    after = row(job_id)
    assert (after.state, after.result_key, after.sample_url) == ("succeeded", f"results/{job_id}.png", None)
    data = shop.store.get(after.result_key or "")
    assert after.result is not None
    assert after.result.keys() == {"width", "height", "format", "bytes", "sha256", "outside_mask_max_delta"}
    assert (after.result["width"], after.result["height"], after.result["bytes"]) == (96, 64, len(data))
    assert after.result["outside_mask_max_delta"] == 0
    with db.transaction() as tx:
        (delivery,) = tx.scalars(select(Delivery))
    assert delivery.event_type == "job.succeeded"
    assert json.loads(delivery.body)["data"]["result"]["sha256"] == after.result["sha256"]


def test_what_the_mask_does_not_cover_is_the_originals_to_the_bit(shop: Workshop) -> None:
    job_id = shop.ready(params={"dilate_pixels": 2})
    finalize.finalize(job_id)
    stored = np.asarray(pictures.decoded(shop.store.get(f"results/{job_id}.png")))
    original, redrawn = np.asarray(pictures.scene()), np.asarray(pictures.decoded(RESULT))
    kept = np.ones(stored.shape[:2], bool)
    kept[14:34, 18:42] = False
    assert (stored[kept] == original[kept]).all()
    assert (stored[16:32, 20:40] == redrawn[16:32, 20:40]).all()


@pytest.mark.parametrize(("form", "suffix"), [("png", "png"), ("jpeg", "jpg"), ("webp", "webp")])
def test_the_format_is_the_one_that_was_asked_for(shop: Workshop, form: str, suffix: str) -> None:
    job_id = shop.ready(params={"output_format": form, "fidelity": "raw"})
    finalize.finalize(job_id)
    assert row(job_id).result_key == f"results/{job_id}.{suffix}"
    assert pictures.decoded(shop.store.get(f"results/{job_id}.{suffix}")).format == form.upper()


def test_the_address_is_asked_once_and_the_key_is_not_sent_to_it(shop: Workshop) -> None:
    finalize.finalize(shop.ready())
    (request,) = shop.site.requests
    assert (request.method, request.target) == ("GET", "/result.png?sig=secret")
    assert "the-key" not in str(request.headers)


def test_a_message_that_comes_again_changes_nothing(shop: Workshop) -> None:
    with db.transaction() as tx:
        rows.deaf_endpoint(tx)
    job_id = shop.ready()
    for _ in range(3):
        finalize.finalize(job_id)
    assert shop.events(job_id) == ["succeeded"]
    assert len(shop.site.requests) == 1


def test_messages_that_come_at_once_are_one_piece_of_work_and_one_commit(shop: Workshop) -> None:
    with db.transaction() as tx:
        rows.deaf_endpoint(tx)
    job_id = shop.ready()
    others_are_gone = threading.Event()

    async def wait(request: Any) -> Any:
        await asyncio.to_thread(others_are_gone.wait)
        return await web.says(200, RESULT)(request)

    shop.site.answer = wait
    ends = []

    def work() -> None:
        finalize.finalize(job_id)
        ends.append(row(job_id).state)
        if len(ends) == 5:
            others_are_gone.set()

    at_once([work] * 6)
    assert ends == ["ready"] * 5 + ["succeeded"]
    assert shop.events(job_id) == ["succeeded"]
    assert row(job_id).finalize_starts == 1
    with db.transaction() as tx:
        assert tx.scalar(select(func.count()).select_from(Delivery)) == 1
    assert len(shop.site.requests) == 1


@pytest.mark.parametrize("in_flight", InFlight)
def test_a_result_whose_job_is_abandoned_while_it_is_stored_is_thrown_away(shop: Workshop, in_flight: InFlight) -> None:
    job_id = shop.ready()

    async def abandon(request: Any) -> Any:
        with db.transaction() as tx:
            cancel.stop(tx, [job_id], in_flight)
        return await web.says(200, RESULT)(request)

    shop.site.answer = abandon
    finalize.finalize(job_id)
    is_kept = in_flight is InFlight.FINISH
    assert row(job_id).state == ("succeeded" if is_kept else "cancelled")
    assert len(list(shop.store.list("results/"))) == is_kept


@pytest.mark.parametrize("state", sorted(set(State) - {State.READY}))
def test_a_message_for_a_job_that_is_not_ready_does_nothing(shop: Workshop, state: State) -> None:
    with db.transaction() as tx:
        job_id = rows.job(tx, state)
    finalize.finalize(job_id)
    finalize.finalize("job_nowhere")
    assert (row(job_id).state, shop.site.requests, list(shop.store.list("results/"))) == (state, [], [])


def test_a_commit_that_fails_leaves_the_job_ready_and_nobody_told(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    with db.transaction() as tx:
        rows.deaf_endpoint(tx)
    job_id = shop.ready()
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
    assert shop.events(job_id) == ["succeeded"]


# -- one at a time, and crashes ---------------------------------------------------------------------------------------


def test_while_it_works_its_start_is_counted_and_the_rescuer_is_put_off(shop: Workshop) -> None:
    job_id = shop.ready()
    seen = []

    async def look(request: Any) -> Any:
        seen.append(row(job_id))
        return await web.says(200, RESULT)(request)

    shop.site.answer = look
    with passing() as span:
        finalize.finalize(job_id)
    (then,) = seen
    assert then.finalize_starts == 1
    assert then.due_at - timedelta(seconds=finalize.WORK_SECONDS) in span


def test_a_worker_whose_machine_dies_lets_go_of_the_job(shop: Workshop) -> None:
    job_id = shop.ready()

    def die_at_work() -> None:
        with alone("finalize", job_id) as first, alone("finalize", job_id) as second:
            assert (first, second) == (True, False)
            with db.engine().connect() as connection:
                idle = (
                    "SELECT pid FROM pg_stat_activity WHERE state = 'idle in transaction' "
                    "AND datname = current_database() ORDER BY xact_start LIMIT 1"
                )
                died = connection.execute(text(f"SELECT pg_terminate_backend(({idle}), 60000)"))
                assert died.scalar()
            finalize.finalize(job_id)

    with pytest.raises(db.AWAY):
        die_at_work()
    assert row(job_id).state == "succeeded"


def test_a_picture_that_brings_down_whoever_works_on_it_is_left_alone_after_three_times(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def crash(*_: object, **__: object) -> None:
        raise Killed

    monkeypatch.setattr(finalize, "finish", crash)
    job_id, neighbour = shop.ready(), shop.ready()
    for _ in range(3):
        with pytest.raises(Killed):
            finalize.finalize(job_id)
        assert row(job_id).state == "ready"
    finalize.finalize(job_id)
    assert (row(job_id).state, row(job_id).error_code) == ("failed", "worker_crashed")
    assert len(shop.site.requests) == 3
    assert row(neighbour).state == "ready"
