"""Rows and objects that a scenario begins with, written past the API: ten thousand calls are not what it measures."""

from typing import LiteralString

import psycopg

from cleanplate import ids
from cleanplate.storage import open_store
from tests.journeys.harness import Stack

UPLOADS = """
    INSERT INTO uploads (id, tenant_id, link_expires_at, expires_at)
    SELECT unnest(%s::text[]), min(id), now() + interval '1 h', now() + interval '1 d' FROM tenants
"""
BATCH: LiteralString = """
    INSERT INTO batches (id, tenant_id, total, failed, options, params, finish_tag, sealed_at, finished_at)
    SELECT %(batch)s, min(id), %(count)s, CASE %(state)s WHEN 'failed' THEN %(count)s ELSE 0 END, '{}', '{}',
        %(count)s, CASE %(state)s WHEN 'failed' THEN now() END, CASE %(state)s WHEN 'failed' THEN now() END
    FROM tenants
"""
JOBS: LiteralString = """
    INSERT INTO jobs (id, tenant_id, batch_id, custom_id, position, image_key, image, mask_key, mask, send_image_key,
        send_mask_key, state, tag, error_code, error_detail, finished_at)
    SELECT 'job_' || md5(%(batch)s || n), tenant_id, batches.id, 'photo ' || n, n - 1, 'inputs/one/image',
        '{"width": 16, "height": 16, "format": "jpeg", "bytes": 700, "sha256": "0"}', 'inputs/one/mask',
        '{"width": 16, "height": 16, "format": "png", "bytes": 90, "sha256": "0", "coverage": 0.25}',
        'inputs/one/image', 'inputs/one/mask', %(state)s, n,
        CASE %(state)s WHEN 'failed' THEN 'upstream_error' END, NULL,
        CASE %(state)s WHEN 'failed' THEN now() END
    FROM batches, generate_series(1, %(count)s) n WHERE batches.id = %(batch)s
"""


def uploads(running: Stack, count: int) -> list[str]:
    """Return the ids of so many uploads; no files are put."""
    made = [ids.new(ids.Kind.UPLOAD) for _ in range(count)]
    with psycopg.connect(running.running.environment["DATABASE_URL"]) as connection:
        connection.execute(UPLOADS, (made,))
    return made


def batch(running: Stack, count: int, state: str, image: bytes, mask: bytes) -> str:
    """Return the id of a batch of so many jobs that share a pair: all ``failed``, or all ``queued`` and not sealed."""
    store = open_store(running.running.environment["STORAGE_URL"])
    store.put("inputs/one/image", image, media_type="image/jpeg")
    store.put("inputs/one/mask", mask, media_type="image/png")
    given = {"batch": ids.new(ids.Kind.BATCH), "count": count, "state": state}
    with psycopg.connect(running.running.environment["DATABASE_URL"]) as connection:
        connection.execute(BATCH, given)
        connection.execute(JOBS, given)
    return given["batch"]
