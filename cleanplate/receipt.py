"""The shape of a batch's receipt: a line for each job that has ended and for each item that never became one."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel


class Line(BaseModel):
    """What became of one item. Sizes are in bytes, times in UTC, hashes SHA-256 in hex."""

    position: int | None = None
    custom_id: str | None
    job_id: str | None = None
    status: Literal["succeeded", "failed", "cancelled", "rejected"]
    error_code: str | None = None
    error_detail: str | None = None
    file: str | None = None
    result_sha256: str | None = None
    result_bytes: int | None = None
    result_format: str | None = None
    outside_mask_max_delta: int | None = None
    reused_from: str | None = None
    width: int | None = None
    height: int | None = None
    image_sha256: str | None = None
    image_bytes: int | None = None
    mask_sha256: str | None = None
    mask_bytes: int | None = None
    mask_coverage: float | None = None
    cost_credits: float = 0.0
    attempts: int = 0
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
