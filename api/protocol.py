"""The HTTP server's protocol, with patience that ends: ``uvicorn --http api.protocol:Patient``.

uvicorn waits for ever for the head of a request, and the application sees a request only when its head is whole.
"""

import asyncio
from typing import Any

import h11
import uuid_utils
from uvicorn.protocols.http.h11_impl import H11Protocol

from api.errors import Problem
from cleanplate import settings


class Patient(H11Protocol):
    """Answers 408 to a head that has not come whole within the time that a body may stand still, and hangs up.

    The time counts from the connection, for a later request on it from its first byte. When the server is to stop, all
    who wait for something to happen have their answers at once, instead of being broken off when its patience ends.
    """

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        self._look()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        self._calm()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        super().shutdown()
        app: Any = self.scope and self.scope.get("app")
        if app:
            app.state.switchboard.drain()

    def _look(self) -> None:
        if self.conn.their_state is not h11.IDLE or self.transport.is_closing():
            self._calm()
        elif self._late is None:
            self._late = self.loop.call_later(settings.get().body_timeout_seconds, self._hang_up)

    def _calm(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _hang_up(self) -> None:
        if self.transport.is_closing():
            return
        answer = _too_slow(settings.get().body_timeout_seconds).response(f"req_{uuid_utils.uuid7().hex}")
        headers = [*answer.raw_headers, (b"connection", b"close")]
        told: tuple[Any, ...] = (
            h11.Response(status_code=answer.status_code, headers=headers),
            h11.Data(data=bytes(answer.body)),
            h11.EndOfMessage(),
        )
        for event in told:
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


def _too_slow(seconds: float) -> Problem:
    return Problem(408, "request_timeout", f"The request's head did not come within {seconds:g} s.")
