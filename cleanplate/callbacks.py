"""Callbacks of the upstream: what a submit asks to be called back with, and what a call must prove.

A call is recognised by a token in its address, of which the ledger keeps the SHA-256, and proven by a secret that is
derived from the token with ``CLEANPLATE_SECRET_KEYS``: who reads an address in a log can call nobody with it. A call is
a hint. It says of which attempt it is and which task that became; everything else comes from our own poll.
"""

import hashlib
import hmac
import logging
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import func, select, update

from cleanplate import vault
from cleanplate.db import Transaction
from cleanplate.models import Attempt

log = logging.getLogger(__name__)

PATH: Final = "/upstream/callbacks/"
CHANNEL: Final = "cleanplate_callbacks"
"""Of PostgreSQL's NOTIFY; each notification is the id of a job."""
SIGNATURE_HEADER: Final = "X-BFL-Signature"
SECRET_HEADER: Final = "X-Webhook-Secret"  # noqa: S105 -- the name of a header
TOKEN_BYTES: Final = 32
_TAKEN: Final = re.compile(r"https://.+|http://(localhost|127(\.\d{1,3}){3}|\[::1\])([:/].*)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Callback:
    """What one submit asks for: ``fields`` of its body, and what the ledger keeps; without a callback neither."""

    fields: Mapping[str, str] = field(default_factory=dict, repr=False)
    sha256: str | None = None


def base(public_url: str | None) -> str | None:
    """Return what the addresses to be called at start with, or None, and why in the log, when there can be none.

    The upstream calls by https only; on loopback, where it can only be a simulator, http is taken as well.
    """
    if public_url is None:
        return None
    if not _TAKEN.fullmatch(public_url):
        log.warning("PUBLIC_URL is not https, so the upstream would not call it: tasks are polled for")
        return None
    try:
        _secrets("")
    except vault.VaultError as error:
        log.warning("no callbacks are asked for, tasks are polled for: %s", error)
        return None
    return f"{public_url.rstrip('/')}{PATH}"


def issue(base_url: str | None) -> Callback:
    """Return a callback with a fresh token of 256 bits to an address below :func:`base`, or none where that is None."""
    if base_url is None:
        return Callback()
    token = secrets.token_urlsafe(TOKEN_BYTES)
    return Callback({"webhook_url": f"{base_url}{token}", "webhook_secret": _secrets(token)[0]}, digest(token))


def digest(token: str) -> str:
    """Return what is stored of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def proven(token: str, body: bytes, *, signature: str | None, secret: str | None) -> bool:
    """Return whether a call knows the secret of its token, as a signature of its body or in plain.

    Raises :class:`cleanplate.vault.VaultError` when no key is set.
    """
    given = [(signature or "").encode(), (secret or "").encode()]
    return any(
        hmac.compare_digest(one, expected)
        for known in _secrets(token)
        for one, expected in zip(given, (_signed(known, body), known.encode()), strict=True)
    )


def _signed(secret: str, body: bytes) -> bytes:
    return f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}".encode()


def _secrets(token: str) -> list[str]:
    return vault.derive(f"callback {token}")


def heard(tx: Transaction, token: str, task_id: str) -> bool:
    """Take in a proven call: keep the task's id and wake the conveyor. Return False when there is no such attempt.

    Only the first call does anything. What becomes of the job is for its conveyor, or for the sweep when the answer to
    the submit was lost.
    """
    this = Attempt.callback_sha256 == digest(token)
    known = func.coalesce(Attempt.task_id, task_id)
    first = update(Attempt).where(this, Attempt.called_at.is_(None)).values(called_at=func.now(), task_id=known)
    job_id = tx.scalar(first.returning(Attempt.job_id).execution_options(synchronize_session=False))
    if job_id is None:
        return tx.scalar(select(Attempt.job_id).where(this)) is not None
    tx.execute(select(func.pg_notify(CHANNEL, job_id)))
    return True
