"""``cleanplate release``, against the API in memory."""

import json

import pytest
from typer.testing import CliRunner

from cleanplate.cli import main
from cleanplate.resources import BatchOptions
from tests.fake_api import FakeApi


@pytest.fixture
def batch_id(api: FakeApi) -> str:
    api.held = "budget"
    with api.client() as client:
        batch = client.create_batch(BatchOptions(seal=False))
        client.add_items(batch.id, [("a.jpg", b"x"), ("a_mask.png", b"x")])
    return str(batch.id)


def test_what_may_go_is_told(batch_id: str) -> None:
    result = CliRunner().invoke(main, ["release", batch_id])
    assert (result.exit_code, result.stdout) == (0, f"1 jobs of {batch_id} may go\n")


def test_the_budget_is_raised(batch_id: str) -> None:
    result = CliRunner().invoke(main, ["release", batch_id, "--budget", "40", "--json"])
    told = json.loads(result.stdout)
    assert (told["options"]["budget_credits"], told["held"]) == (40.0, None)


def test_a_batch_that_is_not_there_is_a_usage_error(batch_id: str) -> None:
    assert CliRunner().invoke(main, ["release", f"{batch_id}9"]).exit_code == 2
