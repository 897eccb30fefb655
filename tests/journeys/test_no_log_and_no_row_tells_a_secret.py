"""A whole run with everything in it that is secret, and much that goes wrong; then every log and every row is read."""

import json
import re
from pathlib import Path

import httpx
import pytest
from sqlalchemy import func, select

from cleanplate import db, ids
from cleanplate.api_keys import NewApiKey, Scope
from cleanplate.local import environment
from cleanplate.models import Base
from cleanplate.resources import BatchOptions
from tests import web
from tests.journeys.harness import Stack, chunks, pairs, stack, stored, wait_until
from tests.s3 import make_bucket, s3_environment, s3_server

PHOTOS = 12
UPSTREAM_KEY, STORE_KEY = "bfl-5c9d1f0e2b7a4386", "wJalrXUtnFEMI/K7MDENG"
SIGNED = re.compile(r"[?&](?:sig|signature|token|X-Amz-Signature|X-Amz-Credential)=(?!\*\*\*)[^\s\"'&]+", re.IGNORECASE)


def test_keys_secrets_and_signed_addresses_are_in_no_log_and_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "SIMULATOR_KEY", UPSTREAM_KEY)
    photos, out, data = pairs(tmp_path / "photos", PHOTOS), tmp_path / "out", tmp_path / "data"
    with s3_server() as endpoint, web.serving(web.in_turn(web.says(500), web.says())) as receiver:
        make_bucket(endpoint, "photos")
        for name, value in (s3_environment(endpoint) | {"AWS_SECRET_ACCESS_KEY": STORE_KEY}).items():
            monkeypatch.setenv(name, value)
        with stack(
            data,
            fast=True,
            called_back=True,
            STORAGE_URL="s3://photos/team",
            CLEANPLATE_LOG_LEVEL="DEBUG",
            CLEANPLATE_ALLOW_PRIVATE_NETWORKS="127.0.0.0/8",
        ) as running:
            running.faults(
                {"where": "submit", "what": "html", "times": 1},
                {"where": "poll", "what": "broken_json", "times": 1},
                {"where": "delivery", "what": "status", "code": 403, "times": 1},
            )
            told = secrets_told(running, photos, receiver.url)
            running.erase(photos, out).communicate(timeout=300)
            wait_until(lambda: len(receiver.requests) > 1)
            told |= {UPSTREAM_KEY, STORE_KEY, running.running.environment["CLEANPLATE_SECRET_KEYS"]}
            rows = everything(running.running.environment["DATABASE_URL"])

    assert len(stored(out)) >= PHOTOS - 2
    logs = {path.name: path.read_text(encoding="utf-8", errors="replace") for path in (data / "logs").iterdir()}
    assert sum(map(len, logs.values())) > 10_000
    for name, text in {**logs, "the database": rows}.items():
        assert [secret for secret in told if secret in text] == [], name
        assert SIGNED.findall(text) == [], name


def secrets_told(running: Stack, photos: Path, receiver: str) -> set[str]:
    """Make one secret of every kind that the API shows, use them well and badly, and return them."""
    unknown = "cp_notOneOfOursButAsSecretToWhomeverItBelongs_0123"
    with running.client() as client:
        made = client.create_api_key(NewApiKey(name="robot", scope=Scope.WRITE))
        hook = client.create_endpoint(f"{receiver}/all").secret
        batch = client.create_batch(BatchOptions(seal=False, webhook_url=f"{receiver}/batch"))
        for chunk in chunks(sorted(path for path in photos.iterdir() if "_mask" not in path.stem)):
            client.add_items(batch.id, chunk)
        client.seal(batch.id)
        wait_until(lambda: client.batch(batch.id).status == "completed")
    for key in (made.key, unknown):
        for path in (f"/v1/jobs?token={key}", f"/v1/jobs/{ids.new(ids.Kind.JOB)}?api_key={key}"):
            httpx.get(running.running.url + path, headers={"Authorization": f"Bearer {key}"})
    body = json.dumps({"url": f"http://user:{key}@example.com/", "secret": hook})
    httpx.post(f"{running.running.url}/v1/webhook-endpoints", content=body)
    shown = {running.running.api_key, made.key, hook, batch.webhook_secret, unknown}
    return {secret for secret in shown if secret}


def everything(url: str) -> str:
    """Return all rows of all tables as text."""
    engine = db.connect(url)
    try:
        with engine.connect() as connection:
            rows = (
                connection.execute(select(func.row_to_json(table.table_valued()))).scalars()
                for table in Base.metadata.sorted_tables
            )
            return "\n".join(json.dumps(row) for of_table in rows for row in of_table)
    finally:
        engine.dispose()
