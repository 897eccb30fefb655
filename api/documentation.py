"""What the published OpenAPI document says beyond what FastAPI reads from the routes."""

import re
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from pydantic import BaseModel

from api.errors import MEDIA_TYPE, Problem, ProblemDocument
from cleanplate.items import NewBatch, NewItems

REF = "#/components/schemas/{model}"
PROBLEMS: dict[int, tuple[str, str]] = {
    400: ("unknown_parameter", "This call does not know the parameter colour."),
    401: ("invalid_key", "This key is not known, has expired or was revoked."),
    403: ("forbidden_scope", "This takes a key of scope write; the scope of yours is read."),
    404: ("not_found", "There is no such job."),
    408: ("request_timeout", "The body did not come: nothing for 30 s, or less than 4096 bytes a second for longer."),
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


KEYLESS: dict[str, Any] = {"security": []}
"""For a route's ``openapi_extra``: it asks for no key."""
BODIES: tuple[type[BaseModel], ...] = (NewBatch, NewItems)
"""JSON that a call takes beside a form, so that FastAPI does not know of it."""


class API(FastAPI):
    """FastAPI, whose document also knows the schemas of problems and forms, and shows what is null in an example.

    The summary of an operation is how its description begins, instead of the name of its function.
    """

    def openapi(self) -> dict[str, Any]:
        document = super().openapi()
        problem = ProblemDocument.model_json_schema(ref_template=REF, mode="serialization")
        schemas = {**problem.pop("$defs"), "Problem": problem}
        for model in BODIES:
            body = model.model_json_schema(ref_template=REF)
            schemas |= {**body.pop("$defs"), model.__name__: body}
        for operation, told in self._operations(document):
            operation["summary"] = re.split(r"[.:;]\s|\.$", operation["description"], maxsplit=1)[0]
            schemas |= _named(operation.get("requestBody", {}))
            _show_nulls(operation["responses"], told)
        document["components"]["schemas"] = schemas | document["components"]["schemas"]
        return document

    def _operations(self, document: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[int | str, Any]]]:
        """Yield each published operation with the ``responses`` of its route."""
        for route in iter_route_contexts(self.routes):
            if isinstance(route.original_route, APIRoute) and route.include_in_schema:
                for method in route.methods or ():
                    yield document["paths"][route.path_format][method.lower()], route.responses


def _named(body: dict[str, Any]) -> dict[str, Any]:
    """Put a reference in the place of a form's schema, and return that by its name: clients call it by that."""
    content = body.get("content", {}).get("multipart/form-data", {})
    schema = content.get("schema", {})
    if "title" not in schema:
        return {}
    content["schema"] = {"$ref": REF.format(model=schema["title"])}
    return {schema["title"]: schema}


def _show_nulls(responses: dict[str, Any], told: dict[int | str, Any]) -> None:
    """Put the examples in again as they are: FastAPI leaves out what is null in them."""
    for status, response in told.items():
        for media_type, content in response.get("content", {}).items():
            if "example" in content:
                responses[str(status)]["content"][media_type]["example"] = content["example"]


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
    return {status: {"model": type(model), "description": description, "content": content, "headers": told}}


def form(
    name: str, properties: dict[str, Any], *, required: list[str], encoding: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return, for a route's ``openapi_extra``, a body of multipart/form-data, by the name that clients give it."""
    schema = {
        "title": name,
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }
    content = {"schema": schema} | ({"encoding": encoding} if encoding else {})
    return {"requestBody": {"required": True, "content": {"multipart/form-data": content}}}


def or_json(extra: dict[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """Return the body of a call that takes what ``extra`` says, or JSON: ``model`` is one of ``BODIES``."""
    extra["requestBody"]["content"]["application/json"] = {"schema": {"$ref": REF.format(model=model.__name__)}}
    return extra


def file(description: str) -> dict[str, Any]:
    return {"type": "string", "format": "binary", "description": description}
