"""What docs/webhooks.md says is what the code does; its receiver in Python is run as it stands there."""

import asyncio
import re
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from api import deliveries as calls
from api import receivers
from cleanplate import endpoints, outbound, outbox, signing
from worker import deliveries, forget, lanes, notify

GUIDE = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text(encoding="utf-8")
FLAT = " ".join(GUIDE.split())
UNITS = {"s": 1, "min": 60, "h": 3600}


def test_the_table_of_the_tries_is_the_schedule() -> None:
    rows = re.findall(r"^\| (\d+) \| (at once|(\d+) (s|min|h)) \|$", GUIDE, re.MULTILINE)
    assert [int(number) for number, *_ in rows] == list(range(1, len(notify.SCHEDULE) + 2))
    steps = [timedelta(seconds=int(count or 0) * UNITS.get(unit, 0)) for _, _, count, unit in rows]
    assert steps == [timedelta(), *notify.SCHEDULE]


@pytest.mark.parametrize(
    "told",
    [
        f"within {notify.TIMEOUT_SECONDS:g} s",
        f"the first {outbound.ANSWER_BYTES >> 10} KiB are read",
        f"the first {notify.ANSWER_KEPT >> 10} KiB",
        f"after {deliveries.FAILING_LONGEST.days} days of nothing but failures",
        f"Every try of the last {outbox.KEPT.days} days is in the books",
        f"it should have heard is kept for {outbox.KEPT.days} days",
        f"For {endpoints.OVERLAP.total_seconds() / 3600:g} h every delivery carries two signatures",
        f"{calls.MOST:,} a call",
        f"a pause of {lanes.FIRST_REST_SECONDS * 1000:g} ms that doubles with each failure in a row",
        f"not acknowledged for {forget.UNHEARD_KEPT.total_seconds() / 3600:g} h",
        f"up to {receivers.MOST} endpoints",
    ],
)
def test_each_figure_is_the_codes(told: str) -> None:
    assert told in FLAT


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names of the receiver in the guide, after it was run."""
    secret = f"whsec_{secrets.token_hex(24)}"
    monkeypatch.setenv("WEBHOOK_SECRET", secret)
    (code, *_) = [
        block for block in re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL) if "WebhookVerification" in block
    ]
    names: dict[str, Any] = {"__name__": "service", "secret": secret}
    exec(compile(code, "docs/webhooks.md", "exec"), names)
    return names


def test_the_receiver_in_the_guide_takes_what_is_signed_works_once_and_refuses_the_rest(
    service: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    body = '{"type": "job.failed", "data": {"id": "job_1", "name": "Küche"}}'

    async def send(body: str, headers: dict[str, str]) -> int:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(service["app"]), base_url="http://test") as client:
            return (await client.post("/hooks", content=body.encode(), headers=headers)).status_code

    headers = signing.headers("evt_1", datetime.now(UTC), body, ["whsec_" + "A" * 32, service["secret"]])
    assert [asyncio.run(send(body, headers)) for _ in range(2)] == [200, 200]
    assert capsys.readouterr().out.count("job_1") == 1
    assert asyncio.run(send(body.replace("job_1", "job_2"), headers)) == 400
    old = signing.headers("evt_2", datetime.now(UTC) - timedelta(minutes=6), body, [service["secret"]])
    assert asyncio.run(send(body, old)) == 400
    assert capsys.readouterr().out == ""
