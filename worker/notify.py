"""Notify: one signed POST a delivery, retried by a schedule that is data.

At least once: the try is counted before it is made, and the same ``webhook-id`` goes with every try. Signatures are
those of Standard Webhooks.
"""

import logging
import math
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, assert_never

import httpx
from sqlalchemy import Update, func, select, update
from standardwebhooks import Webhook

from cleanplate import db, endpoints, outbound, outbox, settings, vault
from cleanplate.models import Delivery, Endpoint
from cleanplate.outcomes import Delivered, NotifyOutcome, Undelivered

log = logging.getLogger(__name__)

SCHEDULE: Final = tuple(
    timedelta(seconds=seconds)
    for seconds in (5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600, 14 * 3600, 20 * 3600, 24 * 3600)
)
"""How long to wait after the first failed try, after the second, and so on; when it is used up the delivery failed."""

JITTER: Final = 0.1
TIMEOUT_SECONDS: Final = 15.0
WORK_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Letter:
    """What one try needs."""

    delivery_id: str
    endpoint_id: str
    event_id: str
    body: str
    tries: int
    url: str
    sealed_secret: str


def notify(delivery_id: str) -> None:
    """Make one try for a delivery that is due."""
    with db.transaction() as tx:
        letter = _begin(tx, delivery_id)
    if letter is None:
        return
    outcome = deliver(letter)
    with db.transaction() as tx:
        _settle(tx, letter, outcome)


def _begin(tx: db.Transaction, delivery_id: str) -> Letter | None:
    begun = tx.execute(
        update(Delivery)
        .where(Delivery.id == delivery_id, Delivery.state == "pending", Delivery.due_at <= func.now())
        .values(tries=Delivery.tries + 1, due_at=func.now() + timedelta(seconds=WORK_SECONDS))
        .returning(Delivery.endpoint_id, Delivery.event_id, Delivery.body, Delivery.tries)
    ).one_or_none()
    if begun is None:
        return None
    endpoint = tx.execute(select(Endpoint).where(Endpoint.id == begun.endpoint_id)).scalar_one()
    if not endpoint.enabled:
        tx.execute(_ended(delivery_id, "failed", None, outbox.TURNED_OFF))
        return None
    sealed = endpoint.secret_encrypted
    return Letter(delivery_id, endpoint.id, begun.event_id, begun.body, begun.tries, endpoint.url, sealed)


def deliver(letter: Letter) -> NotifyOutcome:
    """POST the letter once. Any answer but 2xx is a failure; redirects are not followed."""
    now = datetime.now(UTC)
    try:
        signer = Webhook(vault.open_sealed(letter.sealed_secret))
    except vault.VaultError as error:
        return Undelivered(f"it could not be signed: {error}")
    headers = {
        "content-type": "application/json",
        "user-agent": "Cleanplate-Webhooks",
        "webhook-id": letter.event_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": signer.sign(letter.event_id, now, letter.body),
    }
    try:
        with (
            outbound.client(settings.get().allow_private_networks, timeout_seconds=TIMEOUT_SECONDS) as client,
            client.stream("POST", letter.url, content=letter.body.encode(), headers=headers) as response,
        ):
            outbound.read_limited(response)
            return _meaning(response)
    except (outbound.ForbiddenAddress, outbound.ForbiddenUrl) as error:
        return Undelivered(f"refused to connect: {error}")
    except httpx.HTTPError as error:
        return Undelivered(f"no answer ({type(error).__name__})")


def _meaning(response: httpx.Response) -> NotifyOutcome:
    status = response.status_code
    if response.is_success:
        return Delivered(status)
    wait = _retry_after(response) if status in {429, 503} else None
    return Undelivered(f"the receiver answered {status}", status, gone=status == httpx.codes.GONE, retry_after=wait)


def _retry_after(response: httpx.Response) -> float | None:
    try:
        seconds = float(response.headers.get("retry-after", ""))
    except ValueError:
        return None
    return min(seconds, SCHEDULE[-1].total_seconds()) if math.isfinite(seconds) else None


def _settle(tx: db.Transaction, letter: Letter, outcome: NotifyOutcome) -> None:
    match outcome:
        case Delivered(status):
            tx.execute(_ended(letter.delivery_id, "delivered", status, None))
        case Undelivered(detail, status, gone=True):
            tx.execute(_ended(letter.delivery_id, "failed", status, detail))
            endpoints.disable(tx, letter.endpoint_id, "the receiver answered 410 Gone")
        case Undelivered(detail, status) if letter.tries > len(SCHEDULE):
            tx.execute(_ended(letter.delivery_id, "failed", status, detail))
        case Undelivered(detail, status, retry_after=wait):
            log.warning("%s to %s: %s (try %s)", letter.delivery_id, letter.endpoint_id, detail, letter.tries)
            due = func.now() + pause(letter.tries, wait)
            values = {"due_at": due, "last_status": status, "last_error": detail}
            tx.execute(update(Delivery).where(Delivery.id == letter.delivery_id).values(values))
        case _:
            assert_never(outcome)


def pause(tries: int, retry_after: float | None) -> timedelta:
    """Return how long to wait after ``tries`` failed tries: the schedule's step with jitter, or longer when asked."""
    step = SCHEDULE[tries - 1] * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 -- spreads load, guards nothing
    return max(step, timedelta(seconds=retry_after or 0.0))


def _ended(delivery_id: str, state: str, status: int | None, error: str | None) -> Update:
    delivered = func.now() if state == "delivered" else None
    values = {"state": state, "last_status": status, "last_error": error, "delivered_at": delivered}
    return update(Delivery).where(Delivery.id == delivery_id, Delivery.state == "pending").values(values)
