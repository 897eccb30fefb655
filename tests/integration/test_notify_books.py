"""What the books tell of each try: begun before it, ended after it, and nothing of the secret."""

import json
from typing import Any

import pytest

from cleanplate import db
from cleanplate.outcomes import Delivered
from tests import rows, tries, web
from tests.seen import passing
from tests.tries import attempts, delivery, endpoint_of, make_due, row
from worker import deliveries, notify
from worker.deliveries import Tried
from worker.lanes import Lanes

pytestmark = pytest.mark.usefixtures("database", "loopback_receivers")


def test_the_try_is_counted_and_booked_before_it_is_made_so_a_worker_that_dies_repeats_it(receiver: web.Site) -> None:
    delivery_id = delivery(receiver.url)
    seen = []

    async def look(request: Any) -> Any:
        ((number, ended),) = [(one.number, one.duration_ms) for one in attempts(delivery_id)]
        seen.append((row(delivery_id), number, ended))
        return await web.says(200)(request)

    receiver.answer = look
    with passing() as span:
        tries.make()
    ((then, *booked),) = seen
    assert (then.tries, booked) == (1, [1, None])
    assert then.due_at - deliveries.LEASE in span


def test_an_answer_that_comes_when_the_try_was_made_again_only_stands_in_the_books(receiver: web.Site) -> None:
    delivery_id = delivery(receiver.url)
    with db.transaction() as tx:
        (late,) = deliveries.begin(tx, Lanes().allot(deliveries.due(tx), 0.0))
    make_due(delivery_id)
    receiver.answer = web.says(500)
    tries.make()
    with db.transaction() as tx:
        deliveries.settle(tx, [Tried(late, Delivered(204), 40.0)])
    assert (row(delivery_id).state, row(delivery_id).last_status) == ("pending", 500)
    assert [(one.number, one.status, one.duration_ms) for one in attempts(delivery_id)] == [
        (1, 204, 40_000),
        (2, 500, 250),
    ]


def test_the_books_tell_every_try_with_the_beginning_of_its_answer(receiver: web.Site) -> None:
    long = "ü".encode() * 2000
    receiver.answer = web.in_turn(web.says(500, b"no\0\xff"), web.hangs_up, web.says(200, long))
    delivery_id = delivery(receiver.url)
    for _ in range(3):
        make_due(delivery_id)
        tries.make()
    broken, silent, done = attempts(delivery_id)
    assert (broken.status, broken.error, broken.answer) == (500, "the receiver answered 500", "no\ufffd\ufffd")
    assert (silent.status, silent.answer) == (None, None)
    assert (silent.error or "").startswith("no answer")
    assert (done.status, done.error, done.answer) == (200, None, "ü" * (notify.ANSWER_KEPT // 2))
    assert {one.duration_ms for one in (broken, silent, done)} == {250}


def test_nothing_that_is_kept_or_logged_of_a_delivery_shows_the_secret(
    receiver: web.Site, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answer = web.says(500, b"whatever")
    delivery_id = delivery(receiver.url)
    tries.make()
    kept = json.dumps([str(value) for value in (vars(row(delivery_id)), vars(endpoint_of(delivery_id)))])
    assert rows.SIGNING_SECRET not in kept + caplog.text
    assert caplog.text
