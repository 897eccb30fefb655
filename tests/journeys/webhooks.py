"""Receivers of a story's webhooks, and their ledger: what was sent against what was received."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from aiohttp.web import Request, StreamResponse
from standardwebhooks import Webhook

from tests import web
from tests.journeys.oracle import Story, eventually, told

SENT = """
    SELECT endpoint_id, event_id, event_type, coalesce(subject_id, ''), state, tries FROM deliveries ORDER BY id
"""
HASTEN = """
    UPDATE deliveries SET due_at = now() WHERE state = 'pending' AND due_at > now() + interval '1 min' RETURNING id
"""


@dataclass
class Receivers:
    """Endpoints of the team, by name. All answer 200, but for the first of every other event to a ``fickle`` one."""

    story: Story
    site: web.Site
    names: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)

    def settle(self, batch_ids: Sequence[str]) -> None:
        """Wait until nothing is left to send, then hold what came against what happened and what was sent.

        Each event came to each receiver at least once, every time with the same id and body, each verifies by the
        secret alone, and there is one event of each end.
        """
        eventually(self._is_over)
        sent = self._sent()
        jobs = self.story.jobs()
        happened = Counter(
            [("batch.completed", id_) for id_ in batch_ids] + [(f"job.{job.status}", job.id) for job in jobs]
        )
        received: dict[str, Counter[str]] = defaultdict(Counter)
        bodies: dict[str, set[bytes]] = defaultdict(set)
        for request in list(self.site.requests):
            name, id_ = request.target.strip("/"), request.headers["webhook-id"]
            Webhook(self.secrets[name]).verify(request.body, dict(request.headers))
            received[name][id_] += 1
            bodies[id_].add(request.body)
        duplicates = sum(ids.total() - len(ids) for ids in received.values())
        told.append(
            f"22: webhooks: {len(sent)} sent by {sum(row[5] for row in sent)} tries, "
            f"{sum(map(len, received.values()))} received, {duplicates} more than once, 0 lost"
        )
        assert {state for *_, state, _ in sent} == {"delivered"}
        assert all(len(same) == 1 for same in bodies.values())
        for name, endpoint_id in self.names.items():
            mine = [row for row in sent if row[0] == endpoint_id]
            assert Counter((kind, subject) for _, _, kind, subject, _, _ in mine) == happened
            assert set(received[name]) == {event_id for _, event_id, *_ in mine}
        kinds = {id_: json.loads(body)["type"] for id_, (body,) in bodies.items()}
        assert Counter(kinds.values())["batch.completed"] == len(batch_ids)

    def _is_over(self) -> bool:
        """Return whether nothing is left to send. Nobody waits here for the minutes of the schedule's later steps."""
        self.story.stack.rows(HASTEN)
        return not any(state == "pending" for *_, state, _ in self._sent())

    def _sent(self) -> list[tuple[str, str, str, str, str, int]]:
        return [row for row in self.story.stack.rows(SENT) if row[0] in self.names.values()]  # type: ignore[misc]


@contextmanager
def receivers(story: Story, *names: str) -> Iterator[Receivers]:
    """Run a receiver for each name, registered for the time of the block with all that happens."""
    seen: set[str] = set()

    async def answer(request: Request) -> StreamResponse:
        event_id = request.headers["webhook-id"]
        if "fickle" not in request.path or event_id in seen:
            return await web.says(200)(request)
        seen.add(event_id)
        return await web.says(500 if len(seen) % 2 else 200)(request)

    with web.serving(answer) as site, story.stack.client() as client:
        found = Receivers(story, site)
        for name in names:
            made = client.create_endpoint(f"{site.url}/{name}")
            found.names[name], found.secrets[name] = made.id, str(made.secret)
        try:
            yield found
        finally:
            for endpoint_id in found.names.values():
                client.delete_endpoint(endpoint_id)
