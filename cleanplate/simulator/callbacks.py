"""Tells whoever gave a webhook_url that a task has ended, as often as the vendor says."""

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Coroutine
from typing import Any

import aiohttp

from cleanplate.simulator.clock import Clock
from cleanplate.simulator.faults import Rule
from cleanplate.simulator.options import Options
from cleanplate.simulator.signing import sign_body

RETRY_SECONDS = (1, 5, 30)  # the page of the vendor on webhooks: three retries
TIMEOUT_SECONDS = 30

log = logging.getLogger(__name__)


class Callbacks:
    """Posts poll replies, with retries by the clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None
        self._underway: set[asyncio.Task[None]] = set()
        self.counts: Counter[str] = Counter()

    def start(self) -> None:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS))

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Let a coroutine run until it ends or the simulator does."""
        task = asyncio.create_task(work)
        self._underway.add(task)
        task.add_done_callback(self._underway.discard)

    async def tell(
        self, url: str, secret: str | None, reply: dict[str, Any], options: Options, fault: Rule | None
    ) -> None:
        """Post ``reply``, again after 1, 5 and 30 seconds where the receiver does not answer 2xx."""
        what = fault.what if fault else ""
        if what == "drop_before":
            self.counts["withheld"] += 1
            return
        if fault and what == "delay":
            await self._clock.sleep(fault.seconds or 0)
        body = b'{"id": "0000", "sta' if what == "broken_json" else json.dumps(reply).encode()
        known = f"not {secret}" if secret is not None and what == "forged" else secret
        headers = {"Content-Type": "application/json"} | credentials(known, body, options)
        await self._deliver(url, body, headers)
        if what == "replayed":
            await self._deliver(url, body, headers)

    def drop(self) -> None:
        """Give up whatever is still to be told, and forget what was."""
        for task in self._underway:
            task.cancel()
        self.counts.clear()

    async def close(self) -> None:
        self.drop()
        if self._session is not None:
            await self._session.close()

    async def _deliver(self, url: str, body: bytes, headers: dict[str, str]) -> None:
        for pause in (*RETRY_SECONDS, None):
            if await self._post(url, body, headers):
                self.counts["taken"] += 1
                return
            self.counts["failed"] += 1
            if pause is not None:
                await self._clock.sleep(pause)
        self.counts["given_up"] += 1

    async def _post(self, url: str, body: bytes, headers: dict[str, str]) -> bool:
        if self._session is None:
            raise RuntimeError("callbacks are not started")
        try:
            async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as answer:
                return answer.ok and answer.status < 300  # noqa: PLR2004  a redirect is no receipt
        except (aiohttp.ClientError, TimeoutError) as error:
            log.info("callback failed: %s", type(error).__name__)
            return False


def credentials(secret: str | None, body: bytes, options: Options) -> dict[str, str]:
    """Return the headers that prove a callback; the vendor documents both of them."""
    if secret is None:
        return {}
    headers = {}
    if options.callback_auth != "secret":
        headers["X-BFL-Signature"] = sign_body(secret, body)
    if options.callback_auth != "signature":
        headers["X-Webhook-Secret"] = secret
    return headers
