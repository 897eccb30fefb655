"""The JSON of a call with items, read one at a time: parsed at once, a few bytes of it may take hundreds of memory.

What is read is bytes all along; the text and the objects of one item are there at a time, and only what it says of an
item is kept.
"""

import codecs
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json, to_json

from api.errors import Finding, Problem, invalid
from cleanplate.items import ITEMS_MOST, Item
from cleanplate.resources import BatchOptions

VALUE_BYTES: Final = 128 << 10
"""The most that an item, or all else that the body says, may have."""
LIKELY_BYTES: Final = 2 << 10
_SPACE: Final = re.compile(rb"[ \t\n\r]*")
_DECODER: Final = json.JSONDecoder()
_TEXT: Final = codecs.getincrementaldecoder("utf-8")

S = TypeVar("S", bound="Sent")


@dataclass(frozen=True, slots=True)
class NoItem:
    """What came as the item of this number, from 0, by what is wrong with it."""

    number: int
    detail: str

    @property
    def name(self) -> str:
        """What to call it in an answer."""
        return f"items/{self.number}"


@dataclass(frozen=True, slots=True)
class Given:
    """An item without its metadata, which are kept as the JSON that they came as: so they take a part of the memory."""

    number: int
    item: Item
    metadata: bytes

    @property
    def custom_id(self) -> str | None:
        return self.item.custom_id

    @property
    def name(self) -> str:
        """What to call it in an answer."""
        return self.custom_id or f"items/{self.number}"


class Sent(BaseModel):
    """The body of a call, its items judged each for itself."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    items: list[Given | NoItem]


class SentBatch(Sent):
    """The same with the options of a batch."""

    options: BatchOptions = Field(default_factory=BatchOptions)


def read(model: type[S], body: bytes) -> S:
    """Return what the body says, an item that is not as it should be as a :class:`NoItem`.

    Raises :class:`Problem` 400 for what is no JSON, and 422.
    """
    reader = _Reader(body)
    if reader.next() != b"{":
        return _validated(model, reader.last())
    items: list[Given | NoItem] = []
    rest: dict[str, bytes] = {}
    size = 0
    for name in reader.names():
        if name == "items" and reader.next() == b"[":
            items = list(_items(reader))
            rest[name] = b"[]"
        else:
            rest[name] = reader.value()
        size += len(name) + len(rest[name])
        if size > VALUE_BYTES:
            raise _malformed(f"beside its items it has more than {VALUE_BYTES} bytes")
    reader.end()
    sent = _validated(model, b"{%b}" % b",".join(to_json(name) + b":" + value for name, value in rest.items()))
    sent.items = items
    return sent


def _validated(model: type[S], text: bytes) -> S:
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        raise invalid(error) from None


def _items(reader: "_Reader") -> Iterator[Given | NoItem]:
    for number, raw in enumerate(reader.values()):
        if number == ITEMS_MOST:
            detail = f"more than {ITEMS_MOST} items"
            found = Finding(pointer="#/items", code="too_long", detail=detail)
            raise Problem(422, "validation_failed", f"#/items: {detail}", errors=[found])
        yield _item(number, raw)


def _item(number: int, raw: bytes) -> Given | NoItem:
    try:
        item = Item.model_validate_json(raw)
    except ValidationError as error:
        words = (f"{'/'.join(map(str, found['loc']))}: {found['msg']}" for found in error.errors()[:3])
        return NoItem(number, "; ".join(words))
    metadata, item.metadata = to_json(item.metadata), {}
    return Given(number, item, metadata)


class _Reader:
    """Goes through a JSON text from value to value. Raises :class:`Problem` 400."""

    def __init__(self, body: bytes) -> None:
        self._body, self._at = body, 0

    def names(self) -> Iterator[str]:
        """Enter an object; yield the name of each member, whose value is to be read before the next."""
        for _ in self._members(b"{", b"}"):
            if self.next() != b'"':
                raise _malformed(f"at byte {self._at} there is no name")
            name: str = from_json(self.value())
            self._take(b":")
            yield name

    def values(self) -> Iterator[bytes]:
        """Enter an array; yield the text of each value."""
        for _ in self._members(b"[", b"]"):
            yield self.value()

    def value(self) -> bytes:
        """Return the text of the next value."""
        self.next()
        for size in (LIKELY_BYTES, VALUE_BYTES):
            part = self._body[self._at : self._at + size]
            try:
                text = _TEXT().decode(part)
                _, end = _DECODER.raw_decode(text)
            except (ValueError, RecursionError):
                continue
            if end < len(text) or self._at + len(part) == len(self._body):  # or a number may go on
                raw = text[:end].encode()
                self._at += len(raw)
                return raw
        raise _malformed(f"at byte {self._at} there is no value, or one of more than {VALUE_BYTES} bytes")

    def next(self) -> bytes:
        """Return the next byte that is no space, or nothing at the end, and stay before it."""
        space = _SPACE.match(self._body, self._at)
        self._at = space.end() if space else self._at
        return self._body[self._at : self._at + 1]

    def last(self) -> bytes:
        """Return the text of the next value, after which nothing follows."""
        found = self.value()
        self.end()
        return found

    def end(self) -> None:
        """Check that nothing follows."""
        if self.next():
            raise _malformed(f"at byte {self._at} something follows")

    def _members(self, opening: bytes, closing: bytes) -> Iterator[None]:
        self._take(opening)
        if self.next() == closing:
            self._take(closing)
            return
        while True:
            yield
            if self.next() == closing:
                self._take(closing)
                return
            self._take(b",")

    def _take(self, wanted: bytes) -> None:
        if self.next() != wanted:
            raise _malformed(f"at byte {self._at} there is no {wanted.decode()}")
        self._at += 1


def _malformed(why: str) -> Problem:
    return Problem(400, "malformed_body", f"The body is not the JSON it should be: {why}.")
