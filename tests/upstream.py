"""A very small upstream for tests of the conveyor: it counts, and ends its tasks when told to. And conveyors on it."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from aiohttp import web as aio

from cleanplate import db, ids
from cleanplate.settings import Settings
from cleanplate.storage import Store
from tests import rows, web
from worker import latency
from worker.conveyor import Conveyor


class Upstream:
    """Accepts tasks and ends them after ``polls`` looks; ``refuse`` may answer a submit otherwise.

    While ``answers`` is cleared, it takes submits and keeps their answers back.
    """

    def __init__(self) -> None:
        self.site = web.Site("", self.answer)
        self.answers = threading.Event()
        self.answers.set()
        self.polls = 1
        self.end: dict[str, Any] = {"status": "Ready"}
        self.refuse: Callable[[int], web.Answer | None] = lambda _: None
        self.submits: list[dict[str, Any]] = []
        self.most = 0
        self._left: dict[str, int] = {}

    @property
    def running(self) -> int:
        return len(self._left)

    async def answer(self, request: aio.Request) -> aio.StreamResponse:
        if request.method == "GET":
            return self._look(request.query["id"])
        self.submits.append(json.loads(await request.read()))
        number = len(self.submits)
        await asyncio.to_thread(self.answers.wait)
        refusal = self.refuse(number)
        if refusal is not None:
            return await refusal(request)
        task = f"task-{number}"
        self._left[task] = self.polls
        self.most = max(self.most, self.running)
        return aio.json_response({"id": task, "polling_url": f"{self.site.url}/v1/get_result?id={task}", "cost": 5})

    def _look(self, task: str) -> aio.Response:
        if task not in self._left:
            return aio.json_response({"status": "Task not found"}, status=404)
        self._left[task] -= 1
        if self._left[task] > 0:
            return aio.json_response({"id": task, "status": "Pending"})
        del self._left[task]
        return aio.json_response({"id": task, "result": {"sample": f"{self.site.url}/{task}.png?sig=1"}} | self.end)


def queue(store: Store, count: int = 1, **columns: Any) -> list[str]:
    """Put so many pairs in the store and their jobs in the queue."""
    job_ids = [ids.new(ids.Kind.JOB) for _ in range(count)]
    for id_ in job_ids:
        for name in ("image", "mask"):
            store.put(f"inputs/{id_}/{name}.png", f"{name} of {id_}".encode(), media_type="image/png")
    with db.transaction() as tx:
        return [rows.job(tx, id=id_, **columns) for id_ in job_ids]


def reaching(upstream: Upstream, cap: int = 4, **variables: str) -> Settings:
    """Return the settings with which a conveyor reaches ``upstream``."""
    return Settings(
        BFL_API_KEY="the-key",
        BFL_BASE_URL=upstream.site.url,
        BFL_HOSTS="127.0.0.1",
        BFL_DELIVERY_HOSTS="127.0.0.1",
        BFL_MAX_IN_FLIGHT=str(cap),
        **variables,
    )


@contextmanager
def carrying(
    upstream: Upstream, store: Store, worker: str = "w1", cap: int = 4, **variables: str
) -> Iterator[Callable[[], None]]:
    """Run a conveyor on ``upstream`` for as long as the block lasts; see :func:`conveying`."""
    with conveying(reaching(upstream, cap, **variables), store, worker) as kill:
        yield kill


@contextmanager
def conveying(settings: Settings, store: Store, worker: str) -> Iterator[Callable[[], None]]:
    """Run a conveyor for as long as the block lasts; at its end it is drained, unless what is yielded killed it."""
    loop = asyncio.new_event_loop()
    conveyor = Conveyor(settings, store, worker)
    soon = patch.object(latency, "BLIND_FIRST", 0.08)  # the tasks here take no time at all
    soon.start()
    lives: list[asyncio.Task[None]] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                lives.append(loop.create_task(conveyor.run()))
                runner.run(asyncio.wait(lives))
            lives[0].result()
        except BaseException as error:  # noqa: BLE001 -- it is raised again below
            errors.append(error)

    def kill() -> None:
        loop.call_soon_threadsafe(lives[0].cancel)
        thread.join()
        errors.clear()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield kill
    finally:
        if thread.is_alive():
            loop.call_soon_threadsafe(conveyor.drain)
        thread.join()
        soon.stop()
        for threads in (conveyor._threads, conveyor._loads, conveyor._hints._thread):
            threads.shutdown()
    if errors:
        raise errors[0]
