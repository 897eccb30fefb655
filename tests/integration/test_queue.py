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
        connection.drain_events(timeout=100)
        assert not channel.qos.can_consume()

    taken[0].ack_log_error(queue.log, connection.connection_errors)
    assert channel.qos.can_consume()
    connection.release()


def test_who_sends_does_not_wait_for_a_broker_that_refuses(
    broker: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def waited(seconds: float) -> None:
        raise AssertionError(f"it slept {seconds} s")

    broker("redis://127.0.0.1:9/0")
    monkeypatch.setattr("kombu.utils.functional.sleep", waited)
    assert not queue.send("notify", "evt_1")
    with queue.together():
        assert not queue.send("notify", "evt_2")


def test_what_is_sent_together_is_there_when_all_of_it_is_sent(broker: Callable[[str], None], tmp_path: Path) -> None:
    with servers.running_redis(tmp_path) as url:
        broker(url)
        with queue.together():
            assert [queue.send("notify", f"evt_{number}") for number in range(3)] == [True] * 3
            assert queue.waiting("notify") == 0
        assert queue.waiting("notify") == 3
        assert queue.send("notify", "evt_4")
        assert queue.waiting("notify") == 4


def test_a_broker_that_dies_under_what_is_sent_together_is_left_alone_for_a_moment(
    broker: Callable[[str], None], tmp_path: Path
) -> None:
    with servers.running_redis(tmp_path) as url:
        broker(url)
        assert queue.send("notify", "evt_1")
        together = queue.together()
        together.__enter__()
        queue.send("notify", "evt_2")
    together.__exit__(None, None, None)
    assert not queue.send("notify", "evt_3")
