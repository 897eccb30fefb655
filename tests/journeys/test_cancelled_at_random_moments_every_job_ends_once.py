"""Cancels of every job and of the whole batch at any moment, of both kinds, while two conveyors carry them."""

import json
import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from cleanplate.client_errors import ApiError
from cleanplate.states import InFlight
from tests import web
from tests.journeys.oracle import Begin, Story, eventually
from tests.journeys.outages import paused

SEED = 27
LATENCY = 4.0
SLOTS = 24
ACCEPTED = "SELECT count(*) FROM attempts WHERE outcome = 'accepted'"
COST = "SELECT coalesce(sum(cost_credits), 0) FROM jobs"


@pytest.mark.chaos(27)
def test_each_has_one_end_and_what_was_accepted_is_what_is_paid(begin: Begin, photos: list[Path], long: bool) -> None:
    draw = random.Random(SEED)
    story = begin(f"cancels race every transition (seed {SEED})", latency=LATENCY)
    before = _ledger(story)
    with web.serving(web.says(200)) as receiver, story.stack.client() as client:
        endpoint = client.create_endpoint(receiver.url)
        with paused(story):  # so that the first is sent when all have been uploaded, however long that takes
            batch_id = story.upload(photos)
            jobs = story.jobs()
        seconds = LATENCY * len(photos) / SLOTS

        def cancel(id_: str, in_flight: InFlight, wait: float) -> str | None:
            time.sleep(wait)  # the moment is to be any, so nothing is waited for
            try:
                client.cancel_job(id_, in_flight) if id_ != batch_id else client.cancel_batch(id_, in_flight)
            except ApiError as error:
                return error.code
            return None

        moments = [(job.id, draw.choice(list(InFlight)), draw.uniform(0, seconds)) for job in jobs]
        moments += [(batch_id, draw.choice(list(InFlight)), draw.uniform(0.5, 1) * seconds)]
        with ThreadPoolExecutor(len(moments)) as threads:
            eventually(story.paid)
            answers = [threads.submit(cancel, *moment) for moment in moments]
            if long:
                time.sleep(seconds / 2)
                story.kill("api")
        figures = story.end()
        ends = Counter(job.status for job in story.jobs())
        assert {answer.result() for answer in answers} <= {None, "already_finished"}
        _each_end_is_told_once(receiver, story, batch_id)
        gone = httpx.delete(
            f"{story.stack.running.url}/v1/webhook-endpoints/{endpoint.id}",
            headers={"Authorization": f"Bearer {story.stack.running.api_key}"},
        )
        assert gone.is_success
        batch = client.batch(batch_id)
    accepted, cost = (after - was for after, was in zip(_ledger(story), before, strict=True))
    assert figures.refused == figures.failed == 0
    assert figures.paid == accepted
    assert cost == batch.cost_credits == pytest.approx(5.0 * accepted)
    assert (batch.counts.succeeded, batch.counts.cancelled) == (ends["succeeded"], ends["cancelled"])
    assert min(ends["succeeded"], ends["cancelled"]) > 0, "the cancels came too early or too late to race anything"


def _ledger(story: Story) -> tuple[float, float]:
    """Return how many submits were accepted, and what all jobs cost, by the rows."""
    return float(story.stack.rows(ACCEPTED)[0][0]), float(story.stack.rows(COST)[0][0])


def _each_end_is_told_once(receiver: web.Site, story: Story, batch_id: str) -> None:
    expected = Counter((f"job.{job.status}", job.id) for job in story.jobs())
    with story.stack.client() as client:
        expected[f"batch.{client.batch(batch_id).status}", batch_id] += 1

    def told() -> Counter[tuple[str, str]]:
        bodies = {one.headers["webhook-id"]: json.loads(one.body) for one in list(receiver.requests)}
        return Counter((body["type"], body["data"]["id"]) for body in bodies.values())

    eventually(lambda: told().total() >= expected.total())
    assert told() == expected
