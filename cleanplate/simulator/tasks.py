"""A task, and what it looks like at a moment of the clock."""

import math
from dataclasses import dataclass
from typing import Any

PENDING, READY, ERROR, NOT_FOUND = "Pending", "Ready", "Error", "Task not found"
KEPT_SECONDS = 600  # the page: signed delivery URLs are valid for 10 minutes


@dataclass
class Task:
    """An accepted submit. It holds its slot until ``ends_at``; ``produced_at`` is when its result could be had."""

    ordinal: int
    id: str
    account: str
    accepted_at: float
    ends_at: float
    latency: float
    cost: float
    image_sha256: str
    mask_sha256: str
    dilate_pixels: int
    output_format: str
    seed: int
    outcome: str = READY
    webhook_url: str | None = None
    webhook_secret: str | None = None
    produced_at: float | None = None

    @property
    def done_at(self) -> float:
        """When polls stop saying Pending; later than the latency only where this machine was too slow."""
        if self.outcome != READY:
            return self.ends_at
        return math.inf if self.produced_at is None else max(self.ends_at, self.produced_at)

    @property
    def result_name(self) -> str:
        return f"{self.id}.{self.output_format}"

    def status(self, now: float) -> str:
        if now < self.done_at:
            return PENDING
        return self.outcome if now <= self.done_at + KEPT_SECONDS else NOT_FOUND

    def progress(self, now: float) -> float | None:
        """Return a guess from 0 to 0.99 of how far the task is; None before it has moved."""
        share = (now - self.accepted_at) / self.latency if self.latency else 0.99
        return round(min(share, 0.99), 2) if share > 0 else None

    def entry(self) -> dict[str, Any]:
        """Return the line of the ledger: what was paid for, when, and for which pictures."""
        shown = {name: value for name, value in vars(self).items() if name != "webhook_secret"}
        return shown | {"ends_at": self.ends_at if math.isfinite(self.ends_at) else None}
