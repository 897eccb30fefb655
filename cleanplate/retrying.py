"""How what failed is tried again: the body of a retry, for the API and its client."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from cleanplate.resources import Params
from cleanplate.shapes import Fidelity, without_defaults


class NewParams(BaseModel):
    """The params that may change: those that the check of the pair, made when it came, did not depend on."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=without_defaults)

    dilate_pixels: int = Field(10, ge=0, le=100)
    fidelity: Fidelity = "exact"
    seed: int | None = Field(None, ge=0)
    safety_tolerance: int | None = Field(None, ge=0, le=5)


class Retrying(BaseModel):
    """What to retry, and with what; params that are not named stay each job's own."""

    model_config = ConfigDict(extra="forbid")

    params: NewParams = Field(default_factory=NewParams)
    cancelled: bool = Field(False, description="Take what was cancelled, too.")

    def changed(self, params: dict[str, Any]) -> dict[str, Any]:
        """Return a job's params with what is to change."""
        return Params(**params | self.params.model_dump(exclude_unset=True)).model_dump()


class RetryingBatch(Retrying):
    """How a batch is retried; its child has limits of its own."""

    canary: int | None = Field(None, ge=1, description="As in the options of a batch.")
    budget_credits: float | None = Field(None, gt=0, allow_inf_nan=False, description="As in the options of a batch.")
