import httpx
import pytest
from sqlalchemy import update

from api import auth
from cleanplate import db, tenants
from cleanplate.models import ApiKey
from tests.api import Api, problem
from tests.pictures import IMAGE, MASK

PAIR = {"image": ("a.jpg", IMAGE), "mask": ("m.png", MASK)}


def test_a_key_that_cannot_be_one_is_not_known(api: Api) -> None:
    headers = {"Authorization": "Bearer \u00e9".encode("latin-1")}
    with api.anonymous() as nobody:
        problem(nobody.get("/v1/jobs", headers=headers), 401, "invalid_key")


def test_a_stranger_is_turned_away_before_the_body_is_read(api: Api) -> None:
    headers = {"content-type": "multipart/form-data; boundary=x"}
    with api.anonymous() as nobody:
        problem(nobody.post("/v1/batches", content=b"not multipart", headers=headers), 401, "missing_key")


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


def test_the_same_webhook_url_of_two_tenants_has_two_secrets(api: Api) -> None:
    def secret(client: httpx.Client) -> str | None:
        fields = {"webhook_url": "https://example.com/shared"}
        found: str | None = client.post("/v1/jobs", files=PAIR, data=fields).json()["webhook_secret"]
        return found

    with api.client() as one, api.client() as two:
        assert secret(one)
        assert secret(two)
