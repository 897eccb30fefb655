"""PostgreSQL is killed in mid-batch and away for a while: the intake says so, and what was acknowledged goes on."""

from pathlib import Path

import httpx
import pytest

from tests.journeys.oracle import Begin, Story, eventually
from tests.journeys.outages import postgres_away


@pytest.mark.chaos(9)
def test_answers_on_the_wire_are_kept_and_every_picture_is_paid_once(
    begin: Begin, photos: list[Path], long: bool
) -> None:
    story = begin("PostgreSQL killed", latency=2.0)
    story.upload(photos)
    for share in (0.25, 0.5, 0.75) if long else (0.25,):
        eventually(lambda share=share: story.paid() >= share * len(photos))
        with postgres_away(story):
            eventually(lambda: _intake(story).status_code == httpx.codes.SERVICE_UNAVAILABLE)
            assert int(_intake(story).headers["retry-after"]) > 0
    figures = story.end()
    assert figures.succeeded == len(photos)
    assert figures.moving_again_seconds <= 15


def _intake(story: Story) -> httpx.Response:
    running = story.stack.running
    headers = {"Authorization": f"Bearer {running.api_key}"}
    return httpx.post(
        f"{running.url}/v1/batches", headers=headers, files={"options": (None, '{"seal": false}')}, timeout=300
    )
