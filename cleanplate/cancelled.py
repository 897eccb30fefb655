"""What a cancellation answers: the batch or the job, and what was saved."""

from pydantic import BaseModel, Field

from cleanplate.resources import Batch, Job
from cleanplate.states import InFlight


class Saved(BaseModel):
    """What a cancellation saves."""

    stopped: int = Field(description="Jobs that this call keeps from being submitted: they cost nothing.")
    credits: float = Field(description="What those were expected to cost.")
    in_flight: int = Field(description="Jobs that had been submitted and have not ended: they are paid.")
    in_flight_policy: InFlight = Field(description="What becomes of those; what was abandoned stays abandoned.")


class CancelledJob(Job):
    """A job that is to be cancelled."""

    saved: Saved


class CancelledBatch(Batch):
    """A batch that is to be cancelled."""

    saved: Saved
