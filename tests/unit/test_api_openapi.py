from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.routing import APIRoute
from pydantic import TypeAdapter

from api.app import PARTS, app
from api.bodies import multipart_or_batch, multipart_or_items
from api.forms import multipart
from api.idempotency import once

DOCUMENT = app.openapi()
BODIES = {multipart, multipart_or_batch, multipart_or_items}
ROUTES = [
    route for part in PARTS for route in part.router.routes if isinstance(route, APIRoute) and route.include_in_schema
]


def operations() -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


OPERATIONS = dict(operations())
each_operation = pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS.keys())


def resolve(reference: str) -> Any:
    found: Any = DOCUMENT
    for step in reference.removeprefix("#/").split("/"):
        found = found[step]
    return found


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_the_operations_are_those_of_the_contract() -> None:
    assert set(OPERATIONS) == {
        "POST /v1/jobs",
        "GET /v1/jobs",
        "GET /v1/jobs/{job_id}",
        "GET /v1/jobs/{job_id}/history",
        "DELETE /v1/jobs/{job_id}",
        "DELETE /v1/batches/{batch_id}",
        "GET /v1/jobs/{job_id}/result",
        "POST /v1/jobs/{job_id}/cancel",
        "POST /v1/batches",
        "GET /v1/batches",
        "GET /v1/batches/{batch_id}",
        "GET /v1/batches/{batch_id}/jobs",
        "POST /v1/batches/{batch_id}/items",
        "POST /v1/batches/{batch_id}/seal",
        "POST /v1/batches/{batch_id}/cancel",
        "POST /v1/uploads",
        "POST /v1/batches/{batch_id}/release",
        "POST /v1/batches/{batch_id}/retry",
        "POST /v1/jobs/{job_id}/retry",
        "POST /v1/webhook-endpoints",
        "GET /v1/webhook-endpoints",
        "GET /v1/webhook-endpoints/{endpoint_id}",
        "PATCH /v1/webhook-endpoints/{endpoint_id}",
        "DELETE /v1/webhook-endpoints/{endpoint_id}",
        "POST /v1/webhook-endpoints/{endpoint_id}/rotate-secret",
        "POST /v1/webhook-endpoints/{endpoint_id}/test",
        "POST /v1/webhook-endpoints/{endpoint_id}/recover",
        "GET /v1/webhook-endpoints/{endpoint_id}/deliveries",
        "POST /v1/listeners",
        "GET /v1/listeners/{listener_id}/events",
        "DELETE /v1/listeners/{listener_id}",
        "GET /v1/deliveries/{delivery_id}",
        "POST /v1/deliveries/{delivery_id}/redeliver",
        "POST /v1/api-keys",
        "GET /v1/api-keys",
        "GET /v1/api-keys/{key_id}",
        "POST /v1/api-keys/{key_id}/revoke",
        "GET /v1/batches/{batch_id}/results.zip",
        "GET /v1/batches/{batch_id}/results.csv",
        "GET /v1/batches/{batch_id}/results.ndjson",
        "GET /v1/batches/{batch_id}/events",
        "GET /v1/usage",
        "GET /v1/upstream",
        "GET /livez",
        "GET /readyz",
        "GET /metrics",
    }


def test_every_route_is_published() -> None:
    assert {route.name for route in ROUTES} == {operation["operationId"] for operation in OPERATIONS.values()}


def test_operation_ids_are_unique() -> None:
    ids = [operation["operationId"] for operation in OPERATIONS.values()]
    assert len(set(ids)) == len(ids)


@each_operation
def test_every_operation_has_a_tag_and_says_what_it_does(operation: dict[str, Any]) -> None:
    assert operation["description"].startswith(operation["summary"])
    assert operation["description"]
    assert set(operation["tags"]) <= {tag["name"] for tag in DOCUMENT["tags"]}


@each_operation
def test_every_operation_tells_its_errors_as_problems(operation: dict[str, Any]) -> None:
    errors = {status: told for status, told in operation["responses"].items() if status >= "400"}
    assert errors
    for status, told in errors.items():
        content = told["content"]["application/problem+json"]
        assert content["schema"]["$ref"] == "#/components/schemas/Problem"
        assert content["example"]["status"] == int(status)


@pytest.mark.parametrize("path", [path for path in DOCUMENT["paths"] if path.startswith("/v1")])
def test_every_call_of_v1_asks_for_a_key_and_says_401(path: str) -> None:
    for operation in DOCUMENT["paths"][path].values():
        assert operation["security"]
        assert "401" in operation["responses"]


def test_every_write_says_that_a_read_only_key_is_refused() -> None:
    for name, operation in OPERATIONS.items():
        if not name.startswith("GET"):
            assert "403" in operation["responses"], name


def test_every_call_with_a_body_says_that_it_may_be_too_slow_or_too_large() -> None:
    for name, operation in OPERATIONS.items():
        if "requestBody" in operation:
            assert {"408", "413"} <= operation["responses"].keys(), name


def test_every_list_has_fifty_a_page_and_two_hundred_at_most_and_refuses_what_it_does_not_know() -> None:
    lists = 0
    for name, operation in OPERATIONS.items():
        for limit in [one["schema"] for one in operation.get("parameters", []) if one["name"] == "limit"]:
            assert (limit["default"], limit["minimum"], limit["maximum"]) == (50, 1, 200), name
            assert "400" in operation["responses"], name
            lists += 1
    assert lists > 5


HARMLESS_WHEN_REPEATED = {
    *("revoke_api_key", "seal_batch", "cancel_job", "cancel_batch", "release_batch"),
    *("recover_webhook_endpoint", "redeliver"),
}


def test_every_call_that_creates_takes_an_idempotency_key_after_its_body() -> None:
    creating = [route for route in ROUTES if "POST" in route.methods and route.name not in HARMLESS_WHEN_REPEATED]
    assert {route.name for route in creating} >= {"create_job", "create_batch", "create_webhook_endpoint"}
    for route in creating:
        *_, last = [one.call for one in route.dependant.dependencies if one.call in {*BODIES, once}]
        assert last is once, f"{route.name}: declare `once: Once` after the body, and answer with `once.keep`"


def test_every_reference_leads_somewhere() -> None:
    for reference in references(DOCUMENT):
        assert resolve(reference)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_the_example_of_an_answer_is_one(route: APIRoute) -> None:
    for status, told in route.responses.items():
        content = told.get("content", {}).get("application/json")
        if content and int(status) < 400:
            adapter = TypeAdapter(told["model"])
            assert adapter.dump_python(adapter.validate_python(content["example"]), mode="json") == content["example"]


def test_forms_name_their_files_and_every_param() -> None:
    (content,) = OPERATIONS["POST /v1/jobs"]["requestBody"]["content"].values()
    form = resolve(content["schema"]["$ref"])
    assert {"image", "mask", "dilate_pixels", "custom_id", "metadata", "webhook_url"} <= set(form["properties"])
    assert form["required"] == ["image", "mask"]


def test_what_a_call_answers_is_told_for_each_status() -> None:
    told = OPERATIONS["POST /v1/batches"]["responses"]
    schemas = {status: told[status]["content"]["application/json"]["schema"]["$ref"] for status in ("200", "202")}
    assert schemas == {"200": "#/components/schemas/Quote", "202": "#/components/schemas/Batch"}


@pytest.mark.parametrize("name", ["ItemParams", "NewParams"])
def test_what_overrides_other_values_has_no_defaults_that_a_client_would_send(name: str) -> None:
    properties = resolve(f"#/components/schemas/{name}")["properties"]
    assert [field for field, schema in properties.items() if "default" in schema] == []
