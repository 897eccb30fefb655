"""Importers die while they fetch, and Redis forgets every message: each pair is fetched in the end, and erased once."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import redis
from aiohttp import web as aiohttp

from cleanplate.items import Item, Source
from tests import web
from tests.journeys.oracle import Begin, Story
from tests.servers import wait_until

EACH = 4


@pytest.mark.chaos(1, 6)
def test_killed_while_they_fetch_they_are_followed_by_others_that_do(
    begin: Begin, photos: list[Path], long: bool
) -> None:
    story = begin("importers killed in mid-import, redis emptied")
    few = photos[: (10 if long else 3) * EACH]

    async def hand_out(request: aiohttp.Request) -> aiohttp.StreamResponse:
        return aiohttp.FileResponse(few[0].parent / request.path[1:])

    with web.serving(hand_out) as site:
        for start in range(0, len(few), EACH):
            site.answer = web.stays_silent
            begin_to_import(story, site, few[start : start + EACH])
            site.answer = hand_out  # to those who come after
            assert story.kill("importer")
            with redis.Redis.from_url(story.stack.running.environment["REDIS_URL"]) as broker:
                broker.flushall()
            wait_until(lambda: not story.counts()["importing"])
    figures = story.end()
    assert figures.succeeded == figures.paid == len(few)


def begin_to_import(story: Story, site: web.Site, photos: Sequence[Path]) -> None:
    """Make a batch of ``photos``, which lie at ``site``, and wait until an importer asks for one."""
    asked = len(site.requests)

    def at(name: str) -> Source:
        return Source(url=f"{site.url}/{name}")

    story.name([Item(custom_id=one.stem, image=at(one.name), mask=at(f"{one.stem}_mask.png")) for one in photos])
    wait_until(lambda: len(site.requests) > asked)
