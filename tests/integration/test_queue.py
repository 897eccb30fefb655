"""What a worker does with a broker that goes away under a message."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kombu import Consumer, Queue

from cleanplate import queue
from tests import servers


def test_a_worker_under_whose_messages_redis_died_can_take_more(tmp_path: Path) -> None:
    taken: list[Any] = []
    options = queue.app.conf.broker_transport_options
    with servers.running_redis(tmp_path) as url:
        connection = queue.QuickConnection(url, transport_options=options)
        channel = connection.channel()
        hints = Queue("test-hints")
        consumer = Consumer(channel, [hints], callbacks=[lambda _, message: taken.append(message)], prefetch_count=1)
        consumer.consume()
        connection.Producer().publish("job_1", routing_key=hints.name, exchange="", declare=[hints])
        connection.drain_events(timeout=5)
        assert not channel.qos.can_consume()

    taken[0].ack_log_error(queue.log, connection.connection_errors)
    assert channel.qos.can_consume()
    connection.release()


def test_who_sends_does_not_wait_for_a_broker_that_refuses(
    configure: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def waited(seconds: float) -> None:
        raise AssertionError(f"it slept {seconds} s")

    configure(REDIS_URL="redis://127.0.0.1:9/0")
    monkeypatch.setattr(queue, "app", queue.make_app())
    monkeypatch.setattr(queue, "_muted_until", 0.0)
    monkeypatch.setattr("kombu.utils.functional.sleep", waited)
    assert not queue.send("notify", "evt_1")
