"""Where the upstream calls back when a task has ended. No API key: a call proves itself, and is not for clients.

Calls come as fast as tasks end, and each empties a slot the sooner it is heard. So the route is a plain one on the
event loop: what FastAPI offers to others, and a thread, cost several times what there is to do.
"""

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field, ValidationError

from api.errors import Problem
from cleanplate import callbacks

BODY_BYTES = 64 << 10

router = APIRouter()


class Told(BaseModel):
    """All that is read of a call: which task it is about."""

    id: str = Field(min_length=1, max_length=200, pattern=r"^[!-~]+$")


async def hear(request: Request) -> Response:
    """Take a hint that a task has ended. It is believed that much and no more: the conveyor polls."""
    token, body, headers = request.path_params["token"], await _body(request), request.headers
    signature, secret = headers.get(callbacks.SIGNATURE_HEADER), headers.get(callbacks.SECRET_HEADER)
    if not callbacks.proven(token, body, signature=signature, secret=secret):
        raise _unknown()
    try:
        told = Told.model_validate_json(body)
    except ValidationError:
        raise Problem(400, "malformed_body", "The body is not the JSON of a task.") from None
    if not await request.app.state.hearing.heard(callbacks.digest(token), told.id):
        raise _unknown()
    return Response()


router.add_route(f"{callbacks.PATH}{{token}}", hear, methods=["POST"], include_in_schema=False)


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES:
            raise Problem(413, "request_too_large", f"A callback has at most {BODY_BYTES} bytes.")
    return bytes(body)


def _unknown() -> Problem:
    return Problem(401, "invalid_callback", "This callback was not asked for, or does not prove where it comes from.")
