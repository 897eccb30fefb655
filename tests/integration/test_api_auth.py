import json

import httpx
import pytest
from sqlalchemy import update

from api import auth
from cleanplate import db, ids, tenants
from cleanplate.models import ApiKey
from tests import pictures
from tests.api import Api, problem

IMAGE = pictures.encoded(pictures.scene(), "JPEG")
MASK = pictures.encoded(pictures.mask_image())
PAIR = {"image": ("a.jpg", IMAGE), "mask": ("m.png", MASK)}
BATCH, JOB, ENDPOINT = (ids.new(kind) for kind in (ids.Kind.BATCH, ids.Kind.JOB, ids.Kind.ENDPOINT))
READS = [
    "/v1/jobs",
    f"/v1/jobs/{JOB}",
    f"/v1/jobs/{JOB}/result",
    f"/v1/jobs/{JOB}/history",
    "/v1/batches",
    f"/v1/batches/{BATCH}",
    f"/v1/batches/{BATCH}/jobs",
    f"/v1/batches/{BATCH}/results.zip",
    f"/v1/batches/{BATCH}/results.csv",
    f"/v1/batches/{BATCH}/results.ndjson",
    f"/v1/batches/{BATCH}/events",
    "/v1/usage",
    "/v1/webhook-endpoints",
    f"/v1/webhook-endpoints/{ENDPOINT}",
    "/v1/upstream",
]
WRITES = [
    ("POST", "/v1/jobs"),
    ("POST", "/v1/batches"),
    ("POST", f"/v1/batches/{BATCH}/items"),
    ("POST", f"/v1/batches/{BATCH}/seal"),
    ("DELETE", f"/v1/jobs/{JOB}"),
    ("DELETE", f"/v1/batches/{BATCH}"),
    ("POST", "/v1/webhook-endpoints"),
    ("DELETE", f"/v1/webhook-endpoints/{ENDPOINT}"),
]


@pytest.mark.parametrize(("method", "path"), [*(("GET", path) for path in READS), *WRITES])
def test_nothing_is_answered_without_a_key_that_is_known(api: Api, method: str, path: str) -> None:
    body = {"json": {"url": "https://example.com/"}} if path == "/v1/webhook-endpoints" else {}
    with api.anonymous() as nobody:
        problem(nobody.request(method, path, **body), 401, "missing_key")
        for wrong in ("Bearer cp_unknown", "Bearer \u00e9"):
            headers = {"Authorization": wrong.encode("latin-1")}
            response = nobody.request(method, path, headers=headers, **body)
            problem(response, 401, "invalid_key")
            assert response.headers["www-authenticate"].startswith("Bearer")
        problem(nobody.request(method, path, headers={"Authorization": "Basic cp_x"}, **body), 401, "missing_key")


def test_a_stranger_is_turned_away_before_the_body_is_read(api: Api) -> None:
    headers = {"content-type": "multipart/form-data; boundary=x"}
    with api.anonymous() as nobody:
        problem(nobody.post("/v1/batches", content=b"not multipart", headers=headers), 401, "missing_key")


@pytest.mark.parametrize(("method", "path"), WRITES)
def test_a_read_only_key_changes_nothing(api: Api, method: str, path: str) -> None:
    body = {"json": {"url": "https://example.com/"}} if path == "/v1/webhook-endpoints" else {}
    with api.client(tenants.READ) as reader:
        problem(reader.request(method, path, **body), 403, "read_only_key")
        assert reader.get("/v1/jobs").status_code == 200


def test_a_revoked_key_is_refused_as_soon_as_it_is_forgotten(api: Api) -> None:
    with api.client() as client:
        assert client.get("/v1/jobs").status_code == 200
        sha256 = tenants.digest(client.headers["authorization"].removeprefix("Bearer "))
        with db.transaction() as tx:
            tx.execute(update(ApiKey).where(ApiKey.sha256 == sha256).values(revoked_at=ApiKey.created_at))
        auth._find.cache_clear()
        problem(client.get("/v1/jobs"), 401, "invalid_key")
    assert auth.KEYS_REMEMBERED_SECONDS <= 5


def test_a_known_key_asks_the_database_once_a_period(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(auth, "monotonic", lambda: 1e9)
    monkeypatch.setattr(tenants, "find", lambda tx, sha256, find=tenants.find: asked.append(1) or find(tx, sha256))
    with api.client() as client:
        for _ in range(3):
            assert client.get("/v1/jobs").status_code == 200
        assert len(asked) == 1
        monkeypatch.setattr(auth, "monotonic", lambda: 1e9 + auth.KEYS_REMEMBERED_SECONDS)
        assert client.get("/v1/jobs").status_code == 200
        assert len(asked) == 2


def test_another_tenants_things_are_not_found(api: Api) -> None:
    with api.client() as owner, api.client() as other:
        options = json.dumps({"seal": False})
        batch = owner.post("/v1/batches", files={"options": (None, options)}).json()["id"]
        job = owner.post("/v1/jobs", files=PAIR).json()["id"]
        endpoint = owner.post("/v1/webhook-endpoints", json={"url": "https://example.com/"}).json()["id"]
        for mine, kind in ((batch, BATCH), (job, JOB), (endpoint, ENDPOINT)):
            for path in READS:
                if kind in path:
                    problem(other.get(path.replace(kind, mine)), 404, "not_found")
        for method, path in WRITES:
            for mine, kind in ((batch, BATCH), (endpoint, ENDPOINT)):
                if kind in path:
                    body = {"files": {"files": ("a.jpg", IMAGE)}} if path.endswith("items") else {}
                    problem(other.request(method, path.replace(kind, mine), **body), 404, "not_found")
        for path in ("/v1/jobs", "/v1/batches", "/v1/webhook-endpoints"):
            assert other.get(path).json()["data"] == []
            assert owner.get(path).json()["data"] != []
        assert owner.get(f"/v1/webhook-endpoints/{endpoint}").status_code == 200


def test_the_same_webhook_url_of_two_tenants_has_two_secrets(api: Api) -> None:
    def secret(client: httpx.Client) -> str | None:
        fields = {"webhook_url": "https://example.com/shared"}
        found: str | None = client.post("/v1/jobs", files=PAIR, data=fields).json()["webhook_secret"]
        return found

    with api.client() as one, api.client() as two:
        assert secret(one)
        assert secret(two)
