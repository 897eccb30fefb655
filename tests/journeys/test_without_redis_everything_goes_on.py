"""Redis is killed and emptied, stays away while results become ready, and freezes: it was only ever a hint."""

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cleanplate.local import redis
from tests.journeys.oracle import Begin, Story, eventually

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
    with _away(story):
        for some in (photos[half:][part::PARTS] for part in range(PARTS)):
            story.upload(some)
            time.sleep(outage(60) / PARTS)
        eventually(lambda: story.counts()["succeeded"] == len(photos), 120)
    figures = story.end()
    assert figures.succeeded == figures.paid == len(photos)


@pytest.mark.chaos(8)
@pytest.mark.timeout(1800)
def test_a_frozen_redis_holds_up_nothing_for_long(
    begin: Begin, photos: list[Path], outage: Callable[[float], float]
) -> None:
    story = begin("redis frozen")
    frozen = story.stack.pid("redis")
    os.kill(frozen, signal.SIGSTOP)
    try:
        story.upload(photos)
        eventually(lambda: story.paid() == len(photos), 60)
        time.sleep(outage(60))
    finally:
        os.kill(frozen, signal.SIGCONT)
        story.disturb()
    figures = story.end(30)
    assert figures.succeeded == figures.paid == len(photos)


@contextmanager
def _away(story: Story) -> Iterator[None]:
    """Kill Redis, keep it from starting again, and give it back empty."""
    data = story.stack.running.data_dir
    (data / "redis.conf").rename(data / "redis.away")
    assert story.kill("redis")
    eventually(lambda: story.stack.running.supervisor.pid("redis") is None)
    shutil.rmtree(data / "redis")
    (data / "redis").mkdir()
    try:
        yield
    finally:
        (data / "redis.away").rename(data / "redis.conf")
        eventually(lambda: redis.answers(story.stack.running.environment["REDIS_URL"]), 60)
        story.disturb()
