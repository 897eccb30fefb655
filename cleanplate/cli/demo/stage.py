"""What the demonstration does on a running stack: erase through our own command line, and hear of it by webhook."""

import json
import subprocess
import sys
import tempfile
import time
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
LOOK_EVERY_SECONDS = 1.0
HELD_SECONDS = 8.0
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
        items, summary = _erase(running, client, folder, saved)
        step("waiting for the signed webhook")
        try:
            told = receiver.wait_for(EVENT, str(secret), WEBHOOK_SECONDS)
        except (TimeoutError, WebhookVerificationError) as error:
            raise DemoError(str(error)) from error
        if [told["id"]] != summary["batches"]:
            raise DemoError(f"the webhook told of {told['id']}, not of {summary['batches']}")
    return Outcome(items, summary, _stats(running))


def _erase(running: Running, client: Client, folder: Path, saved: Path) -> tuple[list[Any], dict[str, Any]]:
    options = ["--name", "demo", "--dilate", str(DILATE_PIXELS), "--json", "--once"]
    command = [sys.executable, "-m", "cleanplate", "erase", str(folder), "--out", str(saved), *options]
    environment = {**running.environment, "CLEANPLATE_URL": running.url, "CLEANPLATE_API_KEY": running.api_key}
    with tempfile.TemporaryFile("w+", encoding="utf-8") as told:
        child = subprocess.Popen(command, env=environment, stdout=told)  # noqa: S603  ours
        try:
            status = _wait(child, client)
        finally:
            _see_off(child)
        told.seek(0)
        lines = told.readlines()
    if status not in {Code.OK, Code.SOME_FAILED} or not lines:
        raise DemoError(f"cleanplate erase ended with status {status}")
    *items, summary = map(json.loads, lines)
    return items, summary


def _wait(child: "subprocess.Popen[bytes]", client: Client) -> int:
    """Return the child's exit status, unless the upstream lets nothing through: nobody would mend that meanwhile."""
    held_since = None
    while True:
        try:
            return child.wait(LOOK_EVERY_SECONDS)
        except subprocess.TimeoutExpired:
            upstream = client.upstream()
        now = time.monotonic()
        held_since = (held_since or now) if upstream.paused and not upstream.slots_used else None
        if held_since and now - held_since > HELD_SECONDS:
            child.terminate()
            raise DemoError(f"the upstream is paused ({upstream.paused_reason}: {upstream.paused_detail})")


def _see_off(child: "subprocess.Popen[bytes]") -> None:
    """End the child; after Ctrl-C it is leaving already, for a terminal tells both of us."""
    try:
        child.wait(3)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _stats(running: Running) -> dict[str, Any] | None:
    if running.simulator_url is None:
        return None
    try:
        answer = httpx.get(f"{running.simulator_url}/admin/stats", trust_env=False).raise_for_status()
    except httpx.HTTPError as error:
        raise DemoError(f"the simulator does not tell its books: {error}") from error
    stats: dict[str, Any] = answer.json()
    return stats
