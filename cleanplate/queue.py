"""Celery's configuration, and sending a task by its name.

A message is only a hint: every task can be found again in the database by the sweep, so a message that cannot be sent
is forgotten. Nothing here may block for long or raise because Redis is away.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property, lru_cache
from typing import Any, Final

from celery import Celery
from celery.app.amqp import AMQP
from kombu import Connection, Queue
from kombu.exceptions import BatchPublishError, OperationalError  # type: ignore[attr-defined]  # stubs of kombu 5.6
from redis import Redis
from redis.exceptions import RedisError, ResponseError

from cleanplate import settings

log = logging.getLogger(__name__)

IMPORT: Final = "import"
FINALIZE: Final = "finalize"
NOTIFY: Final = "notify"
CONVEYOR: Final = "conveyor"
MUTE_SECONDS: Final = 1.0
BROKER_AWAY: Final = (OperationalError, BatchPublishError, RedisError, OSError)


class QuickConnection(Connection):
    """Asks for a lost broker every 2 s at most; the default backs off to 30 s, during which results would wait.

    One that refuses to write, as on a full disk, is as good as lost: a worker waits for it and does not end.
    """

    @cached_property
    def connection_errors(self) -> tuple[type[BaseException], ...]:
        """Name the errors after which a worker connects anew."""
        return (*super().connection_errors, ResponseError)

    def ensure_connection(self, *args: Any, **kwargs: Any) -> Any:
        """Connect, trying again as often as ``kwargs`` allow."""
        return super().ensure_connection(
            *args, **{"interval_start": 0.5, "interval_step": 0.5, "interval_max": 2} | kwargs
        )


class Wire(AMQP):
    """Celery's AMQP with connections of that kind."""

    Connection = QuickConnection


def make_app() -> Celery:
    """Return the Celery application: no results, no ETA, no beat, one message at a time a process."""
    app = Celery("cleanplate", broker=settings.get().redis_url, amqp=Wire)
    app.conf.update(
        task_queues=[Queue(name) for name in (IMPORT, FINALIZE, NOTIFY, CONVEYOR)],
        task_default_queue=FINALIZE,
        task_create_missing_queues=False,
        task_routes={task: {"queue": task} for task in (IMPORT, FINALIZE, NOTIFY)},
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=False,
        task_publish_retry=False,
        task_serializer="json",
        accept_content=["json"],
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            # Hints need no acknowledgement in Redis. With one, a Redis that dies under as many messages as there are
            # processes leaves a worker that counts them as unfinished for ever and takes no more.
            "ack_emulation": False,
            "max_retries": 0,  # of a sender's connection; without it each hint would wait 6 s for a broker that is away
            "socket_timeout": 5,
            "socket_connect_timeout": 2,
            "socket_keepalive": True,
            "health_check_interval": 10,
        },
    )
    return app


app = make_app()
_muted_until = 0.0
_here = threading.local()


def send(task: str, argument: str) -> bool:
    """Send the message ``task(argument)``; return whether the broker took it.

    After a failure nothing is tried for a second, so that a broker that hangs does not hold up those who send.
    """
    if time.monotonic() < _muted_until:
        return False
    with _muting() as taken:
        app.send_task(task, args=[argument], retry=False, producer=getattr(_here, "producer", None))
    return taken()


@contextmanager
def together() -> Iterator[None]:
    """Send all that this thread sends in the block as one write to the broker: half of the CPU of as many writes.

    Of what was sent in it, :func:`send` does not know whether the broker took it.
    """
    with ExitStack() as batch:
        with _muting():
            producer = batch.enter_context(app.producer_pool.acquire(block=True))
            batch.enter_context(producer.batch())  # type: ignore[attr-defined]  # stubs of kombu 5.6
            _here.producer = producer
        try:
            yield
        finally:
            _here.producer = None
            with _muting():
                batch.close()


@contextmanager
def _muting() -> Iterator[Callable[[], bool]]:
    """Let nothing be sent for a moment when the block fails for the broker; what it yields tells whether it did not."""
    global _muted_until  # noqa: PLW0603 -- one broker, one mute for the process
    failed = False
    try:
        yield lambda: not failed
    except BROKER_AWAY as error:
        failed = True
        _muted_until = time.monotonic() + MUTE_SECONDS
        log.warning("the broker does not take messages (%s); the sweep will send again", type(error).__name__)


def waiting(queue: str) -> int | None:
    """Return how many messages wait in ``queue``, or None when the broker does not say."""
    try:
        return int(_redis().llen(queue))
    except (RedisError, OSError):
        return None


@lru_cache(maxsize=1)
def _redis() -> Redis:
    return Redis.from_url(settings.get().redis_url, socket_timeout=2, socket_connect_timeout=2)
