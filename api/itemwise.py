"""The JSON of a call with items, read one at a time: parsed at once, a few bytes of it may take hundreds of memory.

What is read is bytes all along, and forgotten then; the text and the objects of one item are there at a time, and only
what it says of an item is kept. It is read as it comes, so the methods that go through it are generators: they yield
when more has to come first.
"""

import codecs
import json
import re
from collections import deque
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

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


class Reading(Generic[S]):
    """A body as far as it has been read: its ``items``, and when it has ended ``sent``, with all that it says.

    ``ahead`` is the JSON of what stands before the items, by its names, or None while they have not begun. An item that
    is not as it should be is a :class:`NoItem`.
    """

    sent: S

    def __init__(self, model: type[S]) -> None:
        self.items: list[Given | NoItem] = []
        self.ahead: Mapping[str, bytes] | None = None
        self._model = model
        self._came: deque[bytes] = deque()
        self._reader = _Reader()
        self._steps = self._read()

    def add(self, chunk: bytes) -> None:
        """Take the next bytes; it may be called while others are read."""
        self._came.append(chunk)

    def read(self, most: int | None = None) -> None:
        """Read what has come, of the whole body the first ``most`` bytes at most.

        Raises :class:`Problem` 400 for what is no JSON, and 422.
        """
        came = b"".join(self._came.popleft() for _ in range(len(self._came)))
        now = len(came) if most is None else most - self._reader.size
        self._reader.add(came[:now])
        if later := came[now:]:
            self._came.appendleft(later)
        next(self._steps, None)

    def end(self) -> None:
        """Read all of it, now that it has come whole. Raises as :meth:`read` does."""
        self._reader.whole = True
        self.read()

    def _read(self) -> Generator[None]:
        reader = self._reader
        if (yield from reader.next()) != b"{":
            self.sent = _validated(self._model, (yield from reader.last()))
            return
        rest: dict[str, bytes] = {}
        size = 0
        more = yield from reader.enter(b"{", b"}")
        while more:
            name = yield from reader.name()
            if name in rest:
                raise _malformed("it says something twice")
            if name == "items" and (yield from reader.next()) == b"[":
                self.ahead = dict(rest)
                yield from self._read_items()
                rest[name] = b"[]"
            else:
                rest[name] = yield from reader.value()
            size += len(name) + len(rest[name])
            if size > VALUE_BYTES:
                raise _malformed(f"beside its items it has more than {VALUE_BYTES} bytes")
            more = yield from reader.follows(b"}")
        yield from reader.end()
        text = b"{%b}" % b",".join(to_json(name) + b":" + value for name, value in rest.items())
        self.sent = _validated(self._model, text)
        self.sent.items = self.items

    def _read_items(self) -> Generator[None]:
        more = yield from self._reader.enter(b"[", b"]")
        while more:
            raw = yield from self._reader.value()
            if len(self.items) == ITEMS_MOST:
                detail = f"more than {ITEMS_MOST} items"
                found = Finding(pointer="#/items", code="too_long", detail=detail)
                raise Problem(422, "validation_failed", f"#/items: {detail}", errors=[found])
            self.items.append(_item(len(self.items), raw))
            more = yield from self._reader.follows(b"]")


def _validated(model: type[S], text: bytes) -> S:
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        raise invalid(error) from None


def _item(number: int, raw: bytes) -> Given | NoItem:
    try:
        item = Item.model_validate_json(raw)
    except ValidationError as error:
        words = (f"{'/'.join(map(str, found['loc']))}: {found['msg']}" for found in error.errors()[:3])
        return NoItem(number, "; ".join(words))
    metadata, item.metadata = to_json(item.metadata), {}
    return Given(number, item, metadata)


class _Reader:
    """Goes through a JSON text from value to value. Raises :class:`Problem` 400. ``whole`` says that no more comes."""

    def __init__(self) -> None:
        self._body, self._at, self._before = b"", 0, 0
        self.whole = False

    @property
    def size(self) -> int:
        """How many bytes have come."""
        return self._before + len(self._body)

    def add(self, data: bytes) -> None:
        """Take the next bytes, and forget those that have been read."""
        self._before += self._at
        self._body, self._at = self._body[self._at :] + data, 0

    def enter(self, opening: bytes, closing: bytes) -> Generator[None, None, bool]:
        """Enter an object or array, and tell whether something is in it."""
        yield from self._take(opening)
        if (yield from self.next()) != closing:
            return True
        yield from self._take(closing)
        return False

    def follows(self, closing: bytes) -> Generator[None, None, bool]:
        """Tell, after one of its values, whether another one follows, or leave the object or array."""
        if (yield from self.next()) != closing:
            yield from self._take(b",")
            return True
        yield from self._take(closing)
        return False

    def name(self) -> Generator[None, None, str]:
        """Return the name of the next member of an object, whose value is to be read then."""
        if (yield from self.next()) != b'"':
            raise self._no("name")
        name: str = from_json((yield from self.value()))
        yield from self._take(b":")
        return name

    def value(self) -> Generator[None, None, bytes]:
        """Return the text of the next value."""
        yield from self.next()
        while True:
            for size in (LIKELY_BYTES, VALUE_BYTES):
                part = self._body[self._at : self._at + size]
                try:
                    text = _TEXT().decode(part)
                    _, end = _DECODER.raw_decode(text)
                except (ValueError, RecursionError):
                    continue
                at_end = self.whole and self._at + len(part) == len(self._body)
                if end < len(text) or at_end:  # or a number may go on
                    raw = text[:end].encode()
                    self._at += len(raw)
                    return raw
            if self.whole or len(self._body) - self._at >= VALUE_BYTES:
                raise self._no(f"value, or one of more than {VALUE_BYTES} bytes")
            yield

    def next(self) -> Generator[None, None, bytes]:
        """Return the next byte that is no space, or nothing at the end, and stay before it."""
        while True:
            space = _SPACE.match(self._body, self._at)
            self._at = space.end() if space else self._at
            if self.whole or self._at < len(self._body):
                return self._body[self._at : self._at + 1]
            yield

    def last(self) -> Generator[None, None, bytes]:
        """Return the text of the next value, after which nothing follows."""
        found = yield from self.value()
        yield from self.end()
        return found

    def end(self) -> Generator[None]:
        """Check that nothing follows."""
        if (yield from self.next()):
            raise _malformed(f"at byte {self._before + self._at} something follows")

    def _take(self, wanted: bytes) -> Generator[None]:
        if (yield from self.next()) != wanted:
            raise self._no(wanted.decode())
        self._at += 1

    def _no(self, what: str) -> Problem:
        return _malformed(f"at byte {self._before + self._at} there is no {what}")


def _malformed(why: str) -> Problem:
    return Problem(400, "malformed_body", f"The body is not the JSON it should be: {why}.")
