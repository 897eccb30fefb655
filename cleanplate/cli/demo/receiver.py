"""A small receiver of webhooks on this machine."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Empty, SimpleQueue
from threading import Thread
from types import TracebackType
from typing import Any, NamedTuple, Self

from standardwebhooks import Webhook

HOST = "127.0.0.1"


class Delivery(NamedTuple):
    """What came, as it came."""

    headers: dict[str, str]
    body: bytes


class Receiver:
    """Takes POSTs at ``url``, on a free loopback port, while its block lasts."""

    def __init__(self) -> None:
        deliveries: SimpleQueue[Delivery] = SimpleQueue()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                deliveries.put(Delivery(dict(self.headers), body))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing: stderr is the progress bar's."""

        self._deliveries = deliveries
        self._server = ThreadingHTTPServer((HOST, 0), Handler)
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.url = f"http://{HOST}:{self._server.server_port}/webhooks"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def wait_for(self, event: str, secret: str, seconds: float) -> dict[str, Any]:
        """Return the data of the next ``event`` whose signature is right by Standard Webhooks.

        Raises ``standardwebhooks.WebhookVerificationError`` for one whose signature is not, and TimeoutError when none
        comes for so long.
        """
        while True:
            try:
                delivery = self._deliveries.get(timeout=seconds)
            except Empty:
                raise TimeoutError(f"no {event} came within {seconds:g} s") from None
            Webhook(secret).verify(delivery.body, delivery.headers, json_parse=False)
            told = json.loads(delivery.body)
            if told["type"] == event:
                data: dict[str, Any] = told["data"]
                return data
