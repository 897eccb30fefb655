"""Requests whose client holds the rest of the body back until it has seen something."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from api.arriving import Arrival

Parts = list[tuple[str, Any]]
Newest = Callable[[], dict[str, Any]]


class CutError(Exception):
    """The client goes away in the middle of its body."""


def cut() -> None:
    """Go away."""
    raise CutError


def send(
    client: httpx.Client, path: str, parts: Parts, first: int, then: Callable[[], object], **headers: str
) -> httpx.Response:
    """POST a form; between its first so many bytes and the others call ``then``, which may raise :class:`CutError`."""
    request = client.build_request("POST", path, files=parts)
    body = request.read()
    return post(client, path, [body[:first], body[first:]], then, request.headers["content-type"], **headers)


def post(
    client: httpx.Client, path: str, pieces: list[bytes], then: Callable[[], object], content_type: str, **headers: str
) -> httpx.Response:
    """POST a body in pieces; after each but the last ``then`` is called."""

    def body() -> Iterator[bytes]:
        for piece in pieces[:-1]:
            yield piece
            then()
        yield pieces[-1]

    return client.post(path, content=body(), headers={"Content-Type": content_type, **headers})


def counted(monkeypatch: pytest.MonkeyPatch, name: str) -> list[None]:
    """Return a list that grows by one each time when this method of an arriving request has ended."""
    ended: list[None] = []
    really = getattr(Arrival, name)

    def method(*given: Any) -> Any:
        try:
            return really(*given)
        finally:
            ended.append(None)

    monkeypatch.setattr(Arrival, name, method)
    return ended
