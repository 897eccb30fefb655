"""A service is written with ``cleanplate listen``, then sent its events, is away, and hears what it missed."""

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from standardwebhooks import Webhook

from tests import web
from tests.journeys.harness import finish, pairs, stack, wait_until

COUNT = 3


def heard(site: web.Site, secret: str) -> list[str]:
    """Return the types of the events that came, each of which verifies, every ``webhook-id`` once."""
    told = {}
    for request in site.requests:
        event = Webhook(secret).verify(request.body, dict(request.headers))
        told[request.headers["webhook-id"]] = event["type"]
    return sorted(told.values())


def test_from_the_first_event_on_the_screen_to_all_that_was_missed(tmp_path: Path) -> None:
    photos, expected = pairs(tmp_path / "photos", COUNT), ["batch.completed", *["job.succeeded"] * COUNT]
    since = datetime.now(UTC) - timedelta(minutes=1)
    with (
        web.serving(web.says(204)) as site,
        stack(tmp_path / "data", fast=True, CLEANPLATE_ALLOW_PRIVATE_NETWORKS="127.0.0.0/8") as running,
        running.client() as client,
    ):
        env = {**os.environ, "CLEANPLATE_URL": running.running.url, "CLEANPLATE_API_KEY": running.running.api_key}
        command = [sys.executable, "-m", "cleanplate", "listen", "--forward-to", site.url, "--json"]
        with subprocess.Popen(command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as listening:
            assert listening.stdout
            assert listening.stderr
            try:
                secret = listening.stderr.readline().split()[-1]
                finish(running.erase(photos, tmp_path / "out-1"))
                shown = sorted(json.loads(listening.stdout.readline())["type"] for _ in expected)
                wait_until(lambda: len(site.requests) == len(expected))
            finally:
                listening.send_signal(signal.SIGINT)
        assert (shown, heard(site, secret), listening.returncode) == (expected, expected, 0)
        assert running.rows("SELECT * FROM listeners") == []
        site.requests.clear()

        endpoint = client.create_endpoint(site.url)
        finish(running.erase(photos, tmp_path / "out-2"))
        wait_until(lambda: len(heard(site, endpoint.secret or "")) == len(expected))
        assert heard(site, endpoint.secret or "") == expected
        site.requests.clear()

        site.answer = web.says(410)
        client.test_endpoint(endpoint.id)
        wait_until(lambda: not client.endpoint(endpoint.id).enabled)
        finish(running.erase(photos, tmp_path / "out-3"))
        assert client.endpoint(endpoint.id).disabled_reason == "the receiver answered 410 Gone"
        site.requests.clear()
        site.answer = web.says(204)
        rotated = client.rotate_secret(endpoint.id)
        assert client.recover(endpoint.id, since).recovered == len(expected) + 1
        wait_until(lambda: len(site.requests) > len(expected))
        assert heard(site, endpoint.secret or "") == heard(site, rotated.secret or "") == [*expected, "webhook.test"]
