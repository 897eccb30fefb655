"""``cleanplate webhooks``, against the real API and a real receiver."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from click.testing import Result
from standardwebhooks import Webhook
from typer.testing import CliRunner

from cleanplate import queue
from cleanplate.cli import main
from tests import tries, web
from tests.api import Api

Run = Callable[..., Result]


@pytest.fixture
def run(
    api: Api, client: httpx.Client, configure: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    """Runs a command with the key of ``client``; what is to be sent is sent at once."""
    key = client.headers["authorization"].removeprefix("Bearer ")
    configure(CLEANPLATE_URL=api.url, CLEANPLATE_API_KEY=key, CLEANPLATE_ALLOW_PRIVATE_NETWORKS="127.0.0.0/8")

    def send(_task: str, _argument: str) -> bool:
        tries.make()
        return True

    monkeypatch.setattr(queue, "send", send)
    return lambda *words, code=0: checked(CliRunner().invoke(main, ["webhooks", *words]), code)


def checked(result: Result, code: int) -> Result:
    assert result.exit_code == code, result.output
    return result


def created(run: Run, receiver: web.Site, *options: str) -> tuple[str, str]:
    made = json.loads(run("create", receiver.url, "--json", *options).stdout)
    return made["id"], made["secret"]


def test_a_receiver_is_made_with_a_secret_on_stdout_listed_and_deleted(run: Run, receiver: web.Site) -> None:
    made = run("create", receiver.url, "--event", "job.failed", "--event", "batch.completed")
    assert made.stdout.startswith("whsec_")
    assert "not shown again" in made.stderr
    (listed,) = json.loads(run("list", "--json").stdout)
    assert (listed["url"], listed["events"]) == (receiver.url, ["job.failed", "batch.completed"])
    assert "job.failed, batch.completed" in run("list").stdout
    run("delete", listed["id"])
    assert run("list").stdout == ""


def test_a_test_says_what_the_receiver_answered(run: Run, receiver: web.Site) -> None:
    id_, secret = created(run, receiver)
    assert run("test", id_).stdout == "delivered: the receiver answered 204\n"
    (request,) = receiver.requests
    assert Webhook(secret).verify(request.body, dict(request.headers))["data"]["id"] == id_
    receiver.answer = web.says(500)
    assert "the receiver answered 500; the next try is at" in run("test", id_, code=1).stdout


def test_what_was_sent_is_listed_shown_and_sent_again(run: Run, receiver: web.Site) -> None:
    id_, _ = created(run, receiver)
    assert "nothing of that kind" in run("deliveries", id_).stderr
    run("test", id_)
    (listed,) = json.loads(run("deliveries", id_, "--json", "--status", "delivered", "--event", "webhook.test").stdout)
    assert json.loads(run("show", listed["id"], "--json").stdout)["body"]["type"] == "webhook.test"
    shown = run("show", listed["id"]).stdout
    assert listed["event_id"] in shown
    assert '"type": "webhook.test"' in shown
    assert "webhook.test" in run("deliveries", id_).stdout
    assert f"{listed['event_id']} goes out again" in run("redeliver", listed["id"]).stdout
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 1
    assert len(receiver.requests) == 2


def test_one_that_is_off_tells_why_and_what_it_missed_is_recovered(
    run: Run, receiver: web.Site, client: httpx.Client
) -> None:
    id_, _ = created(run, receiver)
    assert run("off", id_).stdout == f"{id_} is off\n"
    assert "off: turned off by its owner" in run("list").stdout
    assert run("on", id_).stdout == f"{id_} is on\n"
    receiver.answer = web.says(410)
    run("test", id_, code=1)
    assert "410" in run("list").stdout
    since = datetime.now(UTC) - timedelta(hours=1)
    assert run("recover", id_, "--since", since.isoformat()).stdout == "1 deliveries go out again\n"
    assert client.get(f"/v1/webhook-endpoints/{id_}").json()["enabled"]
    local = since.astimezone().replace(tzinfo=None).isoformat()
    assert json.loads(run("recover", id_, "--since", local, "--json").stdout) == {"recovered": 0}


def test_a_secret_is_rotated(run: Run, receiver: web.Site) -> None:
    id_, first = created(run, receiver)
    second = run("rotate", id_).stdout.strip()
    assert second.startswith("whsec_")
    assert second != first


@pytest.mark.parametrize(
    "words",
    [
        ("create", "https://example.com/", "--event", "job.exploded"),
        ("recover", "whe_1", "--since", "yesterday"),
        ("deliveries", "whe_1", "--status", "lost"),
        ("test", "whe_1"),
        ("show", "dlv_1"),
    ],
)
def test_what_cannot_be_is_a_usage_error(run: Run, words: tuple[str, ...]) -> None:
    run(*words, code=2)
