"""SIGTERM of one worker after the other in mid-batch: each ends in time, and no picture is paid for twice."""

import os
import signal
from pathlib import Path

import pytest

from tests.journeys.oracle import Begin, Story, eventually

WORKERS = ("conveyor", "finalizer", "conveyor-2", "notifier")
DRAIN_SECONDS = 30.0


@pytest.mark.chaos(5, 28)
def test_every_worker_ends_in_time_and_hands_its_jobs_over(begin: Begin, photos: list[Path], long: bool) -> None:
    story = begin("rolling restart, clocks 20 minutes apart", latency=2.0)
    story.upload(photos)
    for _ in range(3 if long else 1):
        assert max(_restart(story, worker) for worker in WORKERS) <= DRAIN_SECONDS
    figures = story.end()
    assert figures.succeeded == figures.paid == len(photos)
    assert not [reason for reason in story.reasons() if "died" in reason or reason == "lease ended"]


def _restart(story: Story, worker: str) -> float:
    """Stop a worker as a rollout does, wait for the next one, and return how long the old one took to end."""
    supervisor = story.stack.running.supervisor
    old = story.stack.pid(worker)
    os.kill(old, signal.SIGTERM)
    seconds = eventually(lambda: supervisor.pid(worker) != old)
    eventually(lambda: supervisor.pid(worker))
    return seconds
