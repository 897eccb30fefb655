"""``/v1/api-keys``: made once, shown once, and of no more use than their scope."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select, update

from api import auth
from cleanplate import db, ids, tenants
from cleanplate.api_keys import NewApiKey, Scope
from cleanplate.client import Client
from cleanplate.models import ApiKey
from tests.api import Api, problem
from tests.threads import at_once

PATH = "/v1/api-keys"


@pytest.fixture
def chief(api: Api) -> Iterator[httpx.Client]:
    """A client whose key makes keys."""
    with api.client(Scope.ADMIN) as client:
        yield client


def make(chief: httpx.Client, **wanted: Any) -> dict[str, Any]:
    response = chief.post(PATH, json={"name": "test", **wanted})
    assert response.status_code == 201, response.text
    made: dict[str, Any] = response.json()
    return made


def bearer(api: Api, key: str) -> httpx.Client:
    return api.anonymous(Authorization=f"Bearer {key}")


def forget() -> None:
    """Let the API look keys up anew, as it does after a few seconds."""
    auth._find.cache_clear()


def test_a_key_is_shown_once_works_for_its_team_and_only_its_hash_is_kept(api: Api, chief: httpx.Client) -> None:
    response = chief.post(PATH, json={"name": "warehouse"})
    made = response.json()
    assert response.headers["location"] == f"{PATH}/{made['id']}"
    assert response.headers["cache-control"] == "no-store"
    assert (made["name"], made["scope"], made["expires_at"]) == ("warehouse", "write", None)
    assert made["key"].startswith(made["prefix"])
    with bearer(api, made["key"]) as client:
        batch = client.post("/v1/batches", files={"options": (None, '{"seal": false}')}).json()["id"]
    assert chief.get(f"/v1/batches/{batch}").status_code == 200
    again = chief.get(response.headers["location"]).json()
    assert again["key"] is None
    assert made["key"] not in chief.get(PATH).text
    with db.transaction() as tx:
        row = tx.get_one(ApiKey, made["id"])
        assert made["key"] not in {str(getattr(row, column.key)) for column in ApiKey.__table__.columns}


def test_a_repeated_call_makes_one_key_and_shows_it_again(chief: httpx.Client) -> None:
    headers = {"Idempotency-Key": "once"}
    first, again = (chief.post(PATH, json={"name": "one"}, headers=headers) for _ in range(2))
    assert again.json() == first.json()
    assert again.headers["cache-control"] == "no-store"
    assert [key["name"] for key in chief.get(PATH).json()["data"]] == ["one", "test"]


def test_keys_are_listed_newest_first_in_pages_and_by_prefix(chief: httpx.Client) -> None:
    made = [make(chief, name=name) for name in ("a", "b")]
    first = chief.get(PATH, params={"limit": 2}).json()
    assert [key["name"] for key in first["data"]] == ["b", "a"]
    rest = chief.get(PATH, params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert [key["name"] for key in rest["data"]] == ["test"]
    for prefix in (made[0]["prefix"], made[0]["key"]):
        assert [key["id"] for key in chief.get(PATH, params={"prefix": prefix}).json()["data"]] == [made[0]["id"]]
    problem(chief.get(PATH, params={"name": "a"}), 400, "unknown_parameter")


def test_a_revoked_key_is_refused_and_still_listed(api: Api, chief: httpx.Client) -> None:
    made = make(chief)
    with bearer(api, made["key"]) as client:
        assert client.get("/v1/jobs").status_code == 200
        assert chief.post(f"{PATH}/{made['id']}/revoke").json()["revoked_at"]
        forget()
        problem(client.get("/v1/jobs"), 401, "invalid_key")
    revoked_at = chief.get(f"{PATH}/{made['id']}").json()["revoked_at"]
    assert revoked_at
    assert chief.post(f"{PATH}/{made['id']}/revoke").status_code == 200
    assert chief.get(f"{PATH}/{made['id']}").json()["revoked_at"] == revoked_at


def test_nobody_revokes_the_key_that_they_call_with(chief: httpx.Client) -> None:
    (own,) = chief.get(PATH).json()["data"]
    problem(chief.post(f"{PATH}/{own['id']}/revoke"), 409, "own_key")
    assert chief.get(PATH).status_code == 200


def test_a_key_ends_when_it_expires(api: Api, chief: httpx.Client) -> None:
    made = make(chief, expires_at=(datetime.now(UTC) + timedelta(hours=1)).isoformat())
    with bearer(api, made["key"]) as client:
        assert client.get("/v1/jobs").status_code == 200
        with db.transaction() as tx:
            tx.execute(update(ApiKey).where(ApiKey.id == made["id"]).values(expires_at=func.now()))
        forget()
        problem(client.get("/v1/jobs"), 401, "invalid_key")


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"name": ""},
        {"name": "x", "scope": "full"},
        {"name": "x", "expires_at": "2020-01-01T00:00:00Z"},
        {"name": "x", "expires_at": "2099-01-01T00:00:00"},
        {"name": "x", "expires_at": 4_070_908_800},
        {"name": "x", "key": "cp_mine"},
    ],
)
def test_a_key_that_cannot_be_made_is_refused_by_field(chief: httpx.Client, wanted: dict[str, Any]) -> None:
    told = problem(chief.post(PATH, json=wanted), 422, "validation_failed")
    assert told["errors"][0]["pointer"].startswith("#/")


@pytest.mark.parametrize("scope", [Scope.READ, Scope.WRITE])
def test_keys_are_managed_by_admins_alone(api: Api, scope: Scope) -> None:
    its = f"{PATH}/{ids.new(ids.Kind.KEY)}"
    with api.client(scope) as client:
        for method, path in (("POST", PATH), ("GET", PATH), ("GET", its), ("POST", f"{its}/revoke")):
            body = {"json": {"name": "x"}} if path == PATH and method == "POST" else {}
            problem(client.request(method, path, **body), 403, "forbidden_scope")


def test_another_teams_keys_are_not_found(api: Api, chief: httpx.Client) -> None:
    mine = make(chief)
    with api.client(Scope.ADMIN) as other:
        for given in (mine["id"], mine["prefix"]):
            problem(other.get(f"{PATH}/{given}"), 404, "not_found")
            problem(other.post(f"{PATH}/{given}/revoke"), 404, "not_found")
        assert mine["id"] not in other.get(PATH).text
    assert chief.get(f"{PATH}/{mine['id']}").json()["revoked_at"] is None


def test_the_use_of_a_key_is_noted_once_a_while(api: Api, chief: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tenants, "USE_KEPT", timedelta(hours=1))  # a minute may be over too soon
    made = make(chief)
    assert made["last_used_at"] is None
    noted = []
    with bearer(api, made["key"]) as client:
        for age in (timedelta(0), tenants.USE_KEPT / 2, tenants.USE_KEPT * 2):
            with db.transaction() as tx:
                its = update(ApiKey).where(ApiKey.id == made["id"])
                tx.execute(its.values(last_used_at=ApiKey.last_used_at - age))
                before = tx.scalar(select(ApiKey.last_used_at).where(ApiKey.id == made["id"]))
            forget()
            client.get("/v1/jobs")
            noted.append((before, datetime.fromisoformat(chief.get(f"{PATH}/{made['id']}").json()["last_used_at"])))
    assert noted[0][0] is None
    assert noted[1][0] == noted[1][1]
    assert noted[2][0] < noted[2][1]


def test_our_client_makes_lists_and_revokes_keys(api: Api, chief: httpx.Client) -> None:
    with Client(api.url, chief.headers["authorization"].removeprefix("Bearer ")) as ours:
        made = ours.create_api_key(NewApiKey(name="robot", scope=Scope.READ))
        assert made.key
        assert [key.name for key in ours.api_keys().data] == ["robot", "test"]
        assert ours.revoke_api_key(made.id) == ours.api_key(made.id)
        assert ours.api_key(made.id).revoked_at is not None


def test_a_key_that_was_revoked_makes_and_revokes_no_keys_also_while_it_is_remembered(
    api: Api, chief: httpx.Client
) -> None:
    other = make(chief, scope="admin")
    spared = make(chief)
    with bearer(api, other["key"]) as client:
        assert client.get(PATH).status_code == 200
        chief.post(f"{PATH}/{other['id']}/revoke").raise_for_status()
        problem(client.post(PATH, json={"name": "back door"}), 401, "invalid_key")
        problem(client.post(f"{PATH}/{spared['id']}/revoke"), 401, "invalid_key")
    assert "back door" not in {key["name"] for key in chief.get(PATH).json()["data"]}


def test_of_two_keys_that_revoke_each_other_at_once_one_is_left(api: Api, chief: httpx.Client) -> None:
    for _ in range(5):
        pair = [make(chief, scope="admin") for _ in range(2)]
        with bearer(api, pair[0]["key"]) as first, bearer(api, pair[1]["key"]) as second:
            calls = [(first, pair[1]["id"]), (second, pair[0]["id"])]
            answers = at_once([partial(client.post, f"{PATH}/{id_}/revoke") for client, id_ in calls])
        assert sorted(answer.status_code for answer in answers) == [200, 401]
