"""What is left on each upstream account: asked every minute, and more often while one is paused. Asking costs nothing.

So an account that had no credits, or whose key was refused, is found to be mended also while no job waits to try it.
"""

import logging
import math
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

import httpx
from sqlalchemy import func, select, update

from cleanplate import accounts, db, settings
from cleanplate.access import Access
from cleanplate.models import Account
from worker import bfl

log = logging.getLogger(__name__)

PATH: Final = "/v1/credits"
TIMEOUT: Final = httpx.Timeout(10.0, connect=5.0)
EVERY_SECONDS, PAUSED_SECONDS = 60.0, 10.0
ACCESS, CREDITS = "access", "credits"
"""The reasons of pauses that a balance tells of."""


class Balances:
    """Asks for the balance of each account when it is time to, and ends a pause when its reason has gone since."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._asked: dict[str, float] = {}
        self._amiss: dict[str, str | None] = {}

    def see_to(self) -> bool:
        """Ask for those that are due, unless there is no key at all; return False: none is due again at once."""
        config = settings.get()
        if config.keyless:
            return False
        with db.transaction() as tx:
            paused = set(tx.scalars(select(Account.name).where(accounts.IS_PAUSED)))
        for one in config.upstream_accounts:
            pause = PAUSED_SECONDS if one.name in paused else EVERY_SECONDS
            if self._clock() - self._asked.get(one.name, -math.inf) >= pause:
                self._asked[one.name] = self._clock()
                self._see_to(one, config.bfl_hosts)
        return False

    def _see_to(self, one: Access, hosts: tuple[str, ...]) -> None:
        try:
            left = self._ask(one, hosts)
        except (httpx.HTTPError, *bfl.UNREADABLE) as error:
            log.warning("the balance of account %s is not known: %s", one.name, type(error).__name__)
            return
        with db.transaction() as tx:
            accounts.lock(tx)
            if left is not None:
                mine = update(Account).where(Account.name == one.name)
                tx.execute(mine.values(balance_credits=left, balance_at=func.now()))
            short = CREDITS if left is not None and left < accounts.price(tx) else None
            before, now = self._amiss.get(one.name), ACCESS if left is None else short
            self._amiss[one.name] = now
            reason = tx.scalar(select(Account.paused_reason).where(Account.name == one.name))
            if before is not None and now is None and reason == before:
                accounts.resume(tx, one.name)

    def _ask(self, one: Access, hosts: tuple[str, ...]) -> float | None:
        """Return the credits that are left, or None when the key is refused.

        Raises ``httpx.HTTPError``, or what taking the answer apart raises; the key goes to ``hosts`` alone.
        """
        url = one.base_url.rstrip("/") + PATH
        if not bfl.host_allowed(url, hosts):
            raise httpx.UnsupportedProtocol("not one of BFL_HOSTS")
        key = {"x-key": one.key.get_secret_value()}
        response = httpx.get(url, headers=key, timeout=TIMEOUT, follow_redirects=False, trust_env=False)
        if response.status_code in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            return None
        response.raise_for_status()
        left = float(response.json()["credits"])
        if not math.isfinite(left):
            raise ValueError(left)
        return left
