"""From a commit to its receipt by webhook: with all receivers well, with a tenth of them hanging, among many rows."""

import asyncio
import json
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import psycopg
from aiohttp.web import Request, StreamResponse

from cleanplate import db, outbox, queue
from tests import rows, web
from tests.api import configured
from tests.bench import figures
from tests.journeys.harness import Stack, stack
from tests.servers import wait_until

A_SECOND, SECONDS = 50, 20
RECEIVERS, TENANTS, HANGING = 40, 4, 4
DELIVERED = 1_000_000
NAMES = ("DATABASE_URL", "REDIS_URL", "CLEANPLATE_SECRET_KEYS")
FILL = """
    INSERT INTO deliveries (id, tenant_id, endpoint_id, event_id, event_type, body, state, tries, delivered_at)
    SELECT 'dlv_' || lpad(to_hex(CAST(1000 * extract(epoch FROM now()) AS bigint) - n), 12, '0') || n, tenant_id, id,
        'evt_' || n, 'job.succeeded', '{}', 'delivered', 1, now()
    FROM generate_series(1, %(count)s) n
    JOIN (SELECT row_number() OVER () AS number, id, tenant_id FROM endpoints) e ON e.number = 1 + n %% %(endpoints)s
"""


class Ledger:
    """When each event was committed and when it was received, by its number."""

    def __init__(self) -> None:
        self.committed: dict[int, float] = {}
        self.received: dict[int, float] = {}

    async def answer(self, request: Request) -> StreamResponse:
        """Note what came; those who hang note nothing."""
        if request.path.startswith("/hangs"):
            await asyncio.Event().wait()
        self.received.setdefault(json.loads(await request.read())["data"]["number"], time.monotonic())
        return await web.says(204)(request)


def run(folder: Path) -> list[dict[str, Any]]:
    """Publish events for a while, three times, and return what was measured."""
    allowed: dict[str, Any] = {"CLEANPLATE_ALLOW_PRIVATE_NETWORKS": "127.0.0.0/8"}
    ledger = Ledger()
    with (
        stack(folder, slots=1, latency=60.0, fast=True, **allowed) as running,
        web.serving(ledger.answer) as site,
        _publishing(running),
    ):
        well, others = _receivers(site.url, "well", HANGING), _receivers(site.url, "well", RECEIVERS - HANGING)
        found = [_measured(running, ledger, well + others, "nobody hangs")]
        hanging = _receivers(site.url, "hangs", HANGING)
        found.append(_measured(running, ledger, hanging + others, "a tenth hangs"))
        with psycopg.connect(running.running.environment["DATABASE_URL"], autocommit=True) as connection:
            connection.execute(FILL, {"count": DELIVERED, "endpoints": RECEIVERS + HANGING})
            connection.execute("VACUUM ANALYZE deliveries")
        found.append(_measured(running, ledger, hanging + others, f"a tenth hangs, {DELIVERED} rows are delivered"))
        return found


@contextmanager
def _publishing(running: Stack) -> Iterator[None]:
    """Let this process write events as those of the stack do."""
    environment = running.running.environment
    with configured(**{name: environment[name] for name in NAMES}), mock.patch.object(queue, "app", queue.make_app()):
        yield


def _receivers(url: str, kind: str, count: int) -> list[tuple[str, str]]:
    """Make receivers that hear of what names them alone; return them with their tenants."""
    with db.transaction() as tx:
        tenants = [rows.tenant(tx, f"ten_{number % TENANTS}") for number in range(count)]
        return [
            (tenant, rows.endpoint(tx, f"{url}/{kind}/{tenant}/{time.monotonic_ns()}", tenant_id=tenant, one_off=True))
            for tenant in tenants
        ]


def _measured(running: Stack, ledger: Ledger, receivers: list[tuple[str, str]], name: str) -> dict[str, Any]:
    """Publish at an even pace, to the receivers by turns, and return what became of what those got that are well."""
    ledger.committed.clear()
    ledger.received.clear()
    hanging = set(range(0 if name.startswith("nobody") else HANGING))
    count = A_SECOND * SECONDS
    with figures.metered({"notifier": running.pid("notifier"), "postgres": running.pid("postgres")}, count) as spent:
        began = time.monotonic()
        for number in range(count):
            time.sleep(max(began + number / A_SECOND - time.monotonic(), 0.0))
            _publish(ledger, *receivers[number % RECEIVERS], number)
        expected = {number for number in range(count) if number % RECEIVERS not in hanging}
        wait_until(lambda: ledger.received.keys() >= expected, 60)
    delays = [ledger.received[number] - ledger.committed[number] for number in expected]
    return {
        "receivers": f"{RECEIVERS} of {TENANTS} tenants: {name}",
        "events": f"{count}, {A_SECOND} a second",
        "received by those that are well": len(delays),
        **figures.quantiles("commit -> receipt", delays),
        "commit -> receipt p95, s": statistics.quantiles(delays, n=100)[94],
        "commit -> receipt most, s": max(delays),
        **{figure: value for figure, value in spent.items() if "all but" not in figure},
    }


def _publish(ledger: Ledger, tenant: str, endpoint: str, number: int) -> None:
    def after_commit(send: Any) -> None:
        ledger.committed[number] = time.monotonic()
        send()

    with db.transaction(after_commit) as tx:
        outbox.publish(tx, tenant, "job.succeeded", {"number": number}, {endpoint})
