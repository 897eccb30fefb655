"""A server that is told to stop has an answer for all who wait for something to happen, and breaks nobody off."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import pytest
from sqlalchemy import func, select

from cleanplate import db
from cleanplate.local import commands, ports
from cleanplate.models import Job, Listener
from tests import pictures, rows
from tests.servers import wait_until

SECONDS = 60.0
PAIR = {
    "image": ("a.jpg", pictures.encoded(pictures.scene(), "JPEG")),
    "mask": ("m.png", pictures.encoded(pictures.mask_image())),
}


@pytest.fixture
def server(client: httpx.Client) -> Iterator["subprocess.Popen[bytes]"]:
    """Another server of the same API, which ``client`` asks from now on."""
    port = ports.choose()
    command = [sys.executable, *commands.api("127.0.0.1", port)]
    with subprocess.Popen(command, cwd=commands.PACKAGES, env=dict(os.environ)) as process:
        client.base_url = httpx.URL(f"http://127.0.0.1:{port}")
        client.timeout = httpx.Timeout(SECONDS)
        wait_until(lambda: lives(client), SECONDS)
        yield process
        process.kill()


def lives(client: httpx.Client) -> bool:
    with suppress(httpx.TransportError):
        return client.get("/livez").is_success
    return False


def test_who_waits_is_answered_as_if_the_time_was_over(
    client: httpx.Client, tenant_id: str, server: "subprocess.Popen[bytes]"
) -> None:
    listener = client.post("/v1/listeners").json()["id"]
    with db.transaction() as tx:
        batch = rows.batch(tx, 1, tenant_id=tenant_id)
        tx.get_one(Listener, listener).expires_at = func.now() + func.make_interval(0, 0, 0, 0, 0, 0, 50)
    streams = threading.Event()

    def nothing_heard() -> bool:
        answer = client.get(f"/v1/listeners/{listener}/events", params={"wait": 50})
        return answer.is_success and answer.json()["data"] == []

    def still_queued() -> bool:
        answer = client.post("/v1/jobs", params={"wait": 50}, files=PAIR)
        return answer.status_code == 202 and answer.json()["status"] == "queued"

    def ends_without_an_end() -> bool:
        with client.stream("GET", f"/v1/batches/{batch}/events") as stream:
            lines = stream.iter_lines()
            first = next(lines)
            streams.set()
            return first.startswith("retry:") and "event: end" not in list(lines)

    def all_wait() -> bool:
        left = select(func.extract("epoch", Listener.expires_at - func.now())).where(Listener.id == listener)
        with db.transaction() as tx:
            heard = tx.scalar(left) > 60
            return streams.is_set() and heard and tx.scalar(select(func.count()).where(Job.tenant_id == tenant_id)) == 1

    with ThreadPoolExecutor(3) as threads:
        waiting = [threads.submit(one) for one in (nothing_heard, still_queued, ends_without_an_end)]
        wait_until(all_wait, SECONDS)
        server.send_signal(signal.SIGTERM)
        assert [one.result() for one in waiting] == [True] * 3
    assert server.wait(SECONDS) in {0, -signal.SIGTERM}
