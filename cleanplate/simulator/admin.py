"""The admin endpoints, which the vendor does not have: the clock, faults, settings, and what really happened."""

import json
from typing import Annotated, Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from cleanplate.simulator import latency
from cleanplate.simulator.faults import Rule
from cleanplate.simulator.options import Amount, Options
from cleanplate.simulator.upstream import Upstream

Model = TypeVar("Model")

RULES = TypeAdapter(list[Rule])
PAGE = 100_000


class Advance(BaseModel):
    model_config = ConfigDict(extra="forbid")

    advance: Amount


class AccountPatch(BaseModel):
    """What may be changed of an account; ``key`` null revokes it, ``slots`` null goes back to the default."""

    model_config = ConfigDict(extra="forbid")

    key: str | None = None
    credits: Amount = 0
    slots: Annotated[int, Field(ge=0)] | None = None


ACCOUNTS = TypeAdapter(dict[str, AccountPatch])


class Admin:
    """Handlers bound to one upstream."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/admin/clock", self.clock),
            web.post("/admin/clock", self.advance),
            web.get("/admin/faults", self.faults),
            web.post("/admin/faults", self.add_faults),
            web.delete("/admin/faults", self.clear_faults),
            web.get("/admin/settings", self.settings),
            web.post("/admin/settings", self.change_settings),
            web.get("/admin/stats", self.stats),
            web.get("/admin/ledger", self.ledger),
            web.get("/admin/latencies", self.latencies),
            web.post("/admin/reset", self.reset),
        ]

    async def clock(self, _: web.Request) -> web.Response:
        return _json({"now": self._upstream.clock.now()})

    async def advance(self, request: web.Request) -> web.Response:
        self._upstream.clock.advance(_checked(TypeAdapter(Advance), await request.read()).advance)
        return await self.clock(request)

    async def faults(self, _: web.Request) -> web.Response:
        return _json({"data": self._upstream.faults.report()})

    async def add_faults(self, request: web.Request) -> web.Response:
        self._upstream.faults.add(_checked(RULES, await request.read()))
        return await self.faults(request)

    async def clear_faults(self, request: web.Request) -> web.Response:
        self._upstream.faults.clear()
        return await self.faults(request)

    async def settings(self, _: web.Request) -> web.Response:
        return _json(self._upstream.options.model_dump())

    async def change_settings(self, request: web.Request) -> web.Response:
        """Change options, and accounts by name; ``credits`` without a name is what every account now has."""
        upstream = self._upstream
        patch = _checked(TypeAdapter(dict[str, Any]), await request.read())
        accounts = _checked(ACCOUNTS, json.dumps(patch.pop("accounts", {})).encode())
        options = upstream.options.model_dump() | patch
        upstream.options = _checked(TypeAdapter(Options), json.dumps(options).encode())
        if "credits" in patch:
            for account in upstream.accounts.by_name.values():
                account.credits = upstream.options.credits
        for name, change in accounts.items():
            known = upstream.accounts.by_name.get(name)
            now: dict[str, Any] = {"key": None, "credits": upstream.options.credits, "slots": None}
            if known is not None:
                now = {"key": known.key, "credits": known.credits, "slots": known.slots}
            wanted = AccountPatch(**now | change.model_dump(exclude_unset=True))
            upstream.accounts.change(name, wanted.key, wanted.credits, wanted.slots)
        return await self.settings(request)

    async def stats(self, _: web.Request) -> web.Response:
        return _json(self._upstream.stats())

    async def ledger(self, request: web.Request) -> web.Response:
        """List paid submits: ``?account=``, ``?image_sha256=``, ``?offset=``, ``?limit=``."""
        query = request.query
        entries = [
            entry
            for entry in (task.entry() for task in self._upstream.ledger.tasks)
            if query.get("account", entry["account"]) == entry["account"]
            and query.get("image_sha256", entry["image_sha256"]) == entry["image_sha256"]
        ]
        start = _count(request, "offset", 0)
        return _json({"total": len(entries), "data": entries[start : start + _count(request, "limit", PAGE)]})

    async def latencies(self, request: web.Request) -> web.Response:
        """List what tasks ``?start=`` and on, ``?count=`` of them, take by the settings of now."""
        options = self._upstream.options
        start = _count(request, "start", 0)
        ordinals = range(start, start + _count(request, "count", 100))
        return _json({"data": [latency.draw(options.seed, n, options.latency, options.spread) for n in ordinals]})

    async def reset(self, request: web.Request) -> web.Response:
        self._upstream.reset()
        return await self.stats(request)


def _checked(adapter: TypeAdapter[Model], body: bytes) -> Model:
    try:
        return adapter.validate_json(body)
    except ValidationError as error:
        raise web.HTTPUnprocessableEntity(
            text=error.json(include_url=False), content_type="application/json"
        ) from error


def _count(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name, str(default))
    if not text.isdecimal():
        raise web.HTTPUnprocessableEntity(text=f"{name} is no count")
    return int(text)


def _json(body: dict[str, Any]) -> web.Response:
    return web.json_response(body)
