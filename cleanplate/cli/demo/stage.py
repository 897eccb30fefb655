"""What the demonstration does on a running stack: erase through our own command line, and hear of it by webhook."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from standardwebhooks.webhooks import WebhookVerificationError

from cleanplate.cli.demo.receiver import Receiver
from cleanplate.cli.exits import Code
from cleanplate.client import Client
from cleanplate.local.stack import Running

EVENT = "batch.completed"
WEBHOOK_SECONDS = 20.0
DILATE_PIXELS = 10


class DemoError(Exception):
    """What did not work, in words for a person."""


@dataclass(frozen=True)
class Outcome:
    """What ``cleanplate erase --json`` said, item by item and in its summary, and the simulator's own books.

    ``stats`` is None when the pictures went to the real upstream.
    """

    items: list[dict[str, Any]]
    summary: dict[str, Any]
    stats: dict[str, Any] | None


def perform(running: Running, folder: Path, saved: Path, step: Callable[[str], None]) -> Outcome:
    """Erase the pairs in ``folder`` into ``saved`` and wait until the batch's webhook has come and is verified.

    Raises :class:`DemoError`, or ``ClientError`` when the API refuses.
    """
    with Receiver() as receiver, Client(running.url, running.api_key) as client:
        step("registering a receiver of webhooks")
        secret = client.create_endpoint(receiver.url, [EVENT]).secret
        step("erasing, through REST, with our own command line")
        items, summary = _erase(running, folder, saved)
        step("waiting for the signed webhook")
        try:
            told = receiver.wait_for(EVENT, str(secret), WEBHOOK_SECONDS)
        except (TimeoutError, WebhookVerificationError) as error:
            raise DemoError(str(error)) from error
        if [told["id"]] != summary["batches"]:
            raise DemoError(f"the webhook told of {told['id']}, not of {summary['batches']}")
    return Outcome(items, summary, _stats(running))


def _erase(running: Running, folder: Path, saved: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    options = ["--name", "demo", "--dilate", str(DILATE_PIXELS), "--json"]
    command = [sys.executable, "-m", "cleanplate", "erase", str(folder), "--out", str(saved), *options]
    environment = {**running.environment, "CLEANPLATE_URL": running.url, "CLEANPLATE_API_KEY": running.api_key}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603  ours
    if done.returncode not in {Code.OK, Code.SOME_FAILED} or not done.stdout:
        raise DemoError(f"cleanplate erase ended with status {done.returncode}")
    *items, summary = map(json.loads, done.stdout.splitlines())
    return items, summary


def _stats(running: Running) -> dict[str, Any] | None:
    if running.simulator_url is None:
        return None
    try:
        answer = httpx.get(f"{running.simulator_url}/admin/stats", trust_env=False).raise_for_status()
    except httpx.HTTPError as error:
        raise DemoError(f"the simulator does not tell its books: {error}") from error
    stats: dict[str, Any] = answer.json()
    return stats
