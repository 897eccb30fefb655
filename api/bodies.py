"""The bodies of calls that bring items: a form with their files, or JSON that says where these lie."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool

from api.arriving import Arrival, ArrivingBatch, ArrivingItems
from api.errors import Problem
from api.fingerprint import sure
from api.forms import Form, receive
from api.itemwise import Reading, S, Sent, SentBatch


async def multipart_or_batch(request: Request, arriving: ArrivingBatch) -> AsyncIterator[Form | SentBatch]:
    """Read the body as what its type says that it is. Raises as :func:`api.forms.receive` does."""
    async for sent in _body(request, SentBatch, arriving):
        yield sent


async def multipart_or_items(request: Request, arriving: ArrivingItems) -> AsyncIterator[Form | Sent]:
    """Read the body of a call without options in the same way."""
    async for sent in _body(request, Sent, arriving):
        yield sent


MultipartOrBatch = Annotated[Form | SentBatch, Depends(multipart_or_batch, scope="function")]
MultipartOrItems = Annotated[Form | Sent, Depends(multipart_or_items, scope="function")]


async def _body(request: Request, model: type[Sent], arriving: Arrival | None) -> AsyncIterator[Any]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in {"application/json", "multipart/form-data"}:
        detail = "Send this as multipart/form-data with files, or as application/json with items."
        raise Problem(415, "unsupported_media_type", detail)
    if kind == "multipart/form-data":
        async with aclosing(receive(request, arriving)) as forms:
            async for form in forms:
                yield form
        return
    yield await _read(request, model, arriving)


async def _read(request: Request, model: type[S], arriving: Arrival | None) -> S:
    reading, reader = Reading(model), asyncio.Lock()

    async def flush() -> None:
        async with reader:
            await run_in_threadpool(reading.read, sure(request))

    async def body() -> None:
        async for chunk in request.stream():
            reading.add(chunk)
        async with reader:
            await run_in_threadpool(reading.end)

    await (arriving.receive(reading, body(), flush) if arriving else body())
    return reading.sent
