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

from sqlalchemy import text

from cleanplate import vault
from cleanplate.db import Transaction

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


def heard(tx: Transaction, calls: Mapping[str, str]) -> dict[str, bool]:
    """Take in proven calls, ids of tasks by the digests of their tokens: keep each id and wake the conveyor.

    Return, for each that the ledger knows, whether it is taken in. One whose row somebody writes just now is not: give
    it again, for to wait for a row while others are held could be a deadlock. Only the first call of a token does
    anything. What becomes of the job is for its conveyor, or for the sweep when the answer to the submit was lost.
    """
    given = {"digests": list(calls), "task_ids": list(calls.values()), "channel": CHANNEL}
    return {digest: taken for digest, taken, _ in tx.execute(_HEARD, given)}


_HEARD: Final = text(
    """
    WITH told AS (
        SELECT * FROM unnest(CAST(:digests AS text[]), CAST(:task_ids AS text[])) AS told (sha256, task_id)
    ), known AS (
        SELECT sha256, called_at IS NOT NULL AS before FROM attempts JOIN told ON callback_sha256 = sha256
    ), free AS (
        SELECT job_id, number, sha256, told.task_id FROM attempts JOIN told ON callback_sha256 = sha256
        WHERE called_at IS NULL FOR NO KEY UPDATE OF attempts SKIP LOCKED
    ), taken AS (
        UPDATE attempts SET called_at = now(), task_id = coalesce(attempts.task_id, free.task_id)
        FROM free WHERE attempts.job_id = free.job_id AND attempts.number = free.number
        RETURNING free.sha256, free.job_id
    )
    SELECT sha256, before OR job_id IS NOT NULL, CASE WHEN job_id IS NOT NULL THEN pg_notify(:channel, job_id) END
    FROM known LEFT JOIN taken USING (sha256)
    """
)
