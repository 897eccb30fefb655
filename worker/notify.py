"""Notify: one signed POST of a delivery, and what its answer means. The schedule of the tries is data.

Signatures are those of Standard Webhooks, and the same ``webhook-id`` goes with every try of an event.
"""

import email.utils
import logging
import math
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import httpx

from cleanplate import outbound, settings, signing, vault
from cleanplate.outcomes import Delivered, NotifyOutcome, Undelivered

log = logging.getLogger(__name__)

SCHEDULE: Final = tuple(
    timedelta(seconds=seconds)
    for seconds in (5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600, 14 * 3600, 20 * 3600, 24 * 3600)
)
"""How long to wait after the first failed try, after the second, and so on; when it is used up the delivery failed."""

JITTER: Final = 0.1
TIMEOUT_SECONDS: Final = 15.0
ANSWER_KEPT: Final = 1024
"""How many bytes of an answer the books keep; up to ``outbound.ANSWER_BYTES`` are read."""
ASKS_FOR_TIME: Final = frozenset({httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE})


@dataclass(frozen=True, slots=True)
class Letter:
    """What one try needs. ``number`` counts the tries, ``nth`` those of the schedule: it begins anew on request.

    ``secrets`` are sealed, the one in use first. ``began_at`` is by the database's clock: receivers refuse a signature
    whose time is wrong by minutes, and this machine's clock may be.
    """

    delivery_id: str
    event_id: str
    endpoint_id: str
    tenant_id: str
    url: str
    secrets: tuple[str, ...]
    body: str
    number: int
    nth: int
    began_at: datetime

    @property
    def key(self) -> tuple[str, int]:
        """What tells this try from all others."""
        return self.delivery_id, self.number


def deliver(letter: Letter) -> NotifyOutcome:
    """POST the letter once. Any answer but 2xx is a failure; redirects are not followed."""
    try:
        secrets = [vault.open_sealed(sealed) for sealed in letter.secrets]
    except vault.VaultError as error:
        return Undelivered(f"it could not be signed: {error}")
    headers = signing.headers(letter.event_id, letter.began_at, letter.body, secrets)
    try:
        with (
            outbound.client(settings.get().allow_private_networks, timeout_seconds=TIMEOUT_SECONDS) as client,
            client.stream("POST", letter.url, content=letter.body.encode(), headers=headers) as response,
        ):
            return _meaning(response, outbound.read_limited(response))
    except (outbound.ForbiddenAddress, outbound.ForbiddenUrl) as error:
        return Undelivered(f"refused to connect: {error}")
    except httpx.HTTPError as error:
        return Undelivered(f"no answer ({type(error).__name__})")
    except Exception as error:  # whatever a receiver brings about is its own failed try, and nobody else's
        log.exception("%s could not be sent", letter.delivery_id)
        return Undelivered(f"no answer ({type(error).__name__})")


def _meaning(response: httpx.Response, body: bytes) -> NotifyOutcome:
    status, answer = response.status_code, _as_text(body)
    if response.is_success:
        return Delivered(status, answer)
    wait = _retry_after(response.headers) if status in ASKS_FOR_TIME else None
    gone = status == httpx.codes.GONE
    return Undelivered(f"the receiver answered {status}", status, gone=gone, retry_after=wait, answer=answer)


def _as_text(body: bytes) -> str:
    """Return the beginning of a body as text that PostgreSQL takes: it has no character 0."""
    return body[:ANSWER_KEPT].decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}")


def _retry_after(headers: httpx.Headers) -> float | None:
    """Return the seconds that are asked for, at most the schedule's longest step; a date counts from the answer's own.

    Raises nothing: what makes no sense asks for nothing.
    """
    asked = headers.get("retry-after", "")
    try:
        seconds = float(asked)
    except ValueError:
        until, now = _date(asked), _date(headers.get("date", "")) or datetime.now(UTC)
        seconds = (until - now).total_seconds() if until else math.nan
    return min(seconds, SCHEDULE[-1].total_seconds()) if math.isfinite(seconds) else None


def _date(text: str) -> datetime | None:
    try:
        said = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    return said if said.tzinfo else said.replace(tzinfo=UTC)


def pause(nth: int, retry_after: float | None) -> timedelta:
    """Return how long to wait after ``nth`` failed tries: the schedule's step with jitter, or longer when asked."""
    step = SCHEDULE[nth - 1] * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 -- spreads load, guards nothing
    return max(step, timedelta(seconds=retry_after or 0.0))
