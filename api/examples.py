"""What answers look like, for the documentation: made of the resources themselves, so they cannot be wrong in form."""

import json
from datetime import UTC, datetime, timedelta

from cleanplate import webhooks
from cleanplate.api_keys import ApiKey, Scope
from cleanplate.cancelled import CancelledBatch, CancelledJob, Saved
from cleanplate.items import Upload
from cleanplate.quoted import Quote, QuotedItem
from cleanplate.resources import (
    Accepted,
    Attempt,
    Batch,
    BatchOptions,
    Counts,
    Endpoint,
    Event,
    History,
    Job,
    Mask,
    Page,
    Params,
    Picture,
    Rejection,
    Result,
    Upstream,
    UpstreamAccount,
)
from cleanplate.states import InFlight, State, Status

_AT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
_JOB_ID = "job_0199c8a4e2f07d6fb0d1a2b3c4d5e6f7"
_BATCH_ID = "bat_0199c8a4e1b27c3e9f00112233445566"
_SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_URL = f"https://cleanplate.example.com/v1/jobs/{_JOB_ID}/result"

QUEUED_JOB = Job(
    id=_JOB_ID,
    batch_id=None,
    custom_id="sofa",
    status=Status.QUEUED,
    stage=State.QUEUED,
    error=None,
    warnings=[],
    params=Params(),
    image=Picture(width=1200, height=900, format="jpeg", bytes=348_112, sha256=_SHA256),
    mask=Mask(width=1200, height=900, format="png", bytes=5_120, sha256=_SHA256, coverage=0.031),
    result=None,
    cost_credits=0.0,
    attempts=0,
    position=0,
    created_at=_AT,
    started_at=None,
    finished_at=None,
    metadata={"sku": "SOFA-3"},
)
JOB = QUEUED_JOB.model_copy(
    update={
        "batch_id": _BATCH_ID,
        "status": Status.SUCCEEDED,
        "stage": State.SUCCEEDED,
        "result": Result(
            width=1200, height=900, format="png", bytes=1_402_331, sha256=_SHA256, url=_URL, outside_mask_max_delta=0
        ),
        "cost_credits": 5.0,
        "attempts": 1,
        "started_at": _AT + timedelta(seconds=1),
        "finished_at": _AT + timedelta(seconds=7),
    }
)
RETRIED_JOB = QUEUED_JOB.model_copy(update={"id": _JOB_ID[:-1] + "8", "parent_id": _JOB_ID})
JOB_PAGE = Page[Job](data=[JOB], next_cursor=None)
HISTORY = History(
    events=[
        Event(at=_AT, stage=State.QUEUED, reason="accepted"),
        Event(at=_AT + timedelta(seconds=1), stage=State.CLAIMED, reason="claimed"),
        Event(at=_AT + timedelta(seconds=1), stage=State.SENDING, reason="sending"),
    ],
    attempts=[
        Attempt(
            number=1,
            account="default",
            outcome="accepted",
            detail=None,
            cost_credits=5.0,
            sent_at=_AT + timedelta(seconds=1),
            answered_at=_AT + timedelta(seconds=2),
        )
    ],
)
_REJECTED = Rejection(item="chair.jpg", code="missing_mask", detail="chair_mask.png is not there")
NEW_BATCH = Batch(
    id=_BATCH_ID,
    name="spring catalogue",
    status="processing",
    counts=Counts(total=2, queued=2, processing=0, succeeded=0, failed=0, cancelled=0),
    rejected=[_REJECTED],
    cost_credits=0.0,
    quote_credits=10.0,
    eta_seconds=12.0,
    created_at=_AT,
    sealed_at=_AT,
    finished_at=None,
    options=BatchOptions(name="spring catalogue", webhook_url="https://example.com/hooks"),
    webhook_secret="whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",  # noqa: S106 -- an example
)
RETRIED_BATCH = NEW_BATCH.model_copy(
    update={"id": _BATCH_ID[:-1] + "7", "parent_id": _BATCH_ID, "rejected": [], "webhook_secret": None}
)
QUOTE = Quote(
    accepted=True,
    items=[QuotedItem(item="sofa.jpg", custom_id="sofa", warnings=[], credits=5.0)],
    rejected=[_REJECTED],
    quote_credits=5.0,
    within_budget=1,
    eta_seconds=6.0,
)
BATCH = NEW_BATCH.model_copy(
    update={
        "status": "completed",
        "counts": Counts(total=2, queued=0, processing=0, succeeded=2, failed=0, cancelled=0),
        "cost_credits": 10.0,
        "eta_seconds": 0.0,
        "finished_at": _AT + timedelta(seconds=9),
        "webhook_secret": None,
    }
)
BATCH_PAGE = Page[Batch](data=[BATCH], next_cursor=None)
ACCEPTED = Accepted(
    accepted=[QUEUED_JOB.model_copy(update={"batch_id": _BATCH_ID})],
    accepted_count=1,
    rejected=[_REJECTED],
    batch=NEW_BATCH.model_copy(update={"status": "open", "sealed_at": None, "webhook_secret": None}),
)
CANCELLED_JOB = CancelledJob(
    **dict(QUEUED_JOB) | {"status": Status.CANCELLED, "stage": State.CANCELLED, "finished_at": _AT},
    saved=Saved(stopped=1, credits=5.0, in_flight=0, in_flight_policy=InFlight.FINISH),
)
CANCELLED_BATCH = CancelledBatch(
    **dict(NEW_BATCH)
    | {
        "counts": Counts(total=2, queued=0, processing=1, succeeded=0, failed=0, cancelled=1),
        "cancel_requested_at": _AT + timedelta(seconds=3),
        "webhook_secret": None,
    },
    saved=Saved(stopped=1, credits=5.0, in_flight=1, in_flight_policy=InFlight.FINISH),
)
UPLOAD = Upload(
    upload_id="upl_0199c8a4e5c37f1a9b00a1b2c3d4e5f6",
    url="https://cleanplate.example.com/uploads/TOKEN",
    headers={},
    url_expires_at=_AT + timedelta(hours=1),
    max_bytes=67_108_864,
    expires_at=_AT + timedelta(hours=24),
)
ENDPOINT = Endpoint(
    id="whe_0199c8a4e0a17b2d8e00aabbccddeeff",
    url="https://example.com/hooks",
    events=["batch.completed"],
    enabled=True,
    disabled_reason=None,
    one_off=False,
    created_at=_AT,
)
NEW_ENDPOINT = ENDPOINT.model_copy(update={"secret": NEW_BATCH.webhook_secret})
ENDPOINT_PAGE = Page[Endpoint](data=[ENDPOINT], next_cursor=None)
DELIVERY = webhooks.Delivery(
    id="dlv_0199c8a4e3d47a5bb200123456789abc",
    endpoint_id=ENDPOINT.id,
    event_id="evt_0199c8a4e3d37f1e8c00cba987654321",
    event_type="batch.completed",
    subject_id=_BATCH_ID,
    status="delivered",
    tries=2,
    next_try_at=None,
    last_status=204,
    last_error=None,
    created_at=_AT,
    delivered_at=_AT + timedelta(seconds=6),
)
DELIVERY_PAGE = Page[webhooks.Delivery](data=[DELIVERY], next_cursor=None)
DELIVERY_DETAILS = webhooks.DeliveryDetails(
    **dict(DELIVERY),
    body={"type": "batch.completed", "timestamp": _AT.isoformat(), "data": {"id": _BATCH_ID, "status": "completed"}},
    attempts=[
        webhooks.DeliveryAttempt(
            number=1, started_at=_AT, duration_ms=812, status=500, error="the receiver answered 500", answer="oops"
        ),
        webhooks.DeliveryAttempt(
            number=2, started_at=_AT + timedelta(seconds=6), duration_ms=35, status=204, error=None, answer=""
        ),
    ],
)
LISTENER = webhooks.Listener(
    id="lsn_0199c8a4e6b27d0c8a00fedcba987654", secret=NEW_BATCH.webhook_secret, expires_at=_AT + timedelta(minutes=2)
)
HEARD = webhooks.Heard(
    data=[
        webhooks.HeardEvent(
            id=DELIVERY.event_id,
            type="batch.completed",
            headers={
                "webhook-id": DELIVERY.event_id,
                "webhook-timestamp": str(int(_AT.timestamp())),
                "webhook-signature": "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=",
            },
            body=json.dumps(DELIVERY_DETAILS.body),
        )
    ],
    next_cursor="1",
)
UPSTREAM_ACCOUNT = UpstreamAccount(
    account="default",
    slots=24,
    slots_allowed=24,
    slots_used=24,
    paused=False,
    paused_reason=None,
    paused_detail=None,
    paused_at=None,
    latency_seconds=4.2,
    balance_credits=18_250.0,
    balance_at=_AT,
)
UPSTREAM = Upstream(**UPSTREAM_ACCOUNT.model_dump(), workers=1, accounts=[UPSTREAM_ACCOUNT])
API_KEY = ApiKey(
    id="key_0199c8a4df1171c88a00ffeeddccbbaa",
    name="warehouse",
    prefix="cp_3fYw0Qx",
    scope=Scope.WRITE,
    created_at=_AT,
    expires_at=_AT + timedelta(days=90),
    revoked_at=None,
    last_used_at=None,
)
NEW_API_KEY = API_KEY.model_copy(update={"key": "cp_3fYw0QxDqN5mB1tLkRz7uVhJ2sEaGc8oXiWpTy4nMfU"})
REVOKED_API_KEY = API_KEY.model_copy(update={"revoked_at": _AT + timedelta(days=1)})
API_KEY_PAGE = Page[ApiKey](data=[API_KEY], next_cursor=None)
