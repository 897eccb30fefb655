"""The objects of the REST contract: what the API answers, what webhooks carry and what the client reads.

They live here because api, worker and client all need the same shapes. Field names are a promise to clients.
"""

from datetime import date as date_
from datetime import datetime
from typing import Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypeAliasType

from cleanplate.outcomes import ErrorCode
from cleanplate.shapes import JSON, Answer, Fidelity, OutputFormat
from cleanplate.states import State, Status

T = TypeVar("T")
BatchStatus = TypeAliasType("BatchStatus", Literal["open", "processing", "completed", "cancelled"])
Held = TypeAliasType("Held", Literal["canary", "canary_failed", "budget"])


class Params(BaseModel):
    """How a pair is erased."""

    model_config = ConfigDict(extra="forbid")

    dilate_pixels: int = Field(10, ge=0, le=100, description="Pixels by which the mask grows before the removal.")
    output_format: OutputFormat = Field("png", description="Format of the stored result.")
    fidelity: Fidelity = Field(
        "exact",
        description="`exact`: pixels outside the dilated mask are the original's. `raw`: the upstream's picture.",
    )
    mask_invert: bool = Field(False, description="Black is what to erase.")
    seed: int | None = Field(None, ge=0, description="Passed on to the upstream.")
    safety_tolerance: int | None = Field(None, ge=0, le=5, description="Passed on to the upstream.")


class BatchOptions(BaseModel):
    """The `options` of a batch."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = Field(None, max_length=200)
    params: Params = Field(default_factory=Params, description="Defaults of every item.")
    mask_suffix: str = Field("_mask", min_length=1, max_length=40, description="`NAME_mask.png` is the mask of `NAME`.")
    atomic: bool = Field(False, description="Take all items or none.")
    webhook_url: str | None = Field(None, max_length=2048, description="Hears of this batch and of its jobs.")
    priority: int = Field(
        5, ge=0, le=9, description="Among your own batches: each step up doubles the share of this one."
    )
    canary: int | None = Field(
        None, ge=1, description="Only the first so many jobs go; the rest waits until the batch is released."
    )
    budget_credits: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="What the batch may cost; the rest of it waits before that would be passed.",
    )
    reuse: bool = Field(
        True,
        description="An item with the same image, mask and params as another job of yours shares its result and is not "
        "paid. `false`: each is paid anew.",
    )
    manifest: bool = Field(
        True,
        description="An archive may have a `manifest.csv`. `false`: it has none, and its pairs are worked on while it "
        "still arrives. With one that happens as soon as it has come.",
    )
    seal: bool = Field(True, description="`false`: more items will come; seal it when they have.")


class JobError(BaseModel):
    """Why a job failed."""

    code: ErrorCode
    detail: str


class Picture(Answer):
    """Facts of an uploaded picture; sizes in pixels, upright."""

    width: int
    height: int
    format: str
    bytes: int
    sha256: str


class Mask(Picture):
    """Facts of an uploaded mask. ``coverage`` is the share of white, 0 to 1."""

    coverage: float


class Result(Picture):
    """The stored result."""

    url: str
    url_expires_at: datetime | None = None
    outside_mask_max_delta: int = Field(description="Largest difference (0-255) outside the dilated mask.")
    reused_from: str | None = Field(
        None, description="The job whose result it is, when that had the same image, mask and params: it is not paid."
    )


class Job(Answer):
    """One pair on its way."""

    id: str
    batch_id: str | None
    custom_id: str | None
    status: Status
    stage: State
    error: JobError | None
    warnings: list[str]
    params: Params
    image: Picture | None = Field(description="Null until it is imported, when its item said where it lies.")
    mask: Mask | None
    result: Result | None
    cost_credits: float
    attempts: int
    position: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    metadata: JSON
    parent_id: str | None = Field(None, description="The job that this one retries.")
    webhook_secret: str | None = Field(
        None, description="Verifies the webhooks of `webhook_url`; only in the answer that first names that URL."
    )


class Event(BaseModel):
    """One step of a job: the state it came to, and why."""

    at: datetime
    stage: State
    reason: str


class Attempt(BaseModel):
    """One submit to the upstream, written down before it was sent. ``answered_at`` is null when no answer came."""

    number: int
    account: str
    outcome: str
    detail: str | None
    cost_credits: float | None
    sent_at: datetime
    answered_at: datetime | None


class History(Answer):
    """What happened to a job, oldest first: a page of its events, and all attempts."""

    events: list[Event]
    attempts: list[Attempt]
    next_cursor: str | None = None


class Counts(BaseModel):
    """How many jobs of a batch stand where."""

    total: int
    queued: int
    processing: int
    succeeded: int
    failed: int
    cancelled: int


class Rejection(BaseModel):
    """An item that never became a job, and why."""

    item: str
    code: str
    detail: str


class Batch(Answer):
    """Many pairs that came together."""

    id: str
    name: str | None
    status: BatchStatus
    counts: Counts
    rejected: list[Rejection]
    reused: int = Field(0, description="How many of those that succeeded share the result of an identical job.")
    cost_credits: float
    quote_credits: float = Field(description="What it is expected to cost; what was reused costs nothing.")
    eta_seconds: float | None
    parent_id: str | None = None
    held: Held | None = Field(
        None,
        description="Why jobs wait for the release of the batch: beyond its canary, of which every job may have "
        "failed, or at its budget.",
    )
    budget_reached_at: datetime | None = None
    created_at: datetime
    sealed_at: datetime | None
    finished_at: datetime | None
    cancel_requested_at: datetime | None = None
    options: BatchOptions
    webhook_secret: str | None = Field(
        None,
        description="Verifies the webhooks of `options.webhook_url`; only in the answer that first names that URL.",
    )


class Accepted(BaseModel):
    """The answer to more items: the jobs they became, those that never became one, and the batch as it is now."""

    accepted: list[Job] = Field(description="Of very many the first ones; all are listed at the batch's `jobs`.")
    accepted_count: int = Field(description="How many they are.")
    rejected: list[Rejection]
    batch: Batch


class Endpoint(Answer):
    """A receiver of webhooks."""

    id: str
    url: str
    events: list[str]
    enabled: bool
    disabled_reason: str | None
    disabled_at: datetime | None = None
    failing_since: datetime | None = Field(
        None, description="When the first of the tries failed since the last success; after 5 days it is turned off."
    )
    one_off: bool
    created_at: datetime
    secret: str | None = Field(
        None, description="Verifies deliveries; only in the answer that creates the endpoint or rotates its secret."
    )


class UpstreamAccount(BaseModel):
    """An upstream account as the conveyors see it. One that the settings name no more has no slots, only their use."""

    account: str
    slots: int
    slots_allowed: int
    slots_used: int
    paused: bool
    paused_reason: str | None
    paused_detail: str | None
    paused_at: datetime | None
    latency_seconds: float | None
    balance_credits: float | None = Field(None, description="What is left on it, by the upstream; null: not known yet.")
    balance_at: datetime | None = Field(None, description="When the upstream said so.")


class Upstream(UpstreamAccount):
    """All upstream accounts together, and each.

    ``account`` are their names; slots and balances are summed up, as far as they are known, ``balance_at`` being the
    oldest. It is paused when every account is, with the words of the first.
    ``latency_seconds`` is what makes all slots allowed as fast as the accounts are together.
    """

    workers: int
    accounts: list[UpstreamAccount]


class Usage(Answer):
    """What came of the jobs that ended on a day, or of those of a batch; ``images`` are the results of ``jobs``."""

    date: date_ | None = None
    batch_id: str | None = None
    jobs: int
    images: int
    megapixels: float
    credits: float


class Page(BaseModel, Generic[T]):
    """One page of a list; pass ``next_cursor`` as ``cursor`` for the next."""

    data: list[T]
    next_cursor: str | None
