"""The notifier as it runs: what is due is tried at once, and nobody waits for a receiver that hangs."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select, update
from sqlalchemy.exc import OperationalError

from cleanplate import db, outbound, outbox
from cleanplate.models import Delivery, DeliveryAttempt
from tests import rows, web
from tests.servers import wait_until
from worker import deliveries, notifier, notify
from worker.lanes import FIRST_REST_SECONDS, OF_ENDPOINT
from worker.notifier import Notifier

pytestmark = pytest.mark.usefixtures("database", "loopback_receivers", "long_tries")


@contextmanager
def running() -> Iterator[Notifier]:
    working = Notifier(on_death=pytest.fail)
    working.start()
    try:
        yield working
    finally:
        working.end()
    assert not working.is_alive()


def receiver(url: str) -> str:
    with db.transaction() as tx:
        return rows.endpoint(tx, url, one_off=True)


def publish(endpoint: str, count: int = 1) -> None:
    with db.transaction() as tx:
        for _ in range(count):
            outbox.publish(tx, rows.TENANT, "webhook.test", {}, {endpoint})
    notifier.notify("")


def states(endpoint: str) -> list[str]:
    with db.transaction() as tx:
        return list(tx.scalars(select(Delivery.state).where(Delivery.endpoint_id == endpoint)))


def all_of(endpoint: str, state: str) -> Callable[[], bool]:
    return lambda: set(states(endpoint)) == {state}


def test_what_is_published_is_delivered_without_a_message_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    with web.serving(web.says(204)) as site, running():
        rung = receiver(f"{site.url}/rung")
        publish(rung, 3)
        wait_until(all_of(rung, "delivered"))
        monkeypatch.setattr(notifier, "notify", lambda _: None)
        forgotten = receiver(f"{site.url}/forgotten")
        publish(forgotten, 3)
        wait_until(all_of(forgotten, "delivered"))
    assert sorted(request.target for request in site.requests) == ["/forgotten"] * 3 + ["/rung"] * 3


def test_while_receivers_hang_the_others_hear_and_each_that_hangs_is_asked_for_little(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(notify, "TIMEOUT_SECONDS", 300.0)
    hanging: list[str] = []
    released = threading.Event()

    async def answer(request: Any) -> Any:
        if request.path.startswith("/hangs"):
            hanging.append(request.path)
            await asyncio.to_thread(released.wait, 300)
        return await web.says(200)(request)

    with web.serving(answer) as site, running():
        dead = [receiver(f"{site.url}/hangs/{number}") for number in range(5)]
        for endpoint in dead:
            publish(endpoint, 4 * OF_ENDPOINT)
        wait_until(lambda: len(hanging) == OF_ENDPOINT * len(dead))
        well = receiver(f"{site.url}/well")
        publish(well, 50)
        wait_until(all_of(well, "delivered"))
        assert len(hanging) == OF_ENDPOINT * len(dead)
        released.set()
        for endpoint in dead:
            wait_until(all_of(endpoint, "delivered"))


def test_names_whose_servers_hang_cost_a_thread_each_and_hold_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "TIMEOUT_SECONDS", 300.0)
    hanging: list[str] = []
    released = threading.Event()

    def system(host: str, _port: int) -> list[str]:
        if host.startswith("dead"):
            hanging.append(host)
            released.wait(300)
        return ["127.0.0.1"]

    monkeypatch.setattr(outbound.LOOKUPS, "_system", system)
    with web.serving(web.says(204)) as site, running() as working:
        port = httpx.URL(site.url).port
        dead = [receiver(f"http://dead-{number}.example.test:{port}/") for number in range(5)]
        for endpoint in dead:
            publish(endpoint, 4 * OF_ENDPOINT)
        wait_until(lambda: working._lanes.taken == OF_ENDPOINT * len(dead) and len(hanging) == len(dead))
        well = receiver(f"http://alive.example.test:{port}/")
        publish(well, 50)
        wait_until(all_of(well, "delivered"))
        assert len(hanging) == len(dead)
        released.set()
        for endpoint in dead:
            wait_until(all_of(endpoint, "delivered"))


def test_a_try_whose_name_is_not_looked_up_ends_in_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()
    monkeypatch.setattr(notify, "TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr(outbound.LOOKUPS, "_system", lambda _host, _port: answered.wait(120) and ["127.0.0.1"])
    with running():
        publish(receiver("http://hooks.example.test/"))
        wait_until(lambda: _errors() == ["no answer (ConnectTimeout)"])
        answered.set()


def _errors() -> list[str | None]:
    with db.transaction() as tx:
        return list(tx.scalars(select(DeliveryAttempt.error).where(DeliveryAttempt.duration_ms.is_not(None))))


def test_two_notifiers_send_nothing_twice() -> None:
    with web.serving(web.says(204)) as site, running(), running():
        endpoints = [receiver(f"{site.url}/{number}") for number in range(4)]
        for endpoint in endpoints:
            publish(endpoint, 20)
        for endpoint in endpoints:
            wait_until(all_of(endpoint, "delivered"))
    assert len(site.requests) == len({request.headers["webhook-id"] for request in site.requests}) == 80


def test_one_that_fails_is_asked_once_and_then_rests_and_all_it_missed_comes_when_it_is_well() -> None:
    asked: list[float] = []

    async def fails(request: Any) -> Any:
        asked.append(time.monotonic())
        return await web.says(500)(request)

    with web.serving(fails) as site, running():
        endpoint = receiver(site.url)
        publish(endpoint)
        wait_until(lambda: len(site.requests) == 1)
        wait_until(lambda: _attempts() == [500])
        publish(endpoint, 20)
        wait_until(lambda: len(asked) == 3)
        assert asked[2] - asked[1] >= 2 * FIRST_REST_SECONDS
        site.answer = web.says(200)
        with db.transaction() as tx:
            tx.execute(update(Delivery).where(Delivery.state == "pending").values(due_at=func.now()))
        wait_until(all_of(endpoint, "delivered"))
    heard = {request.headers["webhook-id"] for request in site.requests}
    assert len(heard) == 21


def _attempts() -> list[int | None]:
    with db.transaction() as tx:
        return list(tx.scalars(select(DeliveryAttempt.status).where(DeliveryAttempt.duration_ms.is_not(None))))


def test_told_to_end_it_waits_for_the_answers_under_way_and_begins_nothing_new() -> None:
    asked, go = threading.Event(), threading.Event()

    async def answer(request: Any) -> Any:
        asked.set()
        await asyncio.to_thread(go.wait, 300)
        return await web.says(200)(request)

    with web.serving(answer) as site:
        working = Notifier(on_death=pytest.fail)
        working.start()
        first = receiver(f"{site.url}/first")
        publish(first)
        assert asked.wait(300)
        ending = threading.Thread(target=working.end)
        ending.start()
        wait_until(lambda: working._until is not None)
        late = receiver(f"{site.url}/late")
        publish(late)
        go.set()
        ending.join()
        assert (states(first), states(late)) == (["delivered"], ["pending"])
        assert [request.target for request in site.requests] == ["/first"]


def test_what_came_while_the_database_was_away_is_written_when_it_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    away = threading.Event()
    lost: list[int] = []
    monkeypatch.setattr(notifier, "AWAY_SECONDS", 0.01)
    really = deliveries.settle

    def settle(tx: db.Transaction, tried: list[deliveries.Tried]) -> None:
        really(tx, tried)
        if tried and away.is_set():
            lost.append(len(tried))
            raise OperationalError("COMMIT", {}, Exception("the server closed the connection"))

    monkeypatch.setattr(deliveries, "settle", settle)
    with web.serving(web.says(200)) as site, running():
        away.set()
        endpoint = receiver(site.url)
        publish(endpoint)
        wait_until(lambda: len(lost) >= 2)
        assert states(endpoint) == ["pending"]
        away.clear()
        wait_until(all_of(endpoint, "delivered"))
    assert len(site.requests) == 1


def test_a_notifier_that_breaks_brings_its_worker_down(monkeypatch: pytest.MonkeyPatch) -> None:
    deaths: list[BaseException] = []
    working = Notifier(deaths.append)

    def breaks(_: object) -> None:
        raise KeyError("no such thing")

    monkeypatch.setattr(deliveries, "due", breaks)
    with pytest.raises(KeyError):
        working.run()
    assert [type(death) for death in deaths] == [KeyError]


def test_told_to_end_it_does_not_sit_out_its_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = threading.Event()

    def away(_: object) -> None:
        looked.set()
        raise OperationalError("SELECT", {}, Exception("the server is starting up"))

    monkeypatch.setattr(deliveries, "due", away)
    monkeypatch.setattr(notifier, "AWAY_SECONDS", 300.0)
    monkeypatch.setattr(notifier, "GATHER_SECONDS", 300.0)
    with running():
        assert looked.wait(300)
