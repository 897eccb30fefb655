"""What the published OpenAPI document says beyond what FastAPI reads from the routes."""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from api.errors import MEDIA_TYPE, Problem, ProblemDocument

REF = "#/components/schemas/{model}"
PROBLEMS: dict[int, tuple[str, str]] = {
    400: ("unknown_parameter", "This call does not know the parameter colour."),
    401: ("invalid_key", "This key is not known, has expired or was revoked."),
    403: ("forbidden_scope", "This takes a key of scope write; the scope of yours is read."),
    404: ("not_found", "There is no such job."),
    409: ("not_finished", "The job has not ended yet: it is inflight."),
    410: ("result_expired", "The result is no longer stored."),
    413: ("file_too_large", "sofa.jpg has 80000000 bytes and the most that is taken is 67108864."),
    415: ("unsupported_media_type", "The image is none of the formats taken: JPEG, PNG, WebP, AVIF, HEIC."),
    422: ("mask_size_mismatch", "The image has 800 x 600 pixels and the mask 801 x 600."),
    429: ("rate_limited", "Your team has made its 12000 requests of this minute."),
    500: ("internal_error", "Something went wrong here; the request's id finds it in the logs."),
    503: ("database_unavailable", "The database does not answer; try again."),
    507: ("store_full", "The object store has no room left."),
}


class API(FastAPI):
    """FastAPI, whose document also knows the schema of a problem."""

    def openapi(self) -> dict[str, Any]:
        document = super().openapi()
        problem = ProblemDocument.model_json_schema(ref_template=REF, mode="serialization")
        document["components"]["schemas"] |= {**problem.pop("$defs"), "Problem": problem}
        return document


def answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return, for a route's ``responses``, the problems that it answers with: where a key is asked for, 429, too."""
    limited = (HTTPStatus.TOO_MANY_REQUESTS.value,) if HTTPStatus.UNAUTHORIZED in statuses else ()
    return {status: _told(Problem(status, *PROBLEMS[status])) for status in (*statuses, *limited)}


def answer(problem: Problem) -> dict[int | str, dict[str, Any]]:
    """Return, for a route's ``responses``, a problem of its own that it answers with."""
    return {problem.status: _told(problem)}


def _told(problem: Problem) -> dict[str, Any]:
    example = problem.document("req_0199c8a4e2f07d6fb0d1a2b3c4d5e6f7")
    schema = {"$ref": REF.format(model="Problem")}
    return {
        "description": HTTPStatus(problem.status).phrase,
        "content": {MEDIA_TYPE: {"schema": schema, "example": example}},
    }


def example(
    status: int, description: str, model: BaseModel, headers: dict[str, str] | None = None
) -> dict[int | str, dict[str, Any]]:
    """Return, for a route's ``responses``, what a success looks like; ``headers`` are names and what they tell."""
    told = {name: {"description": text, "schema": {"type": "string"}} for name, text in (headers or {}).items()}
    content = {"application/json": {"example": model.model_dump(mode="json")}}
    return {status: {"description": description, "content": content, "headers": told}}


def form(properties: dict[str, Any], *, required: list[str], encoding: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return, for a route's ``openapi_extra``, the body of a call that takes multipart/form-data."""
    schema = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    content = {"schema": schema} | ({"encoding": encoding} if encoding else {})
    return {"requestBody": {"required": True, "content": {"multipart/form-data": content}}}


def file(description: str) -> dict[str, Any]:
    return {"type": "string", "format": "binary", "description": description}
