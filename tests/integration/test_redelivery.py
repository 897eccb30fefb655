"""An event that is asked for once more while it is being sent: it goes out after that try, and never beside it."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from sqlalchemy import delete, update

from cleanplate import db
from cleanplate.models import Delivery, DeliveryAttempt, Endpoint
from cleanplate.outcomes import Delivered, NotifyOutcome, Undelivered
from tests import tries, web
from tests.servers import wait_until
from worker import deliveries, notify
from worker.deliveries import Tried
from worker.lanes import Lanes
from worker.notifier import Notifier
from worker.notify import Letter

ENDPOINTS = "/v1/webhook-endpoints"
SECONDS = 60.0


pytestmark = pytest.mark.usefixtures("long_tries")


@pytest.fixture
def receiver(configure: Callable[..., None]) -> Iterator[web.Site]:
    configure(CLEANPLATE_ALLOW_PRIVATE_NETWORKS="127.0.0.0/8")
    with web.serving(web.says(204)) as site:
        yield site


@pytest.fixture
def delivery(client: httpx.Client, receiver: web.Site) -> Iterator[str]:
    """The id of the one delivery that is due."""
    endpoint = client.post(ENDPOINTS, json={"url": receiver.url}).json()["id"]
    yield client.post(f"{ENDPOINTS}/{endpoint}/test").json()["id"]
    with db.transaction() as tx:
        tx.execute(delete(DeliveryAttempt))
        tx.execute(delete(Delivery))


def begin() -> list[Letter]:
    with db.transaction() as tx:
        return deliveries.begin(tx, Lanes().allot(deliveries.due(tx), 0.0))


def end(letter: Letter, outcome: NotifyOutcome) -> None:
    with db.transaction() as tx:
        deliveries.settle(tx, [Tried(letter, outcome, tries.SECONDS)])


def redeliver(client: httpx.Client, delivery: str) -> Any:
    answer = client.post(f"/v1/deliveries/{delivery}/redeliver")
    assert answer.status_code == 202, answer.text
    return answer.json()


def shown(client: httpx.Client, delivery: str) -> Any:
    return client.get(f"/v1/deliveries/{delivery}").json()


@pytest.mark.parametrize(
    "outcome",
    [Delivered(204), Undelivered("the receiver answered 500", 500), Undelivered("later", 503, retry_after=900.0)],
    ids=["delivered", "failed", "asked for time"],
)
def test_it_is_due_when_its_try_has_ended_and_not_before(
    client: httpx.Client, delivery: str, outcome: NotifyOutcome
) -> None:
    (letter,) = begin()
    told = redeliver(client, delivery)
    assert (told["status"], told["tries"]) == ("pending", 1)
    assert begin() == []
    end(letter, outcome)
    with db.transaction() as tx:
        tx.execute(update(Endpoint).values(failing_since=None))
    (again,) = begin()
    assert (again.number, again.nth, again.event_id) == (2, 1, letter.event_id)
    end(again, Delivered(204))
    after = shown(client, delivery)
    assert (after["status"], after["tries"], len(after["attempts"])) == ("delivered", 2, 2)
    assert begin() == []


def test_the_last_try_of_the_schedule_does_not_end_what_was_asked_for_during_it(
    client: httpx.Client, delivery: str
) -> None:
    with db.transaction() as tx:
        tx.execute(update(Delivery).values(tries=len(notify.SCHEDULE)))
    (last,) = begin()
    redeliver(client, delivery)
    end(last, Undelivered("the receiver answered 500", 500))
    assert shown(client, delivery)["status"] == "pending"


def test_a_try_whose_notifier_died_does_not_hold_it_for_longer_than_the_lease(
    client: httpx.Client, delivery: str
) -> None:
    begin()
    redeliver(client, delivery)
    with db.transaction() as tx:
        tx.execute(update(Delivery).values(due_at=Delivery.due_at - deliveries.LEASE))
    (again,) = begin()
    assert (again.number, again.nth) == (2, 1)


def test_one_that_waits_for_its_next_try_goes_out_at_once(client: httpx.Client, delivery: str) -> None:
    (letter,) = begin()
    end(letter, Undelivered("the receiver answered 500", 500))
    assert begin() == []
    redeliver(client, delivery)
    assert [(one.number, one.nth) for one in begin()] == [(2, 1)]


def test_a_receiver_is_not_asked_again_before_it_has_answered(
    client: httpx.Client, delivery: str, receiver: web.Site
) -> None:
    released = threading.Event()

    async def answer(request: Any) -> Any:
        if request.path == "/":
            await asyncio.to_thread(released.wait, SECONDS)
        return await web.says(204)(request)

    def came() -> int:
        return [one.target for one in receiver.requests].count("/")

    def is_delivered(id_: str) -> Callable[[], bool]:
        return lambda: shown(client, id_)["status"] == "delivered"

    receiver.answer = answer
    working = Notifier(on_death=pytest.fail)
    working.start()
    try:
        wait_until(lambda: came() == 1, SECONDS)
        redeliver(client, delivery)
        other = client.post(ENDPOINTS, json={"url": f"{receiver.url}/other"}).json()["id"]
        wait_until(is_delivered(client.post(f"{ENDPOINTS}/{other}/test").json()["id"]), SECONDS)
        assert came() == 1, "what was begun with the other's came beside the try under way"
        released.set()
        wait_until(is_delivered(delivery), SECONDS)
    finally:
        released.set()
        working.end()
    assert came() == 2
