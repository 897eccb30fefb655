"""The intake as an ASGI application: ``uvicorn api.app:app``."""

import gc
import logging
from typing import Final

from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from api import (
    batches,
    callbacks,
    cancel,
    deletion,
    deliveries,
    docs,
    endpoints,
    errors,
    events,
    health,
    history,
    idempotency,
    jobs,
    keys,
    leases,
    listeners,
    metrics,
    release,
    remote,
    results,
    retry,
    uploads,
    upstream,
    usage,
)
from api.documentation import API
from api.fingerprint import Fingerprint
from api.hearing import Hearing
from api.listening import Switchboard
from api.middleware import BodyLimit, Envelope
from cleanplate import logs, settings

DESCRIPTION = """\
Erases what a mask covers from photographs, by the thousand.

Send pairs of image and mask, one at a time or many as a batch; get each picture back with nothing changed outside its
mask. Every error is `application/problem+json`: branch on its `code`.
"""
TAGS = [
    {"name": "batches", "description": "Many pairs that belong together."},
    {"name": "jobs", "description": "One pair on its way."},
    {"name": "uploads", "description": "Files that are put into the store before a batch names them."},
    {"name": "webhooks", "description": "Who is told of what happens, signed by Standard Webhooks."},
    {"name": "api-keys", "description": "Who may call, and what for. Takes a key of scope `admin`."},
    {"name": "upstream", "description": "The account that does the erasing."},
    {"name": "usage", "description": "What came of how much, and what it cost."},
    {"name": "health", "description": "For probes; no key."},
]

PARTS: Final = (
    callbacks,  # routes are tried one after the other, and none is called as often
    docs,
    batches,
    jobs,
    history,
    results,
    events,
    usage,
    cancel,
    deletion,
    release,
    retry,
    uploads,
    endpoints,
    deliveries,
    listeners,
    keys,
    upstream,
    health,
    metrics,
)
"""The modules with the routes, but for the one to which uploads are put, which has no key."""


def create_app() -> API:
    """Return the application, by the settings as they are now."""
    if not logging.getLogger().hasHandlers():
        logs.setup(settings.get().log_level)
    app = API(
        title="Cleanplate",
        version="1",
        description=DESCRIPTION,
        openapi_tags=TAGS,
        servers=[{"url": "/", "description": "Where this document lies."}],
        generate_unique_id_function=_operation_id,
        docs_url=None,
        redoc_url=None,
        exception_handlers={
            HTTPException: errors.answer,
            RequestValidationError: errors.answer,
            leases.Replayed: idempotency.replay,
        },
    )
    app.state.switchboard = Switchboard()
    app.state.hearing = Hearing()
    for part in PARTS:
        app.include_router(part.router)
    app.include_router(uploads.door)
    app.mount(docs.LIBRARY, docs.FILES)
    config = settings.get()
    app.add_middleware(Fingerprint)
    app.add_middleware(Envelope)
    app.add_middleware(
        BodyLimit,
        multipart_bytes=config.max_request_bytes,
        others={uploads.DOOR: config.max_file_bytes, batches.router.prefix: remote.ITEMS_BYTES},
        timeout_seconds=config.body_timeout_seconds,
    )
    return app


def _operation_id(route: APIRoute) -> str:
    return route.name


app = create_app()
gc.freeze()  # what was imported stays: to look through it again is a thirtieth of what the API does
