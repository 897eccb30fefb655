"""Half of all submits are answered 429: no job fails of it, and as long as the upstream asks for nothing is sent."""

from pathlib import Path

import pytest

from tests.journeys.oracle import Begin

RETRY_AFTER_SECONDS = 1
LIMITED = {"where": "submit", "what": "status", "code": 429, "probability": 0.5}
# Instants of a transaction are that of its beginning; of two that begin together, the one that gives slots may have the
# lock of the slots first. An event is written under that lock: who begins later sees what the refusal has said.
REFUSALS = "SELECT count(*) FROM job_events WHERE state = 'claimed' AND reason LIKE '%(429)'"
TOO_SOON = """
    SELECT count(*) FROM attempts refused
    JOIN job_events told ON told.job_id = refused.job_id AND told.state = 'claimed' AND told.reason LIKE '%(429)'
        AND told.at BETWEEN refused.answered_at AND refused.answered_at + interval '1 second'
    JOIN attempts next ON next.sent_at > told.at AND next.sent_at < refused.answered_at + interval '1 second'
    WHERE refused.detail LIKE '%(429)'
"""


@pytest.mark.chaos(15)
@pytest.mark.long
def test_it_gets_what_it_takes_when_it_takes_it(begin: Begin, photos: list[Path]) -> None:
    story = begin("half of all submits limited")
    too_soon, ((before,),) = story.stack.rows(TOO_SOON), story.stack.rows(REFUSALS)
    story.stack.faults(LIMITED | {"headers": {"Retry-After": str(RETRY_AFTER_SECONDS)}})
    story.upload(photos)
    figures = story.end(500)
    assert figures.succeeded == figures.paid == len(photos)
    assert figures.refused >= len(photos) / 4
    assert story.stack.rows(REFUSALS) == [(before + figures.refused,)]
    assert story.stack.rows(TOO_SOON) == too_soon
