"""The Celery application of the workers: tasks by name, and the steps that a worker of each role hosts.

The role is the queue: ``-Q import``, ``-Q finalize``, ``-Q notify`` or ``-Q conveyor``. A conveyor's worker takes no
messages at all; Celery gives it what it gives every worker: start, stop, signals, supervision.
"""

import asyncio
import gc
import logging
import os
import socket
import sys
import threading
from typing import Any, Final

from celery import bootsteps, signals

from cleanplate import db, logs, queue, settings
from cleanplate.local.commands import WORKER_READY
from cleanplate.storage import StoreError, open_store
from worker.conveyor import Conveyor
from worker.finalize import finalize, warm_up
from worker.importing import import_pair
from worker.notifier import Notifier, notify
from worker.sweep import Sweeper

log = logging.getLogger(__name__)

GARBAGE: Final = 10_000
"""After how many new objects cycles are looked for: of 700, Python's own, most are still in use among many jobs."""
SWITCH_SECONDS: Final = 0.001
"""How long a thread that talks to the database may keep the event loop waiting; by default it is five times that."""

app = queue.app
app.task(name="import")(import_pair)
app.task(name="finalize")(finalize)
app.task(name="notify")(notify)

EXIT_SOFTWARE = 70


def die(error: BaseException) -> None:
    """End this process at once: a worker with a dead lane would hold its jobs and move none of them."""
    log.critical("this worker cannot go on and ends; what it held is rescued", exc_info=error)
    logging.shutdown()
    os._exit(EXIT_SOFTWARE)


def _consumes(worker: Any, *names: str) -> bool:
    return bool(set(worker.app.amqp.queues.consume_from) & set(names))


class ConveyorStep(bootsteps.StartStopStep):
    """Runs the conveyor on a thread with an event loop of its own."""

    def include_if(self, worker: Any) -> bool:
        return _consumes(worker, queue.CONVEYOR)

    def start(self, _worker: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="conveyor")
        self._thread.start()

    def stop(self, _worker: Any) -> None:
        self._loop.call_soon_threadsafe(self._conveyor.drain)
        self._thread.join()

    def _run(self) -> None:
        try:
            config = settings.get()
            if config.keyless:
                log.warning("neither BFL_API_KEY nor BFL_API_KEYS is set: the upstream will refuse every submit")
            self._conveyor = Conveyor(config, open_store(config.storage_url), _worker_id())
            gc.freeze()  # what was imported stays: to look through it again would stop every job meanwhile
            gc.set_threshold(GARBAGE)
            sys.setswitchinterval(SWITCH_SECONDS)
            self._loop.run_until_complete(self._conveyor.run())
            self._loop.close()
        except BaseException as error:  # noqa: BLE001 -- whatever it is, the worker must not outlive its conveyor
            die(error)


class SweepStep(bootsteps.StartStopStep):
    """Runs the sweep on a thread, in the workers that do not fork."""

    def include_if(self, worker: Any) -> bool:
        return _consumes(worker, queue.CONVEYOR, queue.NOTIFY)

    def start(self, _worker: Any) -> None:
        self._sweeper = Sweeper(die)
        self._sweeper.start()

    def stop(self, _worker: Any) -> None:
        self._sweeper.end()


class NotifyStep(bootsteps.StartStopStep):
    """Runs the notifier on a thread; the worker's messages only ring its bell."""

    def include_if(self, worker: Any) -> bool:
        return _consumes(worker, queue.NOTIFY)

    def start(self, _worker: Any) -> None:
        self._notifier = Notifier(die)
        self._notifier.start()

    def stop(self, _worker: Any) -> None:
        self._notifier.end()


def _worker_id() -> str:
    return f"{socket.gethostname()}:{os.getpid()}:{os.urandom(4).hex()}"


@signals.worker_process_init.connect
def _warm_up(**_: Any) -> None:
    try:
        warm_up()
    except (*db.AWAY, StoreError) as error:
        log.warning("not warmed up (%s): the first result takes longer", db.words(error))


@signals.worker_ready.connect
def _say_ready(**_: Any) -> None:
    sys.stdout.write(f"{WORKER_READY}\n")  # whatever the log level: `cleanplate up` waits for it
    sys.stdout.flush()


@signals.setup_logging.connect
def _setup_logging(**_: Any) -> None:
    logs.setup(settings.get().log_level)


app.steps["worker"].update({ConveyorStep, NotifyStep, SweepStep})
