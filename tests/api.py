"""The API as a real server on a socket, and what all of its answers have in common."""

import os
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from api.app import create_app
from api.protocol import Patient
from cleanplate import db, settings, tenants
from cleanplate.api_keys import Scope
from tests import servers


@contextmanager
def configured(**environment: str) -> Iterator[None]:
    """Let this process read its settings from ``environment`` for a while, and use their database."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        _read_anew()
        try:
            yield
        finally:
            db.engine().dispose()
    _read_anew()


def _read_anew() -> None:
    db.engine().dispose()
    db._engine.cache_clear()
    settings.get.cache_clear()


@contextmanager
def serving() -> Iterator[str]:
    """Serve the API by the settings as they are now; yields its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    app = create_app()
    server = uvicorn.Server(uvicorn.Config(app, http=Patient, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        servers.wait_until(lambda: server.started)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        servers.wait_until(lambda: app.state.switchboard.idle)
    finally:
        server.should_exit = True
        thread.join()
        app.state.switchboard._readers.shutdown()  # who hung up leaves a read behind, with a connection of the pool
        listener.close()


@dataclass(frozen=True)
class Api:
    """A running API, its database and its store."""

    url: str
    database_url: str
    objects: Path

    def stored(self) -> set[str]:
        """Return the keys of all objects, also while some are deleted."""
        found = (Path(folder, name) for folder, _, names in os.walk(self.objects) for name in names)
        return {path.relative_to(self.objects).as_posix() for path in found}

    def client(self, scope: Scope = Scope.WRITE) -> httpx.Client:
        """Return a client with a fresh key of a tenant of its own."""
        with db.transaction() as tx:
            _, secret = tenants.create_key(tx, f"tenant {secrets.token_hex(4)}", "test", scope)
        return self.anonymous(Authorization=f"Bearer {secret}")

    def anonymous(self, **headers: str) -> httpx.Client:
        """Return a client without a key."""
        return httpx.Client(base_url=self.url, headers=headers, timeout=100)


def problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Hold a response against what every problem looks like, and return it."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-content-type-options"] == "nosniff"
    told: dict[str, Any] = response.json()
    assert told["code"] == code, told
    assert told["status"] == status
    assert told["type"] == f"urn:problem-type:cleanplate:{code}"
    assert told["title"]
    assert told["detail"]
    assert told["request_id"] == response.headers["x-request-id"]
    assert isinstance(told["errors"], list)
    assert "Traceback" not in response.text
    return told
