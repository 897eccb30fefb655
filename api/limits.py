"""How many requests a minute a team may make: counted in Redis, and not at all while that is away."""

import logging
import math
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from fastapi import Request
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from api.errors import Problem
from cleanplate import settings

log = logging.getLogger(__name__)

WINDOW_SECONDS: Final = 60
REDIS_SECONDS: Final = 0.25
AWAY_SECONDS: Final = 5.0
"""How long Redis is not asked again after it has not answered: a frozen one must not hold up every request."""


@dataclass(frozen=True, slots=True)
class Count:
    """Requests of a team in its window, this one among them, and the seconds until that ends."""

    requests: int
    left_seconds: float


class Counter:
    """Counts in windows that begin with a team's first request and last a minute, by the clock of Redis."""

    def __init__(self, redis_url: str) -> None:
        self._redis = Redis.from_url(
            redis_url,
            socket_timeout=REDIS_SECONDS,
            socket_connect_timeout=REDIS_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        self._away_until = 0.0

    def count(self, tenant_id: str) -> Count | None:
        """Count one more request, or return None when Redis does not say."""
        if time.monotonic() < self._away_until:
            return None
        key = f"cleanplate.requests.{tenant_id}"
        try:
            with self._redis.pipeline(transaction=True) as calls:
                calls.set(key, 0, ex=WINDOW_SECONDS, nx=True)
                calls.incr(key)
                calls.pttl(key)
                _, requests, left_ms = calls.execute()
        except (RedisError, OSError) as error:
            self._away_until = time.monotonic() + AWAY_SECONDS
            log.warning("requests are not counted, Redis is away: %s", type(error).__name__)
            return None
        return Count(requests, left_ms / 1000)


_counter = lru_cache(maxsize=1)(Counter)


def count(request: Request, tenant_id: str) -> None:
    """Count a request and note what its answer tells of the limit. Raises :class:`Problem` 429 past it."""
    limit = settings.get().rate_limit
    if not limit:
        return
    counted = _counter(settings.get().redis_url).count(tenant_id) or Count(0, WINDOW_SECONDS)
    request.state.rate_limit = {
        "X-RateLimit-Limit": str(limit),
        "X-RateLimit-Remaining": str(max(0, limit - counted.requests)),
        "X-RateLimit-Reset": str(math.ceil(time.time() + counted.left_seconds)),
    }
    if counted.requests > limit:
        detail = f"Your team has made its {limit} requests of this minute."
        wait = str(max(1, math.ceil(counted.left_seconds)))
        raise Problem(429, "rate_limited", detail, headers={"Retry-After": wait})
