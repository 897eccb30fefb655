"""Redis is killed and emptied, stays away while results become ready, freezes, and refuses: it was only ever a hint."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from redis import Redis

from tests.journeys.oracle import Begin, eventually
from tests.journeys.outages import frozen, redis_away

PARTS = 10
"""In so many uploads, all through the outage, comes what is uploaded during it."""


@pytest.mark.chaos(6, 7)
@pytest.mark.timeout(1800)
def test_results_are_stored_while_redis_is_away_and_uploads_taken(
    begin: Begin, photos: list[Path], outage: Callable[[float], float]
) -> None:
    story = begin("redis killed, emptied and away")
    half = len(photos) // 2
    story.upload(photos[:half])
    eventually(lambda: story.counts()["succeeded"] >= 2)
    with redis_away(story):
        for some in (photos[half:][part::PARTS] for part in range(PARTS)):
            story.upload(some)
            time.sleep(outage(60) / PARTS)
        eventually(lambda: story.counts()["succeeded"] == len(photos))
    figures = story.end()
    assert figures.succeeded == figures.paid == len(photos)


@pytest.mark.chaos(8)
@pytest.mark.timeout(1800)
def test_a_frozen_redis_holds_up_nothing_for_long(
    begin: Begin, photos: list[Path], outage: Callable[[float], float]
) -> None:
    story = begin("redis frozen")
    with frozen(story.stack.pid("redis")):
        story.upload(photos)
        eventually(lambda: story.paid() == len(photos))
        time.sleep(outage(60))
    story.disturb()
    figures = story.end(30)
    assert figures.succeeded == figures.paid == len(photos)


@pytest.mark.chaos(31)
@pytest.mark.timeout(1800)
def test_a_redis_that_can_write_no_more_ends_no_worker(begin: Begin, photos: list[Path]) -> None:
    story = begin("redis refuses to write, as on a full disk")
    workers = ("conveyor", "importer", "finalizer", "notifier")
    pids = [story.stack.pid(name) for name in workers]
    with Redis.from_url(story.stack.running.environment["REDIS_URL"]) as redis:
        redis.config_set("min-replicas-to-write", 1)
        story.upload(photos)
        eventually(lambda: story.counts()["succeeded"] == len(photos))
        redis.config_set("min-replicas-to-write", 0)
    assert [story.stack.pid(name) for name in workers] == pids
    figures = story.end()
    assert figures.succeeded == figures.paid == len(photos)
