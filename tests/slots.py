"""Upstream accounts, and the jobs that ask for its slots."""

from collections.abc import Set as AbstractSet
from typing import Any

from pydantic import SecretStr

from cleanplate import db
from cleanplate.access import Access
from cleanplate.models import Account
from cleanplate.states import State
from tests import rows


def named(**slots: int) -> list[Access]:
    """Accounts as the settings name them."""
    return [Access(name, SecretStr(name), "http://127.0.0.1:9", cap) for name, cap in slots.items()]


def account(name: str = rows.ACCOUNT) -> Account:
    """The account as it is now."""
    with db.transaction() as tx:
        return tx.get_one(Account, name)


def claimed(count: int, owner: str = rows.WORKER) -> list[str]:
    """Make so many jobs that their owner has claimed."""
    with db.transaction() as tx:
        return rows.jobs(tx, count, State.CLAIMED, owner=owner)


def take(ids: list[str], worker: str = rows.WORKER) -> tuple[AbstractSet[str], AbstractSet[str]]:
    """Ask for slots for these jobs; return who holds one now and who is the worker's no more."""
    with db.transaction() as tx:
        return rows.seats(tx, worker, ids)


def with_account(cap: int = 24, **columns: Any) -> None:
    """Make the account."""
    with db.transaction() as tx:
        rows.account(tx, cap, **columns)
