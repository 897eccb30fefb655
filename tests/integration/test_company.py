"""What a notifier was trying when it was killed is tried by the next one, long before the lease ends."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import func, select, update

from cleanplate import db, outbox
from cleanplate.models import Delivery
from tests import rows, web
from tests.servers import wait_until
from worker import company, deliveries
from worker.company import Company
from worker.notifier import Notifier

SECONDS = 60.0

pytestmark = pytest.mark.usefixtures("database", "_soon", "long_tries")


@pytest.fixture
def _soon(configure: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    configure(CLEANPLATE_ALLOW_PRIVATE_NETWORKS="127.0.0.0/8", CLEANPLATE_SECRET_KEYS=Fernet.generate_key().decode())
    monkeypatch.setattr(company, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(company, "SILENCE_SECONDS", 0.2)


@contextmanager
def present() -> Iterator[Company]:
    its = Company()
    try:
        its.left_alone()
        yield its
    finally:
        its.leave()


def delivery(url: str) -> str:
    with db.transaction() as tx:
        endpoint = rows.endpoint(tx, url, one_off=True)
        outbox.publish(tx, rows.TENANT, "webhook.test", {}, {endpoint})
        return endpoint


def begin(endpoint: str) -> tuple[str, int]:
    with db.transaction() as tx:
        (letter,) = deliveries.begin(tx, Counter({endpoint: 1}))
        return letter.key


def due() -> set[str]:
    with db.transaction() as tx:
        return {one.endpoint_id for one in deliveries.due(tx)}


def test_who_is_alone_for_a_while_is_told_so_once() -> None:
    with present() as one:
        wait_until(one.left_alone)
        assert not any(one.left_alone() for _ in range(20))


def test_who_is_not_alone_is_told_when_the_others_are_gone() -> None:
    with present() as one:
        with present():
            wait_until(lambda: not one.left_alone() and one._since is None)
        wait_until(one.left_alone)
        with present():
            assert not one.left_alone()
        wait_until(one.left_alone)


def test_a_session_that_was_cut_is_begun_again_and_the_silence_with_it() -> None:
    with present() as one:
        wait_until(one.left_alone)
        assert one._session is not None
        pid = one._session.info.backend_pid
        with db.transaction() as tx:
            tx.scalar(select(func.pg_terminate_backend(pid)))
        wait_until(lambda: not one.left_alone() and one._session is None)
        assert not one.left_alone()
        wait_until(one.left_alone)


def test_what_the_dead_were_trying_is_due_at_once_and_what_is_ones_own_is_not() -> None:
    mine, others, later, ended = (delivery(f"http://127.0.0.1:9/{number}") for number in range(4))
    key = begin(mine)
    begin(others)
    begin(ended)
    with db.transaction() as tx:
        hour = func.now() + func.make_interval(0, 0, 0, 0, 1)
        tx.execute(update(Delivery).where(Delivery.endpoint_id == later).values(due_at=hour))
        tx.execute(update(Delivery).where(Delivery.endpoint_id == ended).values(state="delivered"))
    assert due() == set()
    with db.transaction() as tx:
        deliveries.inherit(tx, [key])
    assert due() == {others}
    with db.transaction() as tx:
        deliveries.inherit(tx, [])
    assert due() == {mine, others}


def test_the_next_notifier_makes_the_tries_of_one_that_was_killed() -> None:
    with web.serving(web.says(204)) as site:
        endpoint = delivery(site.url)
        begin(endpoint)  # and whoever began it is no more
        working = Notifier(on_death=pytest.fail)
        working.start()
        try:
            wait_until(lambda: site.requests)
        finally:
            working.end()


def test_a_notifier_leaves_the_tries_of_one_that_lives_alone() -> None:
    with web.serving(web.says(204)) as site, present():
        begin(delivery(f"{site.url}/others"))
        looked = threading.Event()
        working = Notifier(on_death=pytest.fail)
        really = working._company.left_alone
        answers: list[bool] = []

        def left_alone() -> bool:
            answers.append(really())
            if len(answers) > 5:
                looked.set()
            return answers[-1]

        working._company.left_alone = left_alone  # type: ignore[method-assign]
        working.start()
        try:
            assert looked.wait(SECONDS)
        finally:
            working.end()
        assert not any(answers)
        assert site.requests == []
