"""The tables. PostgreSQL is the truth of this project: what is not in here did not happen."""

from cleanplate.models.base import Base
from cleanplate.models.teams import ApiKey, Delivery, DeliveryAttempt, Endpoint, Listener, ListenerEvent, Tenant
from cleanplate.models.upstream import Account, Worker
from cleanplate.models.work import Attempt, Batch, BatchEnd, Job, JobEvent, Upload

__all__ = [
    "Account",
    "ApiKey",
    "Attempt",
    "Base",
    "Batch",
    "BatchEnd",
    "Delivery",
    "DeliveryAttempt",
    "Endpoint",
    "Job",
    "JobEvent",
    "Listener",
    "ListenerEvent",
    "Tenant",
    "Upload",
    "Worker",
]
