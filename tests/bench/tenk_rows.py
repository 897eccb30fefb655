"""Rows and objects that a scenario begins with, written past the API: ten thousand calls are not what it measures."""

from typing import LiteralString

import psycopg

from cleanplate import ids
from cleanplate.storage import open_store
from cleanplate.storage.directory import DirectoryStore
from tests.journeys.harness import Stack

UPLOADS = """
    INSERT INTO uploads (id, tenant_id, link_expires_at, expires_at)
    SELECT unnest(%s::text[]), min(id), now() + interval '1 h', now() + interval '1 d' FROM tenants
"""
BATCH: LiteralString = """
    INSERT INTO batches (id, tenant_id, total, failed, succeeded, options, params, finish_tag, sealed_at, finished_at)
    SELECT %(batch)s, min(id), %(count)s,
        CASE %(state)s WHEN 'failed' THEN %(count)s ELSE 0 END,
        CASE %(state)s WHEN 'succeeded' THEN %(count)s ELSE 0 END,
        '{}', '{}', %(count)s, CASE %(state)s WHEN 'queued' THEN NULL ELSE now() END,
        CASE %(state)s WHEN 'queued' THEN NULL ELSE now() END
    FROM tenants
"""
JOBS: LiteralString = """
    INSERT INTO jobs (id, tenant_id, batch_id, custom_id, position, image_key, image, mask_key, mask, send_image_key,
        send_mask_key, state, tag, error_code, result_key, result, finished_at)
    SELECT made.id, tenant_id, batches.id, 'photo ' || n, n - 1, 'inputs/one/image',
        '{"width": 16, "height": 16, "format": "jpeg", "bytes": 700, "sha256": "0"}', 'inputs/one/mask',
        '{"width": 16, "height": 16, "format": "png", "bytes": 90, "sha256": "0", "coverage": 0.25}',
        'inputs/one/image', 'inputs/one/mask', %(state)s, n,
        CASE %(state)s WHEN 'failed' THEN 'upstream_error' END,
        CASE %(state)s WHEN 'succeeded' THEN 'results/' || made.id || '.png' END,
        CASE %(state)s WHEN 'succeeded' THEN %(result)s::jsonb END, batches.finished_at
    FROM batches, (SELECT n, 'job_' || md5(%(batch)s || n) AS id FROM generate_series(1, %(count)s) n) AS made
    WHERE batches.id = %(batch)s
"""
ENDS = """
    INSERT INTO batch_ends (batch_id, number, job_id)
    SELECT batch_id, position + 1, id FROM jobs WHERE batch_id = %(batch)s AND finished_at IS NOT NULL
"""


def uploads(running: Stack, count: int) -> list[str]:
    """Return the ids of so many uploads; no files are put."""
    made = [ids.new(ids.Kind.UPLOAD) for _ in range(count)]
    with psycopg.connect(running.running.environment["DATABASE_URL"]) as connection:
        connection.execute(UPLOADS, (made,))
    return made


def waiting(running: Stack, count: int, image: bytes, mask: bytes) -> str:
    """Return the id of a batch, not sealed, of so many jobs that are queued and share a pair."""
    _put_pair(running, image, mask)
    return _batch(running, count, "queued")


def failed(running: Stack, count: int, image: bytes, mask: bytes) -> str:
    """Return the id of a batch of so many jobs that have failed and share a pair."""
    _put_pair(running, image, mask)
    return _batch(running, count, "failed")


def succeeded(running: Stack, count: int, size: int) -> str:
    """Return the id of a batch of so many jobs with results of so many bytes, which are one file under many names."""
    facts = '{"width": 16, "height": 16, "format": "png", "sha256": "0", "outside_mask_max_delta": 0, "bytes": %d}'
    batch_id = _batch(running, count, "succeeded", result=facts % size)
    store = open_store(running.running.environment["STORAGE_URL"])
    assert isinstance(store, DirectoryStore)
    store.put("results/first.png", bytes(size), media_type="image/png")
    first = store._path("results/first.png")
    with psycopg.connect(running.running.environment["DATABASE_URL"]) as connection:
        for (job_id,) in connection.execute("SELECT id FROM jobs WHERE batch_id = %s", (batch_id,)):
            first.with_name(f"{job_id}.png").hardlink_to(first)
    return batch_id


def _put_pair(running: Stack, image: bytes, mask: bytes) -> None:
    store = open_store(running.running.environment["STORAGE_URL"])
    store.put("inputs/one/image", image, media_type="image/jpeg")
    store.put("inputs/one/mask", mask, media_type="image/png")


def _batch(running: Stack, count: int, state: str, result: str | None = None) -> str:
    batch_id = ids.new(ids.Kind.BATCH)
    given = {"batch": batch_id, "count": count, "state": state, "result": result}
    with psycopg.connect(running.running.environment["DATABASE_URL"]) as connection:
        for statement in (BATCH, JOBS, ENDS):
            connection.execute(statement, given)
    return batch_id
