"""Accounts of the vendor: a key, credits, and a count of the slots in use that is exact by the clock."""

import heapq
from dataclasses import dataclass, field


@dataclass
class Gauge:
    """How many tasks hold a slot, from their acceptance until their end."""

    most: int = 0
    _ends: list[tuple[float, float]] = field(default_factory=list)  # a heap of (end, start)
    _seconds: float = 0

    def take(self, now: float, ends_at: float) -> None:
        """Count a task from ``now`` until ``ends_at``, which may be infinity."""
        heapq.heappush(self._ends, (ends_at, now))
        self.most = max(self.most, self.in_flight(now))

    def in_flight(self, now: float) -> int:
        while self._ends and self._ends[0][0] <= now:
            ended, started = heapq.heappop(self._ends)
            self._seconds += ended - started
        return len(self._ends)

    def next_end(self) -> float | None:
        """Return when the next slot comes free; infinity where none will; None where none is in use."""
        return self._ends[0][0] if self._ends else None

    def slot_seconds(self, now: float) -> float:
        """Return the seconds that slots have been in use, summed over the slots."""
        self.in_flight(now)
        return self._seconds + sum(now - started for _, started in self._ends)


@dataclass
class Account:
    """One customer. ``key`` None is a key that was revoked; ``slots`` None is the simulator's default."""

    name: str
    key: str | None
    credits: float
    slots: int | None = None
    spent: float = 0
    gauge: Gauge = field(default_factory=Gauge)


class Accounts:
    """All accounts, by name and by key."""

    def __init__(self, keys: list[str], credits_each: float) -> None:
        self._keys = keys
        self.reset(credits_each)

    def reset(self, credits_each: float) -> None:
        """Put back the accounts that the simulator started with."""
        self.by_name = {
            f"account-{number}": Account(f"account-{number}", key, credits_each)
            for number, key in enumerate(self._keys, 1)
        }
        self._index()

    def of(self, key: str | None) -> Account | None:
        """Return the account that a request with ``x-key`` speaks for."""
        return None if key is None else self._by_key.get(key)

    def change(self, name: str, key: str | None, credits_now: float, slots: int | None) -> None:
        """Set an account's key, credits and slots; a name not yet known opens an account."""
        account = self.by_name.setdefault(name, Account(name, key, credits_now))
        account.key, account.credits, account.slots = key, credits_now, slots
        self._index()

    def _index(self) -> None:
        self._by_key = {account.key: account for account in self.by_name.values() if account.key is not None}
