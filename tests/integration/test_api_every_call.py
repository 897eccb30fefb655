"""What holds for every call of the published document, also for those that are added to it."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import pytest

from api.app import app
from cleanplate.api_keys import Scope
from tests.api import Api, problem
from tests.pictures import IMAGE, MASK

PAIR = {"image": ("a.jpg", IMAGE), "mask": ("m.png", MASK)}
DOCUMENT = app.openapi()


class Call(NamedTuple):
    """An operation of the document."""

    method: str
    path: str
    told: dict[str, Any]

    def send(self, client: httpx.Client, ids: dict[str, str], **headers: str) -> httpx.Response:
        """Make the call, with what it requires, about the things of these ids."""
        body, query = _body(self.told), _query(self.told)
        return client.request(self.method, self.path.format(**ids), params=query, headers=headers, **body)


def _body(operation: dict[str, Any]) -> dict[str, Any]:
    content = operation.get("requestBody", {}).get("content", {})
    if "multipart/form-data" in content:
        return {"files": {"files": ("a.jpg", IMAGE)}}
    if "application/json" in content:
        schema = content["application/json"]["schema"]
        if "$ref" not in schema:
            return {}  # a body that may be left out
        name = schema["$ref"].rpartition("/")[2]
        return {"json": DOCUMENT["components"]["schemas"][name]["example"]}
    return {}


def _query(operation: dict[str, Any]) -> dict[str, str]:
    required = [one for one in operation.get("parameters", []) if one["in"] == "query" and one["required"]]
    by_format = {"date-time": "2026-01-01T00:00:00Z"}
    return {one["name"]: by_format[one["schema"]["format"]] for one in required}


CALLS = [
    Call(method.upper(), path, told)
    for path, methods in DOCUMENT["paths"].items()
    for method, told in methods.items()
    if path.startswith("/v1/")
]


def each(calls: list[Call]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("call", calls, ids=[f"{call.method} {call.path}" for call in calls])


@pytest.fixture(scope="module")
def owner(api: Api) -> Iterator[httpx.Client]:
    """A client of the tenant to whom the things of ``mine`` belong."""
    with api.client(Scope.ADMIN) as client:
        yield client


@pytest.fixture(scope="module")
def mine(owner: httpx.Client) -> dict[str, str]:
    """One thing of each kind, by the name under which paths speak of it."""
    made = {
        "job_id": owner.post("/v1/jobs", files=PAIR),
        "batch_id": owner.post("/v1/batches", files={"options": (None, '{"seal": false}')}),
        "endpoint_id": owner.post("/v1/webhook-endpoints", json={"url": "https://example.com/"}),
        "listener_id": owner.post("/v1/listeners"),
        "key_id": owner.post("/v1/api-keys", json={"name": "x"}),
    }
    found = {name: response.raise_for_status().json()["id"] for name, response in made.items()}
    tested = owner.post(f"/v1/webhook-endpoints/{found['endpoint_id']}/test")
    return {**found, "delivery_id": tested.raise_for_status().json()["id"]}


@each([call for call in CALLS if "{" in call.path])
def test_another_tenants_things_are_not_found(api: Api, mine: dict[str, str], call: Call) -> None:
    with api.client(Scope.ADMIN) as stranger:
        problem(call.send(stranger, mine), 404, "not_found")


@each([call for call in CALLS if call.method == "GET" and "{" not in call.path])
def test_no_list_tells_of_another_tenants_things(api: Api, mine: dict[str, str], call: Call) -> None:
    with api.client(Scope.ADMIN) as stranger:
        answer = call.send(stranger, {}).raise_for_status()
        assert not [id_ for id_ in mine.values() if id_ in answer.text]


def test_what_was_tried_on_them_has_changed_nothing(owner: httpx.Client, mine: dict[str, str]) -> None:
    assert owner.get(f"/v1/jobs/{mine['job_id']}").json()["status"] == "queued"
    assert owner.get(f"/v1/batches/{mine['batch_id']}").json()["status"] == "open"
    assert owner.get(f"/v1/webhook-endpoints/{mine['endpoint_id']}").json()["enabled"]
    assert owner.get(f"/v1/api-keys/{mine['key_id']}").json()["revoked_at"] is None


@each(CALLS)
def test_nothing_is_answered_without_a_key_that_is_known(api: Api, mine: dict[str, str], call: Call) -> None:
    with api.anonymous() as nobody:
        problem(call.send(nobody, mine), 401, "missing_key")
        problem(call.send(nobody, mine, Authorization="Basic cp_x"), 401, "missing_key")
        refused = call.send(nobody, mine, Authorization="Bearer cp_unknown")
        problem(refused, 401, "invalid_key")
        assert refused.headers["www-authenticate"].startswith("Bearer")


@each([call for call in CALLS if call.method != "GET"])
def test_a_key_that_may_only_read_changes_nothing(api: Api, mine: dict[str, str], call: Call) -> None:
    with api.client(Scope.READ) as reader:
        problem(call.send(reader, mine), 403, "forbidden_scope")
