"""``cleanplate listen`` as a process: what happens is shown and forwarded, and Ctrl-C leaves nothing behind."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import httpx
import pytest
from sqlalchemy import select
from standardwebhooks import Webhook

from cleanplate import db, outbox
from cleanplate.models import Listener
from tests import web
from tests.api import Api
from tests.servers import wait_until

Listen = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def service() -> Iterator[web.Site]:
    """The service that somebody is writing."""
    with web.serving(web.says(200)) as site:
        yield site


@pytest.fixture
def listen(api: Api, client: httpx.Client) -> Iterator[Listen]:
    started: list[subprocess.Popen[str]] = []
    key = client.headers["authorization"].removeprefix("Bearer ")

    def start(*options: str) -> "subprocess.Popen[str]":
        env = {**os.environ, "CLEANPLATE_URL": api.url, "CLEANPLATE_API_KEY": key}
        command = [sys.executable, "-m", "cleanplate", "listen", *options]
        process = subprocess.Popen(command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def secret(process: "subprocess.Popen[str]") -> str:
    assert process.stderr
    return process.stderr.readline().split()[-1]


def tell(name: str, event: str = "job.failed") -> None:
    with db.transaction() as tx:
        outbox.publish(tx, tx.scalars(select(Listener.tenant_id)).one(), event, {"id": name})


def left() -> list[str]:
    with db.transaction() as tx:
        return list(tx.scalars(select(Listener.id)))


def stop(process: "subprocess.Popen[str]", number: signal.Signals = signal.SIGINT) -> None:
    process.send_signal(number)
    _, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (0, "")
    assert left() == []


def test_events_are_shown_and_forwarded_as_webhooks_that_verify(listen: Listen, service: web.Site) -> None:
    process = listen("--forward-to", f"{service.url}/hooks")
    signing_secret = secret(process)
    assert process.stdout
    for name, status in (("job_1", 200), ("job_2", 500)):
        service.answer = web.says(status)
        tell(name)
        came, went = process.stdout.readline(), process.stdout.readline()
        request = service.requests[-1]
        said = Webhook(signing_secret).verify(request.body, dict(request.headers))
        assert (said["type"], said["data"], request.target) == ("job.failed", {"id": name}, "/hooks")
        assert f"--> job.failed [{request.headers['webhook-id']}]" in came
        assert f"<-- [{status}] POST {service.url}/hooks" in went
    stop(process)


def test_a_service_that_is_down_is_told_and_listening_goes_on(listen: Listen) -> None:
    process = listen("--forward-to", "127.0.0.1:9")
    secret(process)
    assert process.stdout
    for name in ("job_1", "job_2"):
        tell(name)
        assert "--> job.failed" in process.stdout.readline()
        assert "<-- [no answer: ConnectError] POST http://127.0.0.1:9" in process.stdout.readline()
    stop(process, signal.SIGTERM)


def test_only_what_is_asked_for_is_shown_and_json_is_for_programs(listen: Listen) -> None:
    process = listen("--event", "batch.completed", "--json")
    signing_secret = secret(process)
    tell("job_1")
    tell("bat_1", "batch.completed")
    assert process.stdout
    told = json.loads(process.stdout.readline())
    assert Webhook(signing_secret).verify(told["body"], told["headers"])["data"] == {"id": "bat_1"}
    stop(process)


def test_the_secret_is_printed_alone_for_configuring_a_service_and_stays(listen: Listen) -> None:
    first, second = listen("--print-secret"), listen()
    out, err = first.communicate(timeout=300)
    assert (first.returncode, err) == (0, "")
    assert out.strip() == secret(second)
    stop(second)


def test_a_listener_that_was_forgotten_is_made_anew(listen: Listen, client: httpx.Client) -> None:
    process = listen()
    secret(process)
    (listener,) = left()
    client.delete(f"/v1/listeners/{listener}")
    wait_until(lambda: len(left()) == 1)
    tell("job_1")
    assert process.stdout
    assert process.stderr
    assert "listening anew" in process.stderr.readline()
    assert "--> job.failed" in process.stdout.readline()
    stop(process)


@pytest.mark.parametrize("address", ["ftp://localhost/", "http://", "http://[::1"])
def test_what_is_no_address_is_a_usage_error(listen: Listen, address: str) -> None:
    process = listen("--forward-to", address)
    process.communicate(timeout=300)
    assert process.returncode == 2
