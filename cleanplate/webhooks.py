"""What the API takes and answers about webhooks beyond the endpoints themselves, for it and its client."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError
from typing_extensions import TypeAliasType

EVENTS = (
    "job.succeeded",
    "job.failed",
    "job.cancelled",
    "batch.completed",
    "batch.cancelled",
    "upstream.paused",
    "upstream.resumed",
    "webhook_endpoint.disabled",
    "webhook.test",
)
DeliveryStatus = TypeAliasType("DeliveryStatus", Literal["pending", "delivered", "failed"])


def _known(event: str) -> str:
    if event not in EVENTS:
        raise PydanticCustomError("value_error", f"not an event; there are {', '.join(EVENTS)}")
    return event


EventType = TypeAliasType(
    "EventType", Annotated[str, AfterValidator(_known), Field(json_schema_extra={"enum": list(EVENTS)})]
)


class EndpointChange(BaseModel):
    """What is to change about a receiver; what is left out, or null, stays."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"events": ["batch.completed", "job.failed"], "enabled": True}},
    )

    url: str | None = Field(None, max_length=2048)
    events: list[EventType] | None = Field(None, max_length=100)
    enabled: bool | None = Field(
        None, description="`false`: nothing is sent, and what happens is kept. `true`: it is sent again."
    )


class Delivery(BaseModel):
    """One event on its way to one receiver. ``event_id`` is the ``webhook-id`` of every try."""

    id: str
    endpoint_id: str
    event_id: str
    event_type: str
    subject_id: str | None = Field(description="The job, batch or endpoint that it tells of.")
    status: DeliveryStatus
    tries: int
    next_try_at: datetime | None
    last_status: int | None = Field(description="HTTP status of the last answer.")
    last_error: str | None
    created_at: datetime
    delivered_at: datetime | None


class DeliveryAttempt(BaseModel):
    """One try. ``duration_ms`` is null while it is under way, or when its worker died."""

    number: int
    started_at: datetime
    duration_ms: int | None
    status: int | None = Field(description="HTTP status of the answer; null when there was none.")
    error: str | None
    answer: str | None = Field(description="The beginning of the answer's body.")


class DeliveryDetails(Delivery):
    """A delivery with all that was tried, oldest first, and what it says."""

    body: dict[str, Any]
    attempts: list[DeliveryAttempt]


class Recovery(BaseModel):
    """What goes out again. With ``more`` some is left: recover again."""

    recovered: int
    more: bool


class Listener(BaseModel):
    """Somebody who asks for events instead of having them sent; forgotten when it has not asked for two minutes."""

    id: str
    secret: str | None = Field(None, description="Verifies what it hears; the same for all listeners of a team.")
    expires_at: datetime


class HeardEvent(BaseModel):
    """An event, as it would be sent: the headers are those of Standard Webhooks, the body is what they sign."""

    id: str = Field(description="Its `webhook-id`.")
    type: str
    headers: dict[str, str]
    body: str


class Heard(BaseModel):
    """Some events; ``next_cursor`` says with the next question that they were heard."""

    data: list[HeardEvent]
    next_cursor: str
