"""The published document as linters see it: what redocly's recommended rules ask, without node."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from api.app import app

DOCUMENT = app.openapi()
OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}
each_operation = pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS.keys())


def contents(operation: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what stands for each media type that the call takes or answers with."""
    for place in (operation.get("requestBody", {}), *operation["responses"].values()):
        yield from place.get("content", {}).values()


def values(node: Any, name: str) -> Iterator[Any]:
    """Yield every value under this name, however deep it lies."""
    if isinstance(node, dict):
        yield from ([node[name]] if name in node else [])
        for below in node.values():
            yield from values(below, name)
    elif isinstance(node, list):
        for below in node:
            yield from values(below, name)


def test_the_document_is_one_of_openapi_3_1() -> None:
    assert DOCUMENT["openapi"].startswith("3.1.")
    validate(DOCUMENT)


def test_it_says_where_the_api_is_and_what_it_is() -> None:
    assert DOCUMENT["servers"]
    assert all(DOCUMENT["info"][name] for name in ("title", "version", "description"))
    assert all(tag["description"] for tag in DOCUMENT["tags"])


def test_names_of_components_are_ones_that_code_can_be_made_of() -> None:
    for kind, named in DOCUMENT["components"].items():
        assert [name for name in named if not re.fullmatch(r"[a-zA-Z0-9._-]+", name)] == [], kind


def test_every_schema_is_used() -> None:
    used = {reference.rpartition("/")[2] for reference in values(DOCUMENT, "$ref")}
    assert set(DOCUMENT["components"]["schemas"]) == used


@each_operation
def test_every_call_says_what_key_it_asks_for_or_that_it_asks_for_none(operation: dict[str, Any]) -> None:
    schemes = DOCUMENT["components"]["securitySchemes"]
    assert all(set(alternative) <= set(schemes) for alternative in operation["security"])


@each_operation
def test_parameters_are_named_once_and_those_of_a_list_described_by_a_schema(operation: dict[str, Any]) -> None:
    there = Counter((one["in"], one["name"]) for one in operation.get("parameters", ()))
    assert set(there.values()) <= {1}
    assert all("schema" in one for one in operation.get("parameters", ()))


@each_operation
def test_every_answer_is_described_and_every_body_has_a_schema(operation: dict[str, Any]) -> None:
    assert all(answer["description"] for answer in operation["responses"].values())
    assert any(status.startswith("2") for status in operation["responses"])
    assert all(content.get("schema") for content in contents(operation))


@each_operation
def test_every_example_is_what_its_schema_says(operation: dict[str, Any]) -> None:
    for content in contents(operation):
        if "example" in content:
            schema = {**content["schema"], "components": DOCUMENT["components"]}
            faults = Draft202012Validator(schema).iter_errors(content["example"])
            assert [f"{fault.json_path}: {fault.message}" for fault in faults] == []


def test_no_two_paths_can_be_taken_for_each_other() -> None:
    shapes = Counter(re.sub(r"\{\w+\}", "{}", path) for path in DOCUMENT["paths"])
    assert set(shapes.values()) == {1}
