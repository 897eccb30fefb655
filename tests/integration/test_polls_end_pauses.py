"""An account that was paused because a poll was refused goes on when a poll is answered, also when no job waits."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
from aiohttp import web as aio
from sqlalchemy import select

from cleanplate import accounts, db
from cleanplate.models import Account
from cleanplate.states import State
from cleanplate.storage import Store
from tests import rows
from tests.servers import wait_until
from tests.upstream import Upstream, queue

pytestmark = pytest.mark.usefixtures("database", "quick_conveyor")

Start = Callable[..., AbstractContextManager[Callable[[], None]]]


def reason() -> str | None:
    with db.transaction() as tx:
        return tx.scalar(select(Account.paused_reason))


@pytest.mark.parametrize("looks", [1, 3])
def test_a_pause_that_a_refused_poll_began_ends_with_one_that_is_answered(
    upstream: Upstream, store: Store, start: Start, looks: int
) -> None:
    (job_id,) = queue(store)
    upstream.polls = looks
    refused: list[aio.Request] = []
    paused: list[str | None] = []

    async def answer(request: aio.Request) -> aio.StreamResponse:
        if request.method == "GET" and not refused:
            refused.append(request)
            return aio.Response(status=401)
        if request.method == "GET":
            paused.append(reason())
        return await upstream.answer(request)

    upstream.site.answer = answer
    with start():
        wait_until(lambda: state(job_id) is State.READY)
        wait_until(lambda: reason() is None)
    assert paused[0] == "access"


def test_what_a_person_has_paused_stays_so(upstream: Upstream, store: Store, start: Start) -> None:
    (job_id,) = queue(store)
    refused: list[aio.Request] = []

    async def answer(request: aio.Request) -> aio.StreamResponse:
        if request.method == "GET" and not refused:
            refused.append(request)
            with db.transaction() as tx:
                accounts.pause(tx, rows.ACCOUNT, accounts.BY_HAND, "test")
            return aio.Response(status=401)
        return await upstream.answer(request)

    upstream.site.answer = answer
    with start():
        wait_until(lambda: state(job_id) is State.READY)
    assert reason() == accounts.BY_HAND


def state(job_id: str) -> State:
    with db.transaction() as tx:
        return rows.states(tx, [job_id])[job_id]
