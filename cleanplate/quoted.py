"""What a dry run answers: what is wrong with each item, and what the others would cost."""

from pydantic import BaseModel, Field

from cleanplate.resources import Rejection


class QuotedItem(BaseModel):
    """An item that would become a job, and what should be known of it before it does."""

    item: str
    custom_id: str | None
    warnings: list[str]
    credits: float
    reused: bool = Field(False, description="It is not paid: its image, mask and params are those of another.")
    reused_from: str | None = Field(None, description="The job that is the same; none if that is an item before it.")


class Quote(BaseModel):
    """The answer to a dry run: nothing was stored, nothing will be paid.

    ``accepted`` says whether the same call without ``dry_run`` would be. ``within_budget`` are how many of the items
    the batch's budget allows at the quoted price.
    """

    accepted: bool
    items: list[QuotedItem]
    rejected: list[Rejection]
    quote_credits: float
    within_budget: int
    eta_seconds: float | None
