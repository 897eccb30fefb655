"""Encrypting all that is kept sealed with the newest key, so that older ones can be thrown away."""

from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import select

from cleanplate import vault
from cleanplate.db import Transaction
from cleanplate.idempotency import IdempotencyKey
from cleanplate.models import Endpoint

PAGE: Final = 200
SEALED: Final = ("secret_encrypted", "previous_secret_encrypted")


def reseal_all(tx: Transaction) -> tuple[int, list[str]]:
    """Reseal every secret; return how many, and what those that no key opens are kept for: they stay as they are.

    Rows are locked until the end of ``tx``, so that no rotation of an endpoint's secret is written over. Raises
    :class:`cleanplate.vault.VaultError` when there is no key at all.
    """
    resealed, unopened = 0, list[str]()
    vault.seal("")
    for row, column, name in _sealed(tx):
        try:
            setattr(row, column, vault.reseal(getattr(row, column)))
        except vault.VaultError:
            unopened.append(name)
        else:
            resealed += 1
    return resealed, unopened


def _sealed(tx: Transaction) -> Iterator[tuple[Any, str, str]]:
    """Yield each sealed column of each row, and a name for it."""
    page = {"yield_per": PAGE}
    for endpoint in tx.scalars(select(Endpoint).with_for_update().execution_options(**page)):
        for column in SEALED:
            if getattr(endpoint, column) is not None:
                yield endpoint, column, endpoint.id
    answers = select(IdempotencyKey).where(IdempotencyKey.sealed, IdempotencyKey.body.is_not(None)).with_for_update()
    for call in tx.scalars(answers.execution_options(**page)):
        yield call, "body", f"the idempotency key {call.key} of {call.tenant_id}"
