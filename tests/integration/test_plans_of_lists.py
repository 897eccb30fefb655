"""A page of a list costs what is on it, and not one row of ten thousand more, however rare is what was asked for."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, Select, make_url, select, text

from api import receipts, retry
from api.listing import BatchFilters, JobFilters, of_batch, of_tenant
from cleanplate import cancel, db, deletion
from cleanplate.models import Batch, Job
from cleanplate.retrying import Retrying
from tests.plans import plans, walked
from tests.servers import fresh_database

BATCHES, ITEMS = 6, 10_000
LIMIT, UNDER_WAY = 50, 4
DAY = "timestamptz '2026-03-01' + {} * interval '1 day'"
ID = "'{}_' || lpad(to_hex((extract(epoch FROM {}) * 1000)::bigint), 12, '0') || lpad(to_hex({}), 20, '0')"
STATE = """
    CASE WHEN b = 1 AND n % 3000 = 1 THEN 'failed' WHEN b = 1 AND n % 3000 = 2 THEN 'cancelled'
         WHEN b = 1 AND n % 3000 = 3 THEN 'queued' WHEN b = 1 AND n % 3000 = 4 THEN 'inflight'
         WHEN b = 2 THEN 'queued' WHEN b = 3 THEN 'failed' WHEN b = 4 THEN 'cancelled' ELSE 'succeeded' END
"""
FILL = (
    "INSERT INTO tenants (id, name) VALUES ('ten_1', '1'), ('ten_2', '2')",
    f"""
    INSERT INTO batches (id, tenant_id, created_at, deleted_at)
    SELECT {ID.format("bat", DAY.format("b"), "b")}, 'ten_1', {DAY.format("b")}, CASE WHEN b > 10 THEN now() END
    FROM generate_series(1, 5000) b
    """,
    f"""
    INSERT INTO jobs (id, tenant_id, batch_id, custom_id, created_at, image_key, image, mask_key, mask, send_image_key,
                      send_mask_key, owner, state, result_key, error_code, deleted_at)
    SELECT {ID.format("job", DAY.format("b"), "n")}, 'ten_1', {ID.format("bat", DAY.format("b"), "b")},
           'photo ' || b * 10000 + n, {DAY.format("b")} + n * interval '1 s', 'k', '{{}}', 'k', '{{}}', 'k', 'k', 'w',
           state, 'k', CASE state WHEN 'failed' THEN CASE b WHEN 3 THEN 'worker_crashed' ELSE 'upstream_error' END END,
           CASE WHEN b = {BATCHES} THEN now() END
    FROM (SELECT b, n, {STATE} AS state FROM generate_series(1, {BATCHES}) b, generate_series(1, {ITEMS}) n) AS given
    """,
    "VACUUM ANALYZE",
)
"""Of six batches the first has two or three jobs in each state among its successes, the last is deleted."""


@pytest.fixture(scope="module")
def filled(postgres_url: str, migrated_url: str) -> Iterator[Engine]:
    with fresh_database(postgres_url, make_url(migrated_url).database or "") as url:
        engine = db.connect(url)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for statement in FILL:
                connection.execute(text(statement))
        yield engine
        engine.dispose()


def on(day: int, hour: int = 0) -> datetime:
    return datetime(2026, 3, 1, tzinfo=UTC) + timedelta(days=day, hours=hour)


FILTERS = {
    "all": {},
    "waiting, of which there are few": {"status": "queued"},
    "under way": {"status": "processing"},
    "succeeded": {"status": "succeeded"},
    "failed, of which there are few": {"status": "failed"},
    "cancelled, of which there are few": {"status": "cancelled"},
    "one custom_id": {"custom_id": "photo 14999"},
    "a custom_id that there is not": {"custom_id": "photo 0"},
    "a rare error": {"error_code": "upstream_error"},
    "an error that there is not": {"error_code": "result_invalid"},
    "failed with a rare error": {"status": "failed", "error_code": "upstream_error"},
    "before there was any": {"created_before": on(-5)},
    "after there was any": {"created_after": on(20_000)},
    "failed, before there was any": {"status": "failed", "created_before": on(-5)},
}


@pytest.mark.parametrize("wanted", FILTERS.values(), ids=FILTERS)
@pytest.mark.parametrize("is_next", [False, True], ids=["first", "next"])
def test_a_page_of_a_tenants_jobs_reads_no_more_than_is_on_it(
    filled: Engine, wanted: dict[str, Any], *, is_next: bool
) -> None:
    cursor = one(filled, select(Job.id).order_by(Job.id).offset(2 * ITEMS)) if is_next else None
    read_by_index(filled, of_tenant(Job, "ten_1", JobFilters(limit=LIMIT, cursor=cursor, **wanted)))


@pytest.mark.parametrize("wanted", FILTERS.values(), ids=FILTERS)
@pytest.mark.parametrize("is_next", [False, True], ids=["first", "next"])
@pytest.mark.parametrize("number", [0, 4])
def test_a_page_of_a_batchs_jobs_reads_no_more_than_is_on_it(
    filled: Engine, number: int, wanted: dict[str, Any], *, is_next: bool
) -> None:
    batch_id = one(filled, select(Batch.id).order_by(Batch.id).offset(number))
    its = select(Job.id).where(Job.batch_id == batch_id).order_by(Job.id)
    cursor = one(filled, its.offset(ITEMS // 2)) if is_next else None
    read_by_index(filled, of_batch(batch_id, JobFilters(limit=LIMIT, cursor=cursor, **wanted)))


@pytest.mark.parametrize("wanted", [{}, {"created_before": on(-5)}, {"created_after": on(20_000)}], ids=str)
@pytest.mark.parametrize("is_next", [False, True], ids=["first", "next"])
def test_a_page_of_batches_reads_no_more_than_is_on_it(
    filled: Engine, wanted: dict[str, Any], *, is_next: bool
) -> None:
    cursor = one(filled, select(Batch.id).order_by(Batch.id).offset(2500)) if is_next else None
    read_by_index(filled, of_tenant(Batch, "ten_1", BatchFilters(limit=LIMIT, cursor=cursor, **wanted)))


PAGES = {
    "the receipt": (lambda batch, after: receipts.page().params(batch_id=batch, after=after), 0, receipts.PAGE),
    "what failed": (lambda batch, after: retry.retriable(batch, after, Retrying()), 2, retry.PAGE),
    "what waits": (cancel.queued, 1, cancel.PAGE),
    "what is deleted": (deletion.jobs_of, 2, deletion.PAGE),
}


@pytest.mark.parametrize(("query", "number", "size"), PAGES.values(), ids=PAGES)
def test_a_page_of_a_walk_through_a_batch_reads_no_more_than_is_on_it(
    filled: Engine, query: Callable[[str, str], Select[Any]], number: int, size: int
) -> None:
    batch_id = one(filled, select(Batch.id).order_by(Batch.id).offset(number))
    after = one(filled, select(Job.id).where(Job.batch_id == batch_id).order_by(Job.id).offset(ITEMS // 2))
    for plan in plans(filled, query(batch_id, after)):
        assert not {"Seq Scan", "Sort"} & {node["Node Type"] for node in plan}
    assert size <= walked(filled, query(batch_id, after)) <= size + UNDER_WAY


def one(engine: Engine, query: Select[str]) -> str:
    with engine.connect() as connection:
        return str(connection.scalar(query.limit(1)))


def read_by_index(engine: Engine, query: Select[Any]) -> None:
    for plan in plans(engine, query):
        assert "Seq Scan" not in {node["Node Type"] for node in plan}
    assert walked(engine, query) <= LIMIT + 1 + UNDER_WAY
