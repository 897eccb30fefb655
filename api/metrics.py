"""``/metrics``: how all of it is doing, in the text format of Prometheus.

Every number is of the database, so any process answers for all; none is found by a scan of what waits or has ended.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Final

from fastapi import APIRouter, Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import Select, func, literal_column, select

from api.documentation import KEYLESS, answers
from cleanplate import db, jobs
from cleanplate.models import Account, Batch, Delivery, Job, Worker
from cleanplate.states import PROCESSING

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
KEPT_SECONDS: Final = 1.0
"""Who asks needs no key: however many do, the database is asked once in so long."""
COUNTED_MOST: Final = 100_000
"""As far as single jobs, and webhooks, that wait are counted."""
MOST: Final[Any] = literal_column(str(COUNTED_MOST))
EXAMPLE: Final = """\
# HELP cleanplate_upstream_slots_used Tasks that the account holds.
# TYPE cleanplate_upstream_slots_used gauge
cleanplate_upstream_slots_used{account="default"} 24.0
"""

router = APIRouter(tags=["health"], responses=answers(500, 503))


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {
            "description": "Gauges, in the text format of Prometheus.",
            "content": {"text/plain": {"schema": {"type": "string"}, "example": EXAMPLE}},
        }
    },
    openapi_extra=KEYLESS,
)
def get_metrics() -> Response:
    """Tell how all of it is doing: jobs, upstream accounts, and the results and webhooks that wait."""
    return Response(_text(int(time.monotonic() / KEPT_SECONDS)), media_type=MEDIA_TYPE)


class Gathered(Collector):
    """The metrics as they are now."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        with db.transaction() as tx:
            yield from gathered(tx)


@lru_cache(maxsize=1)
def _text(_period: int) -> bytes:
    registry = CollectorRegistry()
    registry.register(Gathered())
    return generate_latest(registry)


def gathered(tx: db.Transaction) -> Iterator[GaugeMetricFamily]:
    """Yield the metrics as they are now."""
    under_way = tx.execute(jobs_under_way()).all()
    stages = dict.fromkeys(sorted(PROCESSING), 0) | {row.state: row.jobs for row in under_way}
    yield _gauge("jobs", "Jobs under way.", "stage", stages.items())
    in_batches = max(0, tx.scalar(left_in_batches()) - sum(row.of_batches for row in under_way))
    singles = tx.scalar(singles_in_line())
    waiting = [("batches", in_batches), ("singles", singles)]
    yield _gauge("jobs_waiting", "Jobs that wait to be submitted, or are held.", "of", waiting)
    yield from _of_accounts(tx)
    alive = tx.scalar(select(func.count()).where(Worker.expires_at > func.now()))
    yield _one("conveyors", "Conveyors that are alive.", alive)
    results, left = tx.execute(results_waiting()).one()
    yield _one("results_waiting", "Results that the upstream has and that are not stored yet.", results)
    yield _one("results_seconds_left", "Seconds until the upstream forgets the first of those.", left)
    due, late = tx.execute(webhooks_due()).one()
    yield _one("webhooks_due", "Webhooks of which a try is due.", due)
    yield _one("webhooks_late_seconds", "Seconds since the first of those was due.", late)


def _one(name: str, tells: str, value: float | None) -> GaugeMetricFamily:
    """Return a gauge without a label, and without a value where it is not known."""
    gauge = GaugeMetricFamily(f"cleanplate_{name}", tells)
    if value is not None:
        gauge.add_metric([], value)
    return gauge


def _gauge(name: str, tells: str, label: str, values: Iterable[tuple[str, float | None]]) -> GaugeMetricFamily:
    """Return a gauge with a value for each label of which one is known."""
    gauge = GaugeMetricFamily(f"cleanplate_{name}", tells, labels=[label])
    for given, value in values:
        if value is not None:
            gauge.add_metric([given], value)
    return gauge


def _of_accounts(tx: db.Transaction) -> Iterator[GaugeMetricFamily]:
    held = jobs.slots_held(Account.name).scalar_subquery()
    rows = [(row, used) for row, used in tx.execute(select(Account, held).order_by(Account.name)) if row.cap or used]

    def each(name: str, tells: str, values: Sequence[float | None]) -> GaugeMetricFamily:
        named = zip([row.name for row, _ in rows], values, strict=True)
        return _gauge(f"upstream_{name}", tells, "account", named)

    yield each("slots", "Tasks that the account may hold, by the settings.", [row.cap for row, _ in rows])
    yield each("slots_allowed", "Tasks that it may hold now, by its answers.", [row.allowed for row, _ in rows])
    yield each("slots_used", "Tasks that it holds.", [used for _, used in rows])
    yield each(
        "paused", "1 while nothing is submitted to it.", [float(row.paused_reason is not None) for row, _ in rows]
    )
    yield each("latency_seconds", "Seconds that a task takes it, as learned.", [row.latency_seconds for row, _ in rows])
    yield each("balance_credits", "Credits that are left on it.", [row.balance_credits for row, _ in rows])


def jobs_under_way() -> Select[str, int, int]:
    """Return the query that counts, by state, the jobs under way: no more than hold slots or wait for one."""
    counts = (func.count().label("jobs"), func.count(Job.batch_id).label("of_batches"))
    return select(Job.state, *counts).where(Job.state.in_(jobs.literals(PROCESSING))).group_by(Job.state)


def left_in_batches() -> Select[int]:
    """Return the query for how many jobs of batches have not ended: by their counts."""
    left = Batch.total - Batch.succeeded - Batch.failed - Batch.cancelled
    return select(func.coalesce(func.sum(left), 0)).where(Batch.finished_at.is_(None))


def singles_in_line() -> Select[int]:
    """Return the query for how many single jobs wait in line."""
    waits = (Job.batch_id.is_(None), Job.state == literal_column("'queued'"))
    return select(func.count()).select_from(select(Job.id).where(*waits).limit(MOST).subquery())


def results_waiting() -> Select[int, float | None]:
    """Return the query for how many results are to be stored, and for how many seconds the first of them is there."""
    left = func.extract("epoch", func.min(Job.window_ends) - func.now())
    return select(func.count(), left).where(Job.state == literal_column("'ready'"))


def webhooks_due() -> Select[int, float | None]:
    """Return the query for how many tries of webhooks are due, and since how many seconds the first of them is."""
    due = (Delivery.state == literal_column("'pending'"), Delivery.due_at <= func.now())
    its = select(Delivery.due_at).where(*due).limit(MOST).subquery()
    return select(func.count(), func.extract("epoch", func.now() - func.min(its.c.due_at))).select_from(its)
