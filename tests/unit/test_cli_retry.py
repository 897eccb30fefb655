"""``cleanplate retry``, against an API that answers what it is told to."""

import json
from functools import partial

import httpx
import pytest
from typer.testing import CliRunner, Result

from api import examples
from cleanplate.cli import connect, main
from cleanplate.client import Client


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[httpx.Request]:
    """The requests that were made."""
    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        made = examples.RETRIED_BATCH if "/batches/" in request.url.path else examples.RETRIED_JOB
        return httpx.Response(202, json=made.model_dump(mode="json"))

    transport = httpx.MockTransport(answer)
    client = partial(Client, "http://api.test", "k", transport=transport)
    monkeypatch.setattr(connect, "Client", lambda _url, _key, on_wait: client(on_wait=on_wait))
    return requests


def retry(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["retry", *arguments])


def test_a_batch_is_retried_with_other_params(asked: list[httpx.Request]) -> None:
    result = retry("bat_1", "--dilate", "30", "--cancelled")
    assert (result.exit_code, result.stdout) == (0, f"2 jobs go again as batch {examples.RETRIED_BATCH.id}\n")
    assert asked[0].url.path == "/v1/batches/bat_1/retry"
    assert json.loads(asked[0].content) == {"params": {"dilate_pixels": 30}, "cancelled": True}


def test_a_job_keeps_its_params(asked: list[httpx.Request]) -> None:
    result = retry("job_1", "--json")
    assert json.loads(result.stdout)["parent_id"] == examples.RETRIED_JOB.parent_id
    assert json.loads(asked[0].content) == {"params": {}, "cancelled": False}


def test_what_is_neither_is_a_usage_error(asked: list[httpx.Request]) -> None:
    assert retry("whe_1").exit_code == 2
    assert not asked
