"""The delivery host: results by signed link. No key is asked for, and one that comes is counted."""

import asyncio

import cv2
from aiohttp import web

from cleanplate.simulator import mishaps, pictures
from cleanplate.simulator.faults import Rule
from cleanplate.simulator.signing import opens
from cleanplate.simulator.tasks import Task
from cleanplate.simulator.upstream import Upstream

SLOW_STEPS = 20


class Delivery:
    """Handlers bound to one upstream."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/results/{name}", self.download)]

    async def download(self, request: web.Request) -> web.StreamResponse:
        upstream = self._upstream
        if "x-key" in request.headers:
            upstream.key_seen_at_delivery += 1
        task = upstream.tasks.get(request.match_info["name"].rpartition(".")[0])
        rule = upstream.faults.draw(
            "delivery",
            account=task.account if task else None,
            task=task.id if task else None,
            image_sha256=task.image_sha256 if task else None,
        )
        answer = await mishaps.answer(rule, request, upstream.clock) if rule is not None else None
        if answer is None or (rule is not None and rule.what == "drop_after"):
            answer = await self._deliver(request, task, rule)
        upstream.downloads[str(answer.status)] += 1
        return answer

    async def _deliver(self, request: web.Request, task: Task | None, rule: Rule | None) -> web.StreamResponse:
        upstream = self._upstream
        if not opens(upstream.link_secret, request.path, request.query, upstream.clock.now()):
            return _error(403, "AuthenticationFailed", "Server failed to authenticate the request.")
        body = None if task is None else await upstream.studio.read(task, upstream.options)
        if task is None or body is None:
            return _error(404, "BlobNotFound", "The specified blob does not exist.")
        content_type = f"image/{task.output_format}"
        if rule is not None and rule.what == "wrong_size":
            body = await upstream.studio.check(upstream.options, len(body), _halve, body)
        if rule is not None and rule.what == "truncated":
            body = body[: len(body) // 2]
        if rule is None or rule.what not in {"drop_after", "slow_body"}:
            return web.Response(body=body, content_type=content_type)
        return await self._dribble(request, body, content_type, rule)

    async def _dribble(self, request: web.Request, body: bytes, content_type: str, rule: Rule) -> web.StreamResponse:
        """Send the body in pieces over some seconds, or half of it and then nothing."""
        answer = web.StreamResponse(headers={"Content-Type": content_type, "Content-Length": str(len(body))})
        await answer.prepare(request)
        if rule.what == "drop_after":
            await answer.write(body[: len(body) // 2])
            mishaps.cut(request)
            return answer
        step = max(1, -(-len(body) // SLOW_STEPS))
        for start in range(0, len(body), step):
            await asyncio.sleep((rule.seconds or 0) / SLOW_STEPS)
            await answer.write(body[start : start + step])
        await answer.write_eof()
        return answer


def _halve(body: bytes) -> bytes:
    picture = pictures.decode(body, "RGB")
    h, w = picture.shape[:2]
    half = cv2.resize(picture, (max(1, w // 2), max(1, h // 2)), interpolation=cv2.INTER_AREA)
    return pictures.encode(half.astype(picture.dtype), pictures.format_of(body))


def _error(status: int, code: str, message: str) -> web.Response:
    """Answer as Azure's blob storage does."""
    text = f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return web.Response(status=status, text=text, content_type="application/xml")
