"""Lanes: whose delivery is tried next, so that no receiver waits for another.

A try takes a seat for as long as it lasts. An endpoint may have a few, one that is failing a single one, and it rests
after each failure, the longer the more there were in a row. Endpoints that are failing or slow share half of all seats,
and so do those of one tenant: however many of them hang, the rest of the seats is for the others. What is free goes to
the tenant that has the fewest, and there to the endpoint that has the fewest; lots are drawn among equals.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable
from heapq import heapify, heappop, heappush
from typing import Final, NamedTuple

SEATS: Final = 512
SHARED: Final = SEATS // 2
"""What all endpoints that are failing or slow may have together, and what those of one tenant may."""
OF_ENDPOINT: Final = 8
SLOW_SECONDS: Final = 1.0
"""An endpoint is slow while it lets one of its tries wait for so long."""
FIRST_REST_SECONDS, REST_SECONDS = 0.05, 1.0
"""How long an endpoint rests after a failure: each in a row doubles it, up to the second of these."""


class Waiting(NamedTuple):
    """An endpoint with so many deliveries due. It is ``failing`` when the newest try that ended has failed."""

    endpoint_id: str
    tenant_id: str
    failing: bool
    due: int


class _Place(NamedTuple):
    """Where an endpoint stands in the line of its tenant; ``room`` is how many more seats it may have."""

    taken: int
    lot: float
    endpoint_id: str
    room: int
    slow: bool


class Lanes:
    """The seats that are taken, by endpoint. Instants are seconds of any clock that never goes back."""

    def __init__(self) -> None:
        self._since: dict[str, dict[Hashable, float]] = {}
        self._tenants: dict[str, str] = {}
        self._rests: dict[str, float] = {}
        self._lengths: dict[str, float] = {}

    @property
    def taken(self) -> int:
        """How many tries are under way."""
        return len(self.tries)

    @property
    def tries(self) -> list[Hashable]:
        """The tries under way."""
        return [one_try for its in self._since.values() for one_try in its]

    def take(self, endpoint_id: str, tenant_id: str, one_try: Hashable, now: float) -> None:
        """Give a seat to a try."""
        self._since.setdefault(endpoint_id, {})[one_try] = now
        self._tenants[endpoint_id] = tenant_id

    def leave(self, endpoint_id: str, one_try: Hashable, now: float, *, failed: bool) -> None:
        """Take the seat back."""
        del self._since[endpoint_id][one_try]
        if not self._since[endpoint_id]:
            del self._since[endpoint_id], self._tenants[endpoint_id]
        if not failed:
            self._lengths.pop(endpoint_id, None)
        elif self._rests.get(endpoint_id, now) <= now:  # of tries that fail together one counts
            self._lengths[endpoint_id] = min(2 * self._lengths.get(endpoint_id, FIRST_REST_SECONDS / 2), REST_SECONDS)
            self._rests[endpoint_id] = now + self._lengths[endpoint_id]

    def allot(self, waiting: Iterable[Waiting], now: float) -> Counter[str]:
        """Return how many tries each endpoint may begin."""
        self._rests = {id_: until for id_, until in self._rests.items() if until > now}
        slow = {id_ for id_, tries in self._since.items() if min(tries.values()) <= now - SLOW_SECONDS}
        free, shared = SEATS - self.taken, SHARED - sum(len(self._since[id_]) for id_ in slow)
        lines: dict[str, list[_Place]] = defaultdict(list)
        for one in waiting:
            place = self._place(one, slow)
            if place.room > 0 and one.endpoint_id not in self._rests:
                heappush(lines[one.tenant_id], place)
        of_tenant = Counter(self._tenants[id_] for id_, tries in self._since.items() for _ in tries)
        turns = [(of_tenant[tenant_id], random.random(), tenant_id) for tenant_id in lines]  # noqa: S311 -- a lot
        heapify(turns)
        allotted: Counter[str] = Counter()
        while free > 0 and turns:
            held, lot, tenant_id = heappop(turns)
            if held >= SHARED or not lines[tenant_id]:
                continue
            place = heappop(lines[tenant_id])
            if not place.slow or shared > 0:
                allotted[place.endpoint_id] += 1
                free, shared, held = free - 1, shared - place.slow, held + 1
                if place.room > 1:
                    heappush(lines[tenant_id], place._replace(taken=place.taken + 1, room=place.room - 1))
            heappush(turns, (held, lot, tenant_id))
        return allotted

    def _place(self, one: Waiting, slow: set[str]) -> _Place:
        taken = len(self._since.get(one.endpoint_id, ()))
        room = min(one.due, (1 if one.failing else OF_ENDPOINT) - taken)
        is_slow = one.failing or one.endpoint_id in slow
        return _Place(taken, random.random(), one.endpoint_id, room, is_slow)  # noqa: S311 -- a lot
