"""JSON with items, read item by item: the same as read at once, whatever it says, and nothing large on the way."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import from_json

from api.errors import Problem
from api.itemwise import VALUE_BYTES, Given, NoItem, Reading, S, Sent, SentBatch
from cleanplate.items import ITEMS_MOST, Item, NewBatch
from cleanplate.resources import BatchOptions

SOURCES: dict[str, Any] = {name: {"url": f"https://example.com/{name}"} for name in ("image", "mask")}
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=20,
)
ITEMS = st.fixed_dictionaries({"metadata": st.dictionaries(TEXT, VALUES)}).map(lambda given: SOURCES | given) | VALUES


def encoded(value: object) -> bytes:
    return json.dumps(value).encode()


def read(model: type[S], body: bytes, *cuts: int) -> S:
    """Read a body that comes in pieces, whatever there is of it at each of the ``cuts``."""
    reading = Reading(model)
    for begin, end in pairwise((0, *cuts, len(body))):
        reading.add(body[begin:end])
        if end < len(body):
            reading.read()
    reading.end()
    return reading.sent


def refused(body: bytes, model: type[Sent] = Sent) -> Problem:
    with pytest.raises(Problem) as caught:
        read(model, body)
    return caught.value


@given(st.lists(ITEMS), st.sampled_from([None, 0, 3]), st.booleans(), st.lists(st.floats(0, 1)))
def test_each_item_is_what_it_is_when_all_are_read_at_once(
    items: list[Any], indent: int | None, ascii_: bool, cuts: list[float]
) -> None:
    body = json.dumps({"items": items}, indent=indent, ensure_ascii=ascii_).encode()
    found = read(Sent, body, *sorted(int(cut * len(body)) for cut in cuts)).items
    assert [one.number for one in found] == list(range(len(items)))
    assert len(found) == len(items)
    for one, item in zip(found, items, strict=True):
        if isinstance(one, Given):
            assert one.item == Item.model_validate_json(encoded(item | {"metadata": {}}))
            assert from_json(one.metadata) == item["metadata"]
        else:
            assert not isinstance(item, dict) or item.keys() != {*SOURCES, "metadata"}


@given(st.binary(max_size=40) | st.text('{}[]":,items0 ', max_size=40).map(str.encode))
def test_what_is_no_json_is_refused(body: bytes) -> None:
    try:
        json.loads(body)
    except ValueError:
        assert refused(body).status == 400


def test_a_body_that_ends_too_soon_is_refused_wherever_it_ends() -> None:
    whole = encoded({"options": {"name": "Süd \U0001f33b"}, "items": [SOURCES, 12.5, SOURCES | {"custom_id": "ä"}]})
    assert len(read(SentBatch, whole).items) == 3
    for length in range(len(whole)):
        assert (refused(whole[:length], SentBatch)).code == "malformed_body"


def test_items_are_there_as_soon_as_they_have_come_and_what_stands_before_them() -> None:
    reading = Reading(SentBatch)
    body = encoded({"options": {"name": "spring"}, "items": [SOURCES, SOURCES]})
    second = body.rindex(b'{"image"')
    for most, ahead, number in (
        (body.index(b"["), None, 0),
        (second - 1, {"options": b'{"name": "spring"}'}, 1),
        (second + 9, {"options": b'{"name": "spring"}'}, 1),
    ):
        reading.add(body[: second + 9] if ahead is None else b"")
        reading.read(most)
        assert (reading.ahead, len(reading.items)) == (ahead, number)
    reading.add(body[second + 9 :])
    reading.end()
    assert (len(reading.sent.items), reading.sent.options.name) == (2, "spring")


def test_our_own_client_says_the_options_first() -> None:
    assert list(NewBatch(items=[], options=BatchOptions()).model_dump(exclude_unset=True)) == ["options", "items"]


def test_what_cannot_become_json_is_refused_before_all_has_come() -> None:
    for body in (b"[1]{", b'{"items": [[] "', b'{"items": [] "', b'{"items": [' + b"{" * VALUE_BYTES):
        reading = Reading(Sent)
        reading.add(body)
        with pytest.raises(Problem) as caught:
            reading.read()
        assert caught.value.code == "malformed_body"


def test_nothing_may_be_said_twice() -> None:
    assert refused(b'{"items": [], "items": []}').code == "malformed_body"


def test_the_rest_of_the_body_is_judged_as_ever() -> None:
    sent = read(SentBatch, encoded({"items": [], "options": {"name": "spring"}}))
    assert (sent.items, sent.options.name) == ([], "spring")
    for body, pointer in (
        ([], "#"),
        ({"items": [], "colour": 1}, "#/colour"),
        ({}, "#/items"),
        ({"items": {}}, "#/items"),
        ({"items": [], "options": {"priority": 10}}, "#/options/priority"),
        ({"items": [None] * (ITEMS_MOST + 1)}, "#/items"),
    ):
        problem = refused(encoded(body), SentBatch)
        assert (problem.status, problem.code, problem.errors[0].pointer) == (422, "validation_failed", pointer)


def test_no_value_is_larger_than_one_may_be() -> None:
    long = {"metadata": {"x": "x" * VALUE_BYTES}}
    assert refused(encoded({"items": [SOURCES | long]})).status == 400
    assert refused(encoded({"items": [], "options": long}), SentBatch).status == 400
    assert refused(encoded({"items": []} | {f"{number:1000}": 1 for number in range(200)})).status == 400
    assert refused(b'{"items": [' + b"[" * VALUE_BYTES).status == 400
    longest = {"metadata": {"x": "x" * 8000}, "custom_id": "a"}
    assert isinstance(read(Sent, encoded({"items": [SOURCES | longest] * 3})).items[2], Given)


def test_metadata_may_not_be_more_than_it_may_be_for_any_item() -> None:
    (one,) = read(Sent, encoded({"items": [SOURCES | {"metadata": {"x": "x" * 9000}}]})).items
    assert isinstance(one, NoItem)
    assert "bytes" in one.detail
