"""Every answer that is no success: ``application/problem+json`` (RFC 9457), with a stable ``code``."""

import logging
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy.exc import DataError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from cleanplate.db import AWAY, words
from cleanplate.imaging.faults import ImageFault
from cleanplate.outbound import ForbiddenUrl
from cleanplate.resources import Rejection
from cleanplate.storage import StoreFull, StoreUnavailable
from cleanplate.vault import VaultError

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = "2"
FINDINGS_TOLD = 1000


class Finding(BaseModel):
    """One thing that is wrong: with a field (``pointer``, RFC 6901 as a fragment) or with an ``item`` of a batch."""

    model_config = ConfigDict(frozen=True)

    pointer: str | None = None
    item: str | None = None
    code: str
    detail: str


class ProblemDocument(BaseModel):
    """What is wrong, in a form for programs: branch on `code`, show `detail`. RFC 9457."""

    model_config = ConfigDict(extra="allow", title="Problem")

    type: str = Field(description="Names the kind of problem, by its code.")
    title: str
    status: int
    detail: str
    code: str = Field(description="Stable.")
    request_id: str = Field(description="Quote it to the operator; it is in the logs.")
    errors: list[Finding] = Field(description="Each thing that is wrong, where there is more to say than `detail`.")


class Problem(Exception):  # noqa: N818 -- the name that RFC 9457 gives it
    """Raise it anywhere in a request to answer it. ``extra`` become members of the document."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        title: str | None = None,
        errors: Sequence[Finding] = (),
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.detail = detail
        self.title = title or HTTPStatus(status).phrase
        self.errors = errors
        self.headers = headers
        self.extra = extra or {}

    def document(self, request_id: str) -> dict[str, Any]:
        told = ProblemDocument(
            type=f"urn:problem-type:cleanplate:{self.code}",
            title=self.title,
            status=self.status,
            detail=self.detail,
            code=self.code,
            request_id=request_id,
            errors=list(self.errors),
        )
        return {**self.extra, **told.model_dump(exclude_none=True)}

    def response(self, request_id: str) -> JSONResponse:
        headers = dict(self.headers or {})
        return JSONResponse(self.document(request_id), self.status, headers, media_type=MEDIA_TYPE)


def not_found(what: str) -> Problem:
    """Return the answer for an id that does not exist or belongs to somebody else: nobody can tell which."""
    return Problem(404, "not_found", f"There is no such {what}.")


def unavailable(code: str, detail: str) -> Problem:
    return Problem(503, code, detail, headers={"Retry-After": RETRY_SECONDS})


def invalid(error: ValidationError, at: str = "") -> Problem:
    """Return the 422 for a part of the body that pydantic refused; ``at`` is the pointer to that part."""
    return invalid_fields([_finding(found, at) for found in error.errors(include_url=False, include_input=False)])


def invalid_fields(findings: Sequence[Finding]) -> Problem:
    """Return the 422 for what is wrong with fields."""
    words = "; ".join(f"{finding.pointer}: {finding.detail}" for finding in findings[:3])
    return Problem(422, "validation_failed", words, errors=findings)


def _finding(error: Mapping[str, Any], at: str) -> Finding:
    path = "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in error["loc"])
    return Finding(pointer=f"#{at}{path}", code=error["type"], detail=error["msg"])


def _from_validation(error: RequestValidationError) -> Problem:
    """Turn FastAPI's findings into ours: those of the body point into it, others into where they stood."""
    found = [{**one, "loc": one["loc"][1:] if one["loc"][0] == "body" else one["loc"]} for one in error.errors()]
    findings = list(dict.fromkeys(_finding(one, "") for one in found))  # what several dependencies read counts once
    unknown = [one["loc"][-1] for one in found if one["loc"][:1] == ("query",) and one["type"] == "extra_forbidden"]
    if unknown:
        detail = f"This call does not know the parameter {', '.join(unknown)}."
        return Problem(400, "unknown_parameter", detail, errors=findings)
    if any(one["type"] == "json_invalid" for one in found):
        return Problem(400, "malformed_body", "The body is not the JSON it should be.")
    return invalid_fields(findings)


def _from_http(error: HTTPException) -> Problem:
    if isinstance(error.__cause__, Problem):  # FastAPI's own, over what reading the body raised
        return error.__cause__
    if error.status_code == HTTPStatus.NOT_FOUND:
        return Problem(404, "not_found", "There is nothing at this address; /docs lists what there is.")
    code = (
        "malformed_body" if error.status_code == HTTPStatus.BAD_REQUEST else HTTPStatus(error.status_code).name.lower()
    )
    return Problem(error.status_code, code, f"{error.detail}.", headers=error.headers)


def _from_away(error: Exception) -> Problem:
    log.warning("the database is away: %s", words(error))
    return unavailable("database_unavailable", "The database does not answer; try again.")


_EXPECTED: dict[type[Exception] | tuple[type[Exception], ...], Callable[[Any], Problem]] = {
    Problem: lambda error: error,
    ImageFault: lambda error: Problem(error.status, error.code, error.detail, title=error.title, extra=error.extra),
    ForbiddenUrl: lambda error: Problem(422, error.code, error.detail),
    RequestValidationError: _from_validation,
    HTTPException: _from_http,
    StoreFull: lambda _: Problem(507, "store_full", "The object store has no room left."),
    StoreUnavailable: lambda _: unavailable("store_unavailable", "The object store does not answer; try again."),
    VaultError: lambda error: unavailable("secrets_unavailable", f"The operator is asked for: {error}"),
    AWAY: _from_away,
    DataError: lambda _: Problem(422, "unstorable_text", "A text holds what cannot be stored, such as NUL."),
    ClientDisconnect: lambda _: Problem(400, "client_disconnected", "The request ended before its body did."),
}


def translate(error: Exception) -> Problem | None:
    """Return the answer to what was raised while a request was served, or None for what nobody expected."""
    return next((to_problem(error) for kind, to_problem in _EXPECTED.items() if isinstance(error, kind)), None)


async def answer(request: Request, error: Exception) -> JSONResponse:
    """Answer what FastAPI would otherwise answer in a form of its own."""
    problem = translate(error)
    if problem is None:
        raise error
    if problem.status == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = ", ".join(sorted(_methods(request)))
        problem.detail = f"This address takes {allowed}."
        problem.headers = {"Allow": allowed}
    return problem.response(request.state.request_id)


def _methods(request: Request) -> set[str]:
    """Return what may be asked of this address: the router names the methods of one of its routes only."""
    return {
        method
        for method in ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
        for route in request.app.router.routes
        if route.matches({**request.scope, "method": method})[0] is Match.FULL
    }


def findings(rejected: Sequence[Rejection]) -> list[Finding]:
    """Return the items of a batch that were refused as members of ``errors``: the first, and how many more."""
    return [Finding(item=one.item, code=one.code, detail=one.detail) for one in shortened(rejected, most=FINDINGS_TOLD)]


def shortened(rejected: Sequence[Rejection], most: int) -> list[Rejection]:
    """Return the first of them, and where there are more one that says how many; its code is theirs or ``several``."""
    told, rest = list(rejected[:most]), rejected[most:]
    if rest:
        codes = {one.code for one in rest}
        code = codes.pop() if len(codes) == 1 else "several"
        told.append(Rejection(item=f"{len(rest)} more", code=code, detail="these are not listed"))
    return told
