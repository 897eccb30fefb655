"""The intake as an ASGI application: ``uvicorn api.app:app``."""

import logging

from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from api import (
    batches,
    callbacks,
    cancel,
    docs,
    endpoints,
    errors,
    health,
    idempotency,
    jobs,
    keys,
    release,
    retry,
    upstream,
)
from api.documentation import API
from api.fingerprint import Fingerprint
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
    {"name": "webhooks", "description": "Who is told of what happens, signed by Standard Webhooks."},
    {"name": "api-keys", "description": "Who may call, and what for. Takes a key of scope `admin`."},
    {"name": "upstream", "description": "The account that does the erasing."},
    {"name": "health", "description": "For probes; no key."},
]


def create_app() -> API:
    """Return the application, by the settings as they are now."""
    if not logging.getLogger().hasHandlers():
        logs.setup(settings.get().log_level)
    app = API(
        title="Cleanplate",
        version="1",
        description=DESCRIPTION,
        openapi_tags=TAGS,
        generate_unique_id_function=_operation_id,
        docs_url=None,
        redoc_url=None,
        exception_handlers={
            HTTPException: errors.answer,
            RequestValidationError: errors.answer,
            idempotency.Replayed: idempotency.replay,
        },
    )
    for routes in (docs, batches, jobs, cancel, release, retry, endpoints, keys, upstream, callbacks, health):
        app.include_router(routes.router)
    app.add_middleware(Fingerprint)
    app.add_middleware(BodyLimit, multipart_bytes=settings.get().max_request_bytes)
    app.add_middleware(Envelope)
    return app


def _operation_id(route: APIRoute) -> str:
    return route.name


app = create_app()
