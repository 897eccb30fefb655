"""How PostgreSQL finds whose turn it is among many: by the index made for it, never by looking at all rows."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import pytest
from sqlalchemy import Engine, make_url, select, text

from api import deliveries as calls
from api import events, metrics, retry, usage
from api.listing import DeliveryFilters, filtered
from cleanplate import batches, cancel, db, deletion, holding, jobs, leases, order, outbox, reuse
from cleanplate.models import Delivery, Job
from cleanplate.retrying import Retrying
from cleanplate.states import InFlight, State
from tests.plans import plans, walked
from tests.servers import fresh_database
from worker import budget, capacity, deliveries, importing, purge, seating, twins
from worker.look import look

MANY = 20_000
OPEN_ACCOUNTS = capacity.open_accounts("w9", frozenset({"default", "second"}))
LOOKED_AT = (
    *("ix_jobs_unconfirmed_due", "ix_jobs_ready_due", "ix_jobs_importing", "ix_batches_cancelling"),
    *("ix_batches_deleted", "ix_batches_hold"),
)
SMALL = {"workers", "accounts", "tenants"}
STATE = """
    CASE WHEN n % 1000 = 1 THEN 'claimed' WHEN n % 1000 = 2 THEN 'sending' WHEN n % 1000 = 3 THEN 'unconfirmed'
         WHEN n % 1000 = 4 THEN 'ready' WHEN n % 1000 < 15 THEN 'importing' WHEN n % 1000 < 100 THEN 'inflight'
         WHEN n % 1000 < 110 THEN 'held' WHEN n % 1000 < 120 THEN 'following' WHEN n % 2 = 0 THEN 'queued'
         ELSE 'succeeded' END
"""
FILL = (
    "INSERT INTO tenants (id, name) SELECT 'ten_' || n, n FROM generate_series(0, 3) n",
    """
    INSERT INTO endpoints (id, tenant_id, url, secret_encrypted)
    SELECT 'whe_' || n, 'ten_1', 'http://x', '-' FROM generate_series(0, 4999) n
    """,
    f"""
    INSERT INTO endpoints (id, tenant_id, url, secret_encrypted, one_off)
    SELECT 'off_' || n, 'ten_2', 'http://x/' || n, '-', n % 5000 <> 0 FROM generate_series(1, {MANY}) n
    """,
    """
    INSERT INTO batches (id, tenant_id, finish_tag, finished_at, cancelling, budget_credits, hold)
    SELECT 'bat_' || n, 'ten_1', n, CASE WHEN n > 20 THEN now() END, CASE WHEN n % 5 = 0 THEN 'finish' END,
           CASE WHEN n % 4 = 0 THEN n + 1 END, CASE WHEN n % 4 = 0 THEN 'budget' END
    FROM generate_series(0, 4999) n
    """,
    "INSERT INTO workers (id, expires_at) SELECT 'w' || n, now() + interval '1 h' FROM generate_series(0, 3) n",
    f"""
    INSERT INTO jobs (id, tenant_id, batch_id, image_key, image, mask_key, mask, send_image_key, send_mask_key,
                      sources, state, tag, owner, account, due_at, result_key, error_code, finished_at, fingerprint)
    SELECT 'job_' || lpad(n::text, 8, '0'), 'ten_' || n % 4, CASE WHEN n % 500 >= 10 THEN 'bat_' || n % 100 END,
           'k', '{{}}', 'k', '{{}}', 'k', 'k', '{{}}', state, n, 'w' || n % 4, 'default',
           now() - interval '1 s' * (n % 60), 'k', 'upstream_error',
           CASE state WHEN 'succeeded' THEN timestamptz '2026-03-01' + n * interval '1 min' END, 'print' || n % 15000
    FROM (SELECT n, {STATE} AS state FROM generate_series(1, {MANY}) n) AS given
    """,
    """
    INSERT INTO batch_ends (batch_id, number, job_id)
    SELECT batch_id, row_number() OVER (PARTITION BY batch_id ORDER BY id), id FROM jobs WHERE batch_id IS NOT NULL
    """,
    f"""
    INSERT INTO attempts (job_id, number, account, worker)
    SELECT 'job_' || lpad(n::text, 8, '0'), 0, 'default', 'w1' FROM generate_series(1, {MANY}) n
    """,
    f"""
    INSERT INTO deliveries (id, tenant_id, endpoint_id, event_id, event_type, body, state, due_at)
    SELECT 'dlv_' || lpad(to_hex(CAST(1000 * extract(epoch FROM now()) AS bigint) + n), 12, '0'),
           'ten_1', 'whe_' || n % 50, 'evt_' || n,
           CASE n % 333 WHEN 1 THEN 'batch.completed' ELSE 'job.failed' END, '{{}}',
           CASE n % 100 WHEN 0 THEN 'pending' ELSE 'delivered' END, now() - interval '1 s' * n
    FROM generate_series(1, {MANY}) n
    """,
    "INSERT INTO delivery_attempts (delivery_id, number, duration_ms) SELECT id, 1, 5 FROM deliveries",
    "ANALYZE",
)


TWINS = reuse.find_twins(30.0).params(fingerprints=["print1", "print2"])


@pytest.fixture(scope="module")
def filled(postgres_url: str, migrated_url: str) -> Iterator[Engine]:
    with fresh_database(postgres_url, make_url(migrated_url).database or "") as url:
        engine = db.connect(url)
        with engine.begin() as connection:
            for statement in FILL:
                connection.execute(text(statement))
        yield engine
        engine.dispose()


def listed(**wanted: Any) -> Any:
    """Return the query for a page of an endpoint's deliveries."""
    its = filtered(select(Delivery).where(Delivery.endpoint_id == "whe_1"), DeliveryFilters(**wanted))
    return its.order_by(Delivery.id.desc()).limit(51)


@pytest.mark.parametrize(
    ("query", "index"),
    [
        pytest.param(jobs.next_queued(24), "ix_jobs_claim", id="the next jobs to claim"),
        pytest.param(jobs.next_single(2), "ix_jobs_claim_single", id="the next single jobs to claim"),
        pytest.param(seating.singles_claimed(), "ix_jobs_batch_processing", id="the single jobs that wait for a slot"),
        pytest.param(seating.others("w9"), "ix_jobs_owner", id="what other conveyors have"),
        pytest.param(seating.slots_of_singles(), "ix_jobs_batch_processing", id="the slots of single jobs"),
        pytest.param(order.first_waiting(), "ix_jobs_claim", id="the virtual time"),
        pytest.param(order.last_in_line("ten_1"), "ix_jobs_line", id="the end of a tenant's line"),
        pytest.param(
            order.others_in_line("ten_1", "bat_1", 100, 50, order.Far(9.0, singles=True)),
            "ix_jobs_line",
            id="a stretch of the line",
        ),
        pytest.param(
            order.priorities_in_line("ten_1", "bat_1", 10), "ix_batches_line", id="who has a share of the line"
        ),
        pytest.param(jobs.slots_held("default"), "ix_jobs_slots", id="the slots in use"),
        pytest.param(OPEN_ACCOUNTS, "ix_jobs_slots", id="the slots that are free"),
        pytest.param(OPEN_ACCOUNTS, "ix_jobs_batch_processing", id="whether a slot may have to be left"),
        pytest.param(OPEN_ACCOUNTS, "ix_batches_budget", id="whether any has a budget"),
        pytest.param(leases.orphans("w9", 200), "ix_jobs_owner", id="what dead workers left"),
        pytest.param(jobs.due(State.UNCONFIRMED, 200), "ix_jobs_unconfirmed_due", id="unconfirmed submits"),
        pytest.param(jobs.due(State.READY, 200), "ix_jobs_ready_due", id="forgotten results"),
        pytest.param(importing.next_imports(32), "ix_jobs_importing", id="the next jobs to import"),
        pytest.param(batches.processing(["bat_1", "bat_2"]), "ix_jobs_batch_processing", id="the jobs under way"),
        pytest.param(cancel.unheeded(), "ix_batches_cancelling", id="batches that are to be cancelled"),
        pytest.param(cancel.unheeded(), "ix_jobs_batch_processing", id="their jobs that have not been told"),
        pytest.param(
            cancel.under_way("bat_1", InFlight.FINISH), "ix_jobs_batch_processing", id="those of one batch under way"
        ),
        pytest.param(cancel.queued("bat_1", "job_00010000"), "ix_jobs_batch", id="those that wait"),
        pytest.param(events.ends().params(batch_id="bat_1", after=7), "pk_batch_ends", id="what ended next"),
        pytest.param(
            usage.by_day(usage.ended("ten_1", date(2026, 3, 1), date(2026, 3, 2), None)),
            "ix_jobs_ended",
            id="what was used",
        ),
        *(pytest.param(look(), index, id=f"what there is to sweep, by {index}") for index in LOOKED_AT),
        pytest.param(deletion.unfinished(), "ix_batches_deleted", id="deleted batches"),
        pytest.param(deletion.jobs_of("bat_1", "job_00010000"), "ix_jobs_batch", id="jobs to delete"),
        pytest.param(purge.deleted(100), "ix_jobs_deleted", id="deleted jobs with pictures"),
        pytest.param(purge.outlived(30.0, 100), "ix_jobs_kept", id="jobs that were kept for long enough"),
        pytest.param(purge.users(Job.image_key, ["a", "b"]), "ix_jobs_image", id="who else has an input"),
        pytest.param(purge.users(Job.result_key, ["a", "b"]), "ix_jobs_result", id="who else has a result"),
        pytest.param(
            budget.standings(["bat_1", "bat_2"], 5.0), "ix_jobs_batch_processing", id="what is spent or in flight"
        ),
        pytest.param(budget.queued("bat_1", "job_00010000"), "ix_jobs_batch", id="those to hold for a budget"),
        pytest.param(twins.soonest("print1"), "ix_jobs_following", id="who of those that follow goes"),
        pytest.param(metrics.jobs_under_way(), "ix_jobs_batch_processing", id="how many are under way"),
        pytest.param(metrics.left_in_batches(), "ix_batches_line", id="how many are left in batches"),
        pytest.param(metrics.singles_in_line(), "ix_jobs_claim_single", id="how many single ones wait"),
        pytest.param(metrics.results_waiting(), "ix_jobs_ready_due", id="results that are to be stored"),
        pytest.param(metrics.webhooks_due(), "ix_deliveries_line", id="webhooks that are due"),
        pytest.param(holding.pending(), "ix_batches_hold", id="batches of which something is held"),
        pytest.param(holding.held("bat_1", 100), "ix_jobs_held", id="what is held of one"),
        pytest.param(TWINS, "ix_jobs_going", id="a twin that goes"),
        pytest.param(TWINS, "ix_jobs_stored", id="a twin whose result is stored"),
        pytest.param(twins.followers(["print1", "print2"], 200), "ix_jobs_following", id="those that follow a twin"),
        pytest.param(twins.put_off(20), "ix_jobs_following_due", id="those that are looked at again"),
        pytest.param(twins.ended_twins().params(seconds=3.0), "ix_jobs_kept", id="twins that have just ended"),
        pytest.param(twins.ended_twins().params(seconds=3.0), "ix_jobs_following", id="whether they are followed"),
        pytest.param(retry.retriable("bat_1", "job_00010000", Retrying()), "ix_jobs_batch_ended", id="what is retried"),
        pytest.param(retry.retriable("bat_1", "job_00010000", Retrying()), "uq_jobs_parent", id="what was retried"),
        pytest.param(deliveries.waiting(), "ix_deliveries_line", id="the endpoints that have deliveries due"),
        pytest.param(
            deliveries._begin().params(endpoint_ids=["whe_1", "whe_2"], most=[3, 1]),
            "ix_deliveries_line",
            id="what is due to an endpoint",
        ),
        pytest.param(
            deliveries.begun_by_others([("dlv_1", 1)]), "ix_deliveries_line", id="what dead notifiers were trying"
        ),
        pytest.param(
            calls.failed("whe_1", datetime(2026, 3, 1, tzinfo=UTC), "dlv_0"),
            "ix_deliveries_endpoint_open",
            id="what is recovered",
        ),
        pytest.param(listed(status="failed"), "ix_deliveries_endpoint_open", id="a page of what failed"),
        pytest.param(listed(event_type="batch.completed"), "ix_deliveries_endpoint_type", id="a page of one event"),
        pytest.param(deliveries.outlived(), "pk_deliveries", id="deliveries that were kept for long enough"),
        pytest.param(
            select(Job).where(Job.batch_id == "bat_1", Job.id > "job_00010000").order_by(Job.id).limit(50),
            "ix_jobs_batch",
            id="a page of a batch's jobs",
        ),
    ],
)
def test_it_is_found_by_its_index(filled: Engine, query: Any, index: str) -> None:
    for plan in plans(filled, query):
        assert index in {node.get("Index Name") for node in plan}
        assert {node["Relation Name"] for node in plan if node["Node Type"] == "Seq Scan"} <= SMALL


@pytest.mark.parametrize("query", [jobs.next_queued(24), jobs.next_single(2)], ids=["all", "single jobs"])
def test_a_claim_is_one_scan_of_an_index_and_sorts_nothing(filled: Engine, query: Any) -> None:
    for plan in plans(filled, query):
        assert [node["Node Type"] for node in plan] == ["Limit", "LockRows", "Index Scan"]


def test_a_page_of_an_endpoints_deliveries_of_long_ago_is_found_without_those_since(filled: Engine) -> None:
    assert walked(filled, listed(created_before=datetime(2020, 1, 1, tzinfo=UTC))) == 0
    assert walked(filled, listed(created_after=datetime(2120, 1, 1, tzinfo=UTC))) == 0


def test_who_is_told_of_an_event_is_found_without_the_endpoints_that_other_batches_and_jobs_named(
    filled: Engine,
) -> None:
    assert walked(filled, outbox.receivers({"ten_2"}, {"off_7", None})) == MANY / 5000 + 1
