"""``cleanplate erase`` with a canary or a budget: what is held, and goes on after its release."""

from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from cleanplate.cli import main
from tests.cli_runs import told
from tests.fake_api import FakeApi


@pytest.mark.parametrize(
    ("held", "options", "words"),
    [
        ("canary", ["--canary", "1"], "cleanplate release bat_0001` lets the rest go"),
        ("canary_failed", ["--canary", "1"], "cleanplate cancel bat_0001` stops the rest"),
        ("budget", ["--budget", "7"], "cleanplate release bat_0001 --budget C`"),
    ],
)
def test_a_run_ends_when_all_that_is_left_is_held_and_goes_on_after_the_release(
    erase: Any, api: FakeApi, held: str, options: list[str], words: str
) -> None:
    api.held = held
    api.finish = lambda job: job["custom_id"] == "a"
    result = erase(*options)
    assert result.exit_code == 6
    assert words in result.stderr
    assert "resume with: " in result.stderr
    (batch,) = api.batches.values()
    assert {"canary": batch["options"]["canary"], "budget": batch["options"]["budget_credits"]} == {
        "canary": 1 if "--canary" in options else None,
        "budget": 7.0 if "--budget" in options else None,
    }
    assert CliRunner().invoke(main, ["release", *api.batches]).exit_code == 0
    api.finish = lambda _: True
    again = erase(*options, "--json")
    assert again.exit_code == 0
    assert told(again)[1]["succeeded"] == 3
    assert len(api.batches) == 1


def test_a_run_does_not_end_while_its_canary_is_not_done(erase: Any, api: FakeApi) -> None:
    api.held = "canary"
    seen: list[httpx.Request] = []

    def release_late(request: httpx.Request) -> None:
        if request.method == "GET" and request.url.path.endswith("/bat_0001"):
            seen.append(request)
            api.held = "canary" if len(seen) < 4 else None

    api.after = release_late
    api.finish = lambda job: api.held is None or (job["custom_id"] == "a" and len(seen) > 2)
    assert erase("--canary", "2").exit_code == 0


def test_a_budget_must_be_more_than_nothing(erase: Any) -> None:
    assert erase("--budget", "0").exit_code == 2
