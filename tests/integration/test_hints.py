"""The lane that sends a conveyor's messages."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from cleanplate import queue
from cleanplate.storage import Store
from tests import servers
from tests import upstream as upstreams
from tests.upstream import Upstream
from worker.conveyor import Conveyor
from worker.hints import Hints


def test_what_is_wished_for_is_sent_and_what_comes_meanwhile_goes_together(
    broker: Callable[[str], None], tmp_path: Path
) -> None:
    async def story() -> None:
        hints = Hints()
        for number in range(5):
            hints.send(partial(queue.send, "finalize", f"job_{number}"))
        lane = asyncio.create_task(hints.lane())
        await asyncio.to_thread(servers.wait_until, lambda: queue.waiting("finalize") == 5)
        hints.send(partial(queue.send, "finalize", "job_5"))
        await asyncio.to_thread(servers.wait_until, lambda: queue.waiting("finalize") == 6)
        lane.cancel()
        with suppress(asyncio.CancelledError):
            await lane
        hints._thread.shutdown()

    with servers.running_redis(tmp_path) as url:
        broker(url)
        asyncio.run(story())


@pytest.mark.usefixtures("database", "quick_conveyor")
def test_a_message_that_cannot_even_be_made_brings_its_conveyor_down(
    upstream: Upstream, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no such transport")

    monkeypatch.setattr(queue, "send", broken)
    upstreams.queue(store, 1)
    conveyor = Conveyor(upstreams.reaching(upstream), store, "w1")
    with pytest.raises(ExceptionGroup) as raised:
        asyncio.run(conveyor.run())
    assert raised.group_contains(RuntimeError, match="no such transport")
