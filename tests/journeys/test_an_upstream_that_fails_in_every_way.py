"""One batch through an upstream that limits, hangs up, lies, changes and delivers rubbish."""

import hashlib
from collections import Counter
from pathlib import Path

import pytest

from tests.journeys.oracle import Begin, Story, eventually
from tests.journeys.outages import paused

DELIVERIES = [
    {"where": "delivery", "what": "truncated", "nth": [1]},
    {"where": "delivery", "what": "html", "nth": [2]},
    {"where": "delivery", "what": "wrong_size", "nth": [3]},
    {"where": "delivery", "what": "status", "code": 403, "nth": [4]},
    {"where": "delivery", "what": "drop_after", "nth": [5]},
    {"where": "delivery", "what": "status", "code": 500, "nth": [6]},
]
SUBMITS = [
    {"where": "submit", "what": "drop_after", "nth": [3]},
    {"where": "submit", "what": "status", "code": 500, "after": True, "nth": [5]},
    {"where": "submit", "what": "broken_json", "nth": [7]},
    {"where": "submit", "what": "status", "code": 422, "body": '{"detail": "no"}', "nth": [9]},
    {"where": "submit", "what": "foreign_polling_url", "value": "https://example.com/v1/get_result?id=1", "nth": [11]},
    {"where": "submit", "what": "task_status", "value": "Error", "nth": [13]},
    {"where": "submit", "what": "task_status", "value": "Content Moderated", "nth": [15]},
    {"where": "submit", "what": "status", "code": 429, "headers": {"Retry-After": "1"}, "nth": [17, 18, 19, 20]},
]
POLLS = [
    {"where": "poll", "what": "broken_json", "nth": [20, 30]},
    {"where": "poll", "what": "not_found", "nth": [25]},
    {"where": "poll", "what": "status", "code": 500, "nth": [35]},
    {"where": "poll", "what": "drop_before", "nth": [40]},
]
FAILURES = Counter(
    ["upstream_rejected", "foreign_host", "foreign_host", "upstream_error", "content_moderated", "upstream_changed"]
)
WITHOUT_AN_ANSWER = 3
LAST = "SELECT send_image_key FROM jobs ORDER BY id DESC LIMIT 2"


@pytest.mark.chaos(13, 15, 17, 18, 20)
def test_what_can_be_saved_is_stored_and_the_rest_fails_with_its_reason(begin: Begin, photos: list[Path]) -> None:
    story = begin("an upstream that fails in every way", latency=2.5)
    with paused(story):  # until it is known which pictures are the last, past the submits that fail by themselves
        story.upload(photos)
        changed, foreign = (_sent(story, key) for (key,) in story.stack.rows(LAST))
        lies = [
            {"where": "poll", "what": "unknown_status", "image_sha256": changed},
            {"where": "poll", "what": "foreign_sample_url", "value": "https://example.com/x", "image_sha256": foreign},
        ]
        story.stack.simulator("POST", "faults", [*DELIVERIES, *SUBMITS, *lies, *POLLS])
    figures = story.end()
    assert story.errors() == FAILURES
    assert figures.succeeded == len(photos) - FAILURES.total()
    assert figures.paid <= len(photos) - 1 + WITHOUT_AN_ANSWER


def _sent(story: Story, key: str) -> str:
    """Return the SHA-256 of a picture that the upstream is sent."""
    return hashlib.sha256((story.stack.running.data_dir / "objects" / key).read_bytes()).hexdigest()


@pytest.mark.chaos(16)
@pytest.mark.long
def test_an_account_without_credits_waits_and_goes_on_when_it_has_some(begin: Begin, photos: list[Path]) -> None:
    story = begin("out of credits")
    story.stack.simulator("POST", "settings", {"credits": 0})
    before = story.stack.stats()["submits"].get("402", 0)
    story.upload(photos)
    with story.stack.client() as client:
        eventually(lambda: client.upstream().paused_reason == "credits")
    story.stack.simulator("POST", "settings", {"credits": 100_000})
    story.disturb()
    figures = story.end(60)
    assert figures.succeeded == figures.paid == len(photos)
    assert story.stack.stats()["submits"]["402"] - before <= 24
