"""What a worker does with a broker that goes away under a message."""

from pathlib import Path
from typing import Any

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
