"""The vendor's API over HTTP: submit, poll, credits."""

import json
from typing import Any

from aiohttp import web

from cleanplate.simulator import mishaps, orders
from cleanplate.simulator.accounts import Account
from cleanplate.simulator.faults import Rule
from cleanplate.simulator.tasks import ERROR, PENDING
from cleanplate.simulator.upstream import Upstream

DROPPED = "dropped"


class Api:
    """Handlers bound to one upstream."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/flux-tools/erase-v1", self.submit),
            web.get("/v1/get_result", self.poll),
            web.get("/v1/credits", self.credits),
        ]

    async def submit(self, request: web.Request) -> web.StreamResponse:
        answer = await self._submit(request)
        gone = request.transport is None or request.transport.is_closing()
        self._upstream.submits[DROPPED if gone else str(answer.status)] += 1
        return answer

    async def poll(self, request: web.Request) -> web.StreamResponse:
        upstream = self._upstream
        account = self._account(request)
        if account is None:
            return _not_authenticated()
        task_id = request.query.get("id")
        if task_id is None:
            fault = {"type": "missing", "loc": ["query", "id"], "msg": "Field required"}
            return _json({"detail": [fault]}, 422)
        task = upstream.find(account, task_id)
        rule = upstream.faults.draw(
            "poll", account=account.name, task=task_id, image_sha256=task.image_sha256 if task else None
        )
        if rule is not None:
            answer = await mishaps.answer(rule, request, upstream.clock)
            if answer is not None:
                upstream.polls[rule.what] += 1
                return answer
        reply = upstream.poll_reply(task_id, None if rule is not None and rule.what == "not_found" else task)
        if rule is not None:
            _twist(reply, rule)
        upstream.polls[reply["status"]] += 1
        upstream.polled_hosts[request.host] += 1
        return _json(reply)

    async def credits(self, request: web.Request) -> web.StreamResponse:
        account = self._account(request)
        if account is None:
            return _not_authenticated()
        rule = self._upstream.faults.draw("credits", account=account.name)
        answer = await mishaps.answer(rule, request, self._upstream.clock) if rule is not None else None
        return answer or _json({"credits": account.credits})

    async def _submit(self, request: web.Request) -> web.StreamResponse:
        upstream = self._upstream
        account = self._account(request)
        if account is None:
            return _not_authenticated()
        try:
            body = await request.read()
            order = await upstream.studio.check(upstream.options, len(body), orders.read, body, upstream.options)
        except orders.RefusedError as refused:
            return web.Response(status=422, text=str(refused), content_type="application/json")
        rule = upstream.faults.draw("submit", account=account.name, image_sha256=order.image_sha256)
        if rule is not None and not rule.charged:
            answer = await mishaps.answer(rule, request, upstream.clock)
            if answer is not None:
                return answer
        refusal = upstream.refusal(account)
        if refusal is not None:
            status, detail, headers = refusal
            return _json({"detail": detail}, status, headers)
        task = await upstream.accept(account, order, rule)
        if rule is not None and rule.charged:
            answer = await mishaps.answer(rule, request, upstream.clock)
            if answer is not None:
                return answer
        reply = upstream.submit_reply(task)
        if rule is not None and rule.what == "foreign_polling_url":
            reply["polling_url"] = rule.value or f"https://api.bfl.example/v1/get_result?id={task.id}"
        return _json(reply)

    def _account(self, request: web.Request) -> Account | None:
        return self._upstream.accounts.of(request.headers.get("x-key"))


def _twist(reply: dict[str, Any], rule: Rule) -> None:
    """Change a poll's reply as ``rule`` says."""
    if rule.what == "unknown_status":
        reply |= {"status": rule.value or "Paused", "result": None}
    elif rule.what == "task_status":
        reply |= {"status": rule.value or ERROR, "result": None}
    elif rule.what == "never_ready":
        reply |= {"status": PENDING, "result": None, "progress": 0.99}
    elif rule.what == "foreign_sample_url" and reply["result"] is not None:
        reply["result"]["sample"] = rule.value or "https://delivery.bfl.example/results/sample.png"


def _not_authenticated() -> web.Response:
    return _json({"detail": "Not authenticated - Invalid Authentication"}, 403)


def _json(body: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=json.dumps(body).encode(), status=status, headers=headers, content_type="application/json")
