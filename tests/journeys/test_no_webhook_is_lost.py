"""The notifier is killed in every window, PostgreSQL too, and Redis emptied: each event comes, by one id."""

from pathlib import Path

import pytest

from tests.journeys.oracle import Begin, eventually
from tests.journeys.outages import postgres_away, redis_away
from tests.journeys.sabotage import NOTIFIER
from tests.journeys.webhooks import receivers


@pytest.mark.chaos(22)
def test_killed_in_every_window_each_event_is_told_by_its_one_id(begin: Begin, photos: list[Path]) -> None:
    story = begin("the notifier killed in every window")
    with receivers(story, "steady", "fickle") as ledger:
        with story.deaths_in(*NOTIFIER):
            batch_id = story.upload(photos)
        assert story.end().succeeded == len(photos)
        ledger.settle([batch_id])


@pytest.mark.chaos(22)
def test_without_redis_and_after_a_crash_of_postgres_each_event_is_told(begin: Begin, photos: list[Path]) -> None:
    story = begin("PostgreSQL killed and Redis emptied while webhooks go out")
    half = len(photos) // 2
    with receivers(story, "steady", "fickle") as ledger:
        batches = [story.upload(photos[:half])]
        eventually(lambda: len(ledger.site.requests) >= 4)
        with postgres_away(story):
            pass
        with redis_away(story):
            batches.append(story.upload(photos[half:]))
            eventually(lambda: story.counts()["succeeded"] == len(photos))
            assert story.end().succeeded == len(photos)
            ledger.settle(batches)
