"""A small real HTTP server on 127.0.0.1 for tests: it remembers what it was sent and answers, or not, as it is told."""

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from multidict import CIMultiDictProxy


@dataclass(frozen=True)
class Request:
    """What came: ``target`` is the path with its query."""

    method: str
    target: str
    headers: CIMultiDictProxy[str]
    body: bytes


@dataclass
class Site:
    """The server's address, how it answers (to be changed at any time), and all that it has been sent."""

    url: str
    answer: "Answer"
    requests: list[Request] = field(default_factory=list)


Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@contextmanager
def serving(answer: Answer) -> Iterator[Site]:
    """Serve on a free port, on a thread, and yield the site."""
    site = Site("", answer)
    started = threading.Event()
    loop = asyncio.new_event_loop()
    ended = asyncio.Event()

    async def handle(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        site.requests.append(Request(request.method, request.path_qs, request.headers, body))
        return await site.answer(request)

    async def serve() -> None:
        application = web.Application(client_max_size=1 << 30)
        application.router.add_route("*", "/{path:.*}", handle)
        runner = web.AppRunner(application, shutdown_timeout=0.01, access_log=None, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        site.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        started.set()
        await ended.wait()
        await runner.cleanup()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(serve())

    thread = threading.Thread(target=run)
    thread.start()
    try:
        started.wait()
        yield site
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()


@contextmanager
def refusing() -> Iterator[str]:
    """Yield a URL at which every connection is refused; its port is nobody else's meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


def says(status: int = 200, body: Any = b"", **headers: str) -> Answer:
    """Answer this: bytes as they are, anything else as JSON; underscores in the names of headers are dashes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    async def answer(_request: web.Request) -> web.StreamResponse:
        if isinstance(body, bytes):
            return web.Response(status=status, body=body, headers=named)
        return web.json_response(body, status=status, headers=named)

    return answer


def in_turn(*answers: Answer) -> Answer:
    """Give each of these answers once, in this order, and the last from then on."""
    left = list(answers)

    async def answer(request: web.Request) -> web.StreamResponse:
        return await (left.pop(0) if len(left) > 1 else left[0])(request)

    return answer


async def hangs_up(request: web.Request) -> web.StreamResponse:
    """Take the whole request and close the connection without a word."""
    assert request.transport is not None
    request.transport.close()
    return web.Response()


async def stays_silent(_request: web.Request) -> web.StreamResponse:
    """Take the whole request and never answer."""
    await asyncio.Event().wait()
    raise AssertionError


async def breaks_off(request: web.Request) -> web.StreamResponse:
    """Promise a thousand bytes and close the connection after the first."""
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b"{")
    assert request.transport is not None
    request.transport.close()
    return response
