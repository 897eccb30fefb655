"""What is left on the accounts: asked now and then, and a reason to go on when it shows that a fault is mended."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from aiohttp import web as aio
from sqlalchemy import select, update

from cleanplate import accounts, db, settings
from cleanplate.models import Account
from tests import rows, web
from worker.balances import Balances

pytestmark = pytest.mark.usefixtures("database")

KEY = "key-hunter2"


@dataclass
class Desk:
    """An upstream that is asked for balances: it answers ``status`` with ``body``. ``now`` is what the clock shows."""

    site: web.Site
    status: int = 200
    body: str = '{"credits": 1200.5}'
    now: float = 1000.0
    balances: Balances = field(init=False)

    def __post_init__(self) -> None:
        self.balances = Balances(clock=lambda: self.now)
        self.site.answer = self.answer

    async def answer(self, _: aio.Request) -> aio.Response:
        return aio.Response(status=self.status, text=self.body, headers={"Location": "/elsewhere"})

    def ask(self, later: float = 0.0) -> None:
        self.now += later
        assert self.balances.see_to() is False

    @property
    def asked(self) -> int:
        return len(self.site.requests)


async def _nothing(_: aio.Request) -> aio.Response:
    raise AssertionError


@pytest.fixture
def desk(configure: Callable[..., None]) -> Iterator[Desk]:
    with web.serving(_nothing) as site:
        configure(BFL_API_KEY=KEY, BFL_BASE_URL=site.url, BFL_HOSTS="127.0.0.1")
        with db.transaction() as tx:
            rows.account(tx)
        yield Desk(site)


def account() -> Account:
    with db.transaction() as tx:
        return tx.scalars(select(Account)).one()


def pause(reason: str) -> None:
    with db.transaction() as tx:
        accounts.pause(tx, rows.ACCOUNT, reason, "test")


def test_it_is_asked_with_the_key_and_written_down(desk: Desk) -> None:
    desk.ask()
    (request,) = desk.site.requests
    assert (request.method, request.target, request.headers["x-key"]) == ("GET", "/v1/credits", KEY)
    assert account().balance_credits == 1200.5
    assert account().balance_at is not None


def test_it_is_asked_once_a_minute_and_more_often_while_an_account_is_paused(desk: Desk) -> None:
    desk.ask()
    desk.ask(59)
    assert desk.asked == 1
    desk.ask(1)
    assert desk.asked == 2
    pause("credits")
    desk.ask(9)
    assert desk.asked == 2
    desk.ask(1)
    assert desk.asked == 3


@pytest.mark.parametrize(
    ("reason", "status", "body"), [("credits", 200, '{"credits": 4}'), ("access", 401, ""), ("access", 403, "")]
)
def test_a_pause_ends_when_what_the_balance_told_is_mended(desk: Desk, reason: str, status: int, body: str) -> None:
    pause(reason)
    good, (desk.status, desk.body) = desk.body, (status, body)
    desk.ask()
    assert account().paused_reason == reason
    desk.status, desk.body = 200, good
    desk.ask(60)
    assert account().paused_reason is None


@pytest.mark.parametrize("reason", ["credits", "access", accounts.BY_HAND])
def test_a_pause_that_the_balance_does_not_explain_goes_on(desk: Desk, reason: str) -> None:
    pause(reason)
    for _ in range(3):
        desk.ask(60)
    assert account().paused_reason == reason


def test_what_a_person_has_paused_stays_so_whatever_is_mended(desk: Desk) -> None:
    pause(accounts.BY_HAND)
    desk.status = 401
    desk.ask()
    desk.status = 200
    desk.ask(60)
    assert account().paused_reason == accounts.BY_HAND


@pytest.mark.parametrize(
    ("status", "body"),
    [(500, ""), (302, ""), (200, "<html>"), (200, "[]"), (200, '{"credits": null}'), (200, '{"credits": NaN}')],
)
def test_an_answer_that_tells_nothing_changes_nothing(
    desk: Desk, caplog: pytest.LogCaptureFixture, status: int, body: str
) -> None:
    with db.transaction() as tx:
        tx.execute(update(Account).values(balance_credits=7.0))
    desk.status, desk.body = status, body
    desk.ask()
    assert (account().balance_credits, desk.asked) == (7.0, 1)
    assert "the balance of account default is not known" in caplog.text
    assert KEY not in caplog.text


def test_the_key_goes_to_no_host_that_is_not_named(desk: Desk, configure: Callable[..., None]) -> None:
    configure(BFL_HOSTS=".bfl.ai")
    desk.ask()
    assert desk.asked == 0


def test_without_a_key_nobody_is_asked(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BFL_API_KEY")
    settings.get.cache_clear()
    desk.ask()
    assert desk.asked == 0
