"""Receivers that hang, drip, send 50 MB, redirect, fail or are gone: whoever answers well hears of all, at once."""

import asyncio
import json
import statistics
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp.web import Request, StreamResponse

from tests import web
from tests.journeys.oracle import Begin, Story, eventually, told

PROMISED_SECONDS = 5.0
GIANT = 50 << 20
DELAYS = """
    SELECT endpoint_id, extract(epoch FROM delivered_at - created_at)::float8 FROM deliveries WHERE state = 'delivered'
"""
ENDPOINTS = "SELECT id, enabled, disabled_reason FROM endpoints"


class Town:
    """Receivers by the path at which each is, and how many bytes the giant has sent."""

    def __init__(self) -> None:
        self.sent = Counter[str]()
        self._ways = {
            "steady": web.says(200),
            "hangs": web.stays_silent,
            "moved": web.says(307, location="/trap"),
            "gone": web.says(410),
            "broken": web.says(500),
            "drips": self._drips,
            "giant": self._giant,
        }

    @property
    def names(self) -> list[str]:
        return list(self._ways)

    async def answer(self, request: Request) -> StreamResponse:
        self.sent["tries"] += 1
        return await self._ways.get(request.path.strip("/"), web.says(200))(request)

    async def _drips(self, request: Request) -> StreamResponse:
        response = StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b".")
            await asyncio.sleep(1.0)

    async def _giant(self, request: Request) -> StreamResponse:
        response = StreamResponse()
        await response.prepare(request)
        for _ in range(GIANT >> 16):
            await response.write(bytes(1 << 16))
            self.sent["giant"] += 1 << 16
        return response


@pytest.mark.chaos(22)
def test_who_answers_well_hears_of_all_and_the_others_are_asked_for_little(
    begin: Begin, photos: list[Path], long: bool
) -> None:
    story, town = begin("bad receivers"), Town()
    with web.serving(town.answer) as site, story.stack.client() as client, ExitStack() as registered:
        of_name = {}
        for name in town.names:
            of_name[name] = client.create_endpoint(f"{site.url}/{name}").id
            registered.callback(client.delete_endpoint, of_name[name])
        batch_id = story.upload(photos)
        assert story.end().succeeded == len(photos)
        happened = {("job.succeeded", job.id) for job in story.jobs()}
        happened |= {("batch.completed", batch_id), ("webhook_endpoint.disabled", of_name["gone"])}
        eventually(lambda: heard(site, "steady") >= happened)
        states = {id_: (enabled, reason) for id_, enabled, reason in story.stack.rows(ENDPOINTS)}
        giants = sum(request.target == "/giant" for request in list(site.requests))
    assert heard(site, "steady") == happened
    assert heard(site, "trap") == set()
    assert states[of_name["gone"]] == (False, "the receiver answered 410 Gone")
    assert all(enabled for id_, (enabled, _) in states.items() if id_ in set(of_name.values()) - {of_name["gone"]})
    assert town.sent["giant"] < giants * GIANT / 4, "an answer was read to its end"
    p95 = _p95(story, of_name["steady"])
    told.append(
        f"22: bad receivers: {len(happened)} heard by the good one, p95 {p95:.2f} s from the commit to its answer"
    )
    if long:  # the short form is told on machines that have other tests to run meanwhile
        assert p95 < PROMISED_SECONDS


def heard(site: web.Site, name: str) -> set[tuple[str, str]]:
    """What one receiver has heard of, each once however often it came."""
    bodies: list[Any] = [json.loads(one.body) for one in list(site.requests) if one.target == f"/{name}"]
    return {(body["type"], body["data"]["id"]) for body in bodies}


def _p95(story: Story, endpoint_id: str) -> float:
    delays = [seconds for id_, seconds in story.stack.rows(DELAYS) if id_ == endpoint_id]
    return statistics.quantiles(delays, n=100)[94]
