"""Taking a server away from a running stack, or letting it stand still, and giving it back."""

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from cleanplate.local import postgres, redis
from tests.journeys.oracle import Story, eventually


@contextmanager
def redis_away(story: Story) -> Iterator[None]:
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
        eventually(lambda: redis.answers(story.stack.running.environment["REDIS_URL"]))
        story.disturb()


@contextmanager
def postgres_away(story: Story) -> Iterator[None]:
    """Kill PostgreSQL and keep it from starting again."""
    running = story.stack.running
    cluster = running.data_dir / "postgres"
    cluster.rename(running.data_dir / "postgres.away")
    assert story.kill("postgres")
    try:
        yield
    finally:
        (running.data_dir / "postgres.away").rename(cluster)
        eventually(lambda: postgres.answers(running.environment["DATABASE_URL"]))
        story.disturb()


@contextmanager
def paused(story: Story) -> Iterator[None]:
    """Let nothing be submitted."""
    story.stack.rows("UPDATE accounts SET paused_reason = 'manual' RETURNING name")
    try:
        yield
    finally:
        story.stack.rows("UPDATE accounts SET paused_reason = NULL RETURNING name")


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Let a process stand still."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
