"""Where the upstream calls back when a task has ended. No API key: a call proves itself, and is not for clients."""

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request, Response
from pydantic import BaseModel, Field, ValidationError

from api.errors import Problem
from cleanplate import callbacks, db

BODY_BYTES = 64 << 10

router = APIRouter(include_in_schema=False)


class Told(BaseModel):
    """All that is read of a call: which task it is about."""

    id: str = Field(min_length=1, max_length=200, pattern=r"^[!-~]+$")


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES:
            raise Problem(413, "request_too_large", f"A callback has at most {BODY_BYTES} bytes.")
    return bytes(body)


@router.post(f"{callbacks.PATH}{{token}}")
def hear(
    token: str,
    body: Annotated[bytes, Depends(_body)],
    signature: Annotated[str | None, Header(alias=callbacks.SIGNATURE_HEADER)] = None,
    secret: Annotated[str | None, Header(alias=callbacks.SECRET_HEADER)] = None,
) -> Response:
    """Take a hint that a task has ended. It is believed that much and no more: the conveyor polls."""
    if not callbacks.proven(token, body, signature=signature, secret=secret):
        raise _unknown()
    try:
        told = Told.model_validate_json(body)
    except ValidationError:
        raise Problem(400, "malformed_body", "The body is not the JSON of a task.") from None
    with db.transaction() as tx:
        if not callbacks.heard(tx, token, told.id):
            raise _unknown()
    return Response()


def _unknown() -> Problem:
    return Problem(401, "invalid_callback", "This callback was not asked for, or does not prove where it comes from.")
