"""Faults that any endpoint can have: the answer is late, is not the answer, or never comes."""

import math

from aiohttp import web

from cleanplate.simulator.clock import Clock
from cleanplate.simulator.faults import Rule

WATCH_SECONDS = 0.2  # how soon it is noticed that a client kept hanging has gone
CANNED = {
    "broken_json": ('{"id": "0000", "status": "Rea', "application/json"),
    "html": ("<!DOCTYPE html><html><body>Checking your browser</body></html>", "text/html"),
}


async def answer(rule: Rule, request: web.Request, clock: Clock) -> web.StreamResponse | None:
    """Return the answer that ``rule`` gives, or None where the request goes on as if nothing had happened."""
    if rule.what == "delay":
        await clock.sleep(rule.seconds or 0)
        return None
    if rule.what == "hang":
        return await _hang(request, clock, rule.seconds or math.inf)
    if rule.what in {"drop_before", "drop_after"}:
        return cut(request)
    if rule.what == "status":
        return web.Response(status=rule.code, text=rule.body, headers=rule.headers, content_type=_guess(rule.body))
    if rule.what in CANNED:
        text, content_type = CANNED[rule.what]
        return web.Response(text=text, content_type=content_type)
    return None


def cut(request: web.Request) -> web.Response:
    """Close the connection without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _hang(request: web.Request, clock: Clock, seconds: float) -> web.Response:
    """Keep the client waiting until it goes, or for some seconds; then there is no answer either."""
    until = clock.now() + seconds
    while clock.now() < until and request.transport is not None and not request.transport.is_closing():
        await clock.sleep(WATCH_SECONDS)
    return cut(request)


def _guess(body: str) -> str:
    return "application/json" if body[:1] in {"{", "["} else "text/plain"
