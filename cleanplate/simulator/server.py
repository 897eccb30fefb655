"""Three listening sites on three loopback addresses, so that following a URL can be told from guessing it."""

import asyncio
import contextlib
import errno
import json
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from aiohttp import web

from cleanplate.simulator.admin import Admin
from cleanplate.simulator.api import Api
from cleanplate.simulator.clock import Clock
from cleanplate.simulator.delivery import Delivery
from cleanplate.simulator.options import Options, Place
from cleanplate.simulator.upstream import Upstream

POLLING_HOST, DELIVERY_HOST = "127.0.0.2", "127.0.0.3"
MAX_BODY = 128 << 20  # two pictures of 20 MP in base64
GRACE_SECONDS = 0.1  # for answers under way; a simulator has nothing to finish


@contextlib.asynccontextmanager
async def serving(options: Options, keys: list[str], place: Place) -> AsyncIterator[dict[str, str]]:
    """Serve until the block is left; yields the URLs. Raises OSError where a port is taken."""
    folder = place.state_dir or Path(tempfile.mkdtemp(prefix="simulator-"))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    upstream = Upstream(options, keys, folder, Clock(), lasting=place.state_dir is not None)
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(_leave, upstream, folder, place)
        api = await _runner(stack, Api(upstream).routes() + Admin(upstream).routes())
        delivery = await _runner(stack, Delivery(upstream).routes())
        base = await _listen(api, place.host, place.port)
        polling = await _listen_beside(api, POLLING_HOST, base, 1, place)
        results = await _listen_beside(delivery, DELIVERY_HOST, base, 2, place)
        upstream.polling_url, upstream.delivery_url = _url(polling, place), _url(results, place)
        upstream.callbacks.start()
        stack.push_async_callback(upstream.callbacks.close)
        upstream.resume()
        for work in (upstream.studio.run(), upstream.sweep()):
            stack.push_async_callback(_cancel, asyncio.create_task(work))
        base_url = _url(base, place)
        yield {
            "base_url": base_url,
            "polling_url": upstream.polling_url,
            "delivery_url": upstream.delivery_url,
            "admin_url": f"{base_url}/admin",
        }


async def _runner(stack: contextlib.AsyncExitStack, routes: list[web.RouteDef]) -> web.AppRunner:
    app = web.Application(client_max_size=MAX_BODY)
    app.add_routes([*routes, web.get("/healthz", _healthz), web.route("*", "/{path:.*}", _not_found)])
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=GRACE_SECONDS)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    return runner


async def _listen(runner: web.AppRunner, host: str, port: int) -> tuple[str, int]:
    site = web.TCPSite(runner, host, port)
    await site.start()
    return host, int(runner.addresses[-1][1])


async def _listen_beside(
    runner: web.AppRunner, host: str, base: tuple[str, int], step: int, place: Place
) -> tuple[str, int]:
    """Listen on another loopback address, or, where this machine has only one, on another port."""
    if base[0] == "127.0.0.1":
        try:
            return await _listen(runner, host, place.port)
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:
                raise
    return await _listen(runner, base[0], place.port and place.port + step)


def _url(address: tuple[str, int], place: Place) -> str:
    host, port = address
    name = place.advertise if place.advertise and host == place.host else host
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def _leave(upstream: Upstream, folder: Path, place: Place) -> None:
    upstream.studio.close()
    upstream.ledger.close()
    if place.state_dir is None:
        shutil.rmtree(folder, ignore_errors=True)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def _healthz(_: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


async def _not_found(_: web.Request) -> web.Response:
    return web.Response(status=404, text=json.dumps({"detail": "Not Found"}), content_type="application/json")
