import json
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest
from sqlalchemy import delete, func, make_url

from api import health
from cleanplate import accounts, db
from cleanplate.models import Account, Worker
from cleanplate.states import State
from tests import rows, servers
from tests.api import Api, configured, problem, serving
from tests.pictures import IMAGE, MASK

PAIR = {
    "image": ("a.jpg", IMAGE),
    "mask": ("m.png", MASK),
}


@pytest.fixture
def cut_off(api: Api) -> Iterator[httpx.Client]:
    """A client of an API whose database and store are not there."""
    file = api.objects.parent / "no-directory"
    file.touch()
    away = "postgresql://nobody@127.0.0.1:9/nothing"
    with (
        configured(DATABASE_URL=away, STORAGE_URL=file.as_uri()),
        serving() as url,
        httpx.Client(base_url=url, headers={"Authorization": "Bearer cp_any"}) as client,
    ):
        yield client


def test_a_live_process_says_so_whatever_else_is_away(cut_off: httpx.Client) -> None:
    assert cut_off.get("/livez").json() == {"status": "ok"}


def test_an_api_without_its_database_asks_to_be_tried_again(cut_off: httpx.Client) -> None:
    for response in (cut_off.get("/v1/jobs"), cut_off.post("/v1/jobs", files=PAIR)):
        assert "127.0.0.1" not in json.dumps(problem(response, 503, "database_unavailable"))
        assert int(response.headers["retry-after"]) > 0


def test_without_database_or_store_it_is_not_ready(cut_off: httpx.Client) -> None:
    told = problem(cut_off.get("/readyz"), 503, "not_ready")
    assert told["checks"] == {"database": "away", "store": "away", "broker": "away"}


def test_the_log_says_which_setting_names_what_is_away_and_why(
    cut_off: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    cut_off.get("/readyz")
    assert "the database that DATABASE_URL names is away: connection failed" in caplog.text
    assert "the store that STORAGE_URL names is away: " in caplog.text
    assert "the broker that REDIS_URL names is away: " in caplog.text


def test_a_part_that_hangs_holds_up_no_probe_and_is_asked_once(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, hangs = Counter[str](), threading.Event()

    def check() -> str:
        asked["store"] += 1
        hangs.wait(300)
        return "ok"

    monkeypatch.setattr(health, "CHECK_SECONDS", 0.2)
    database = health.Probe("database", lambda: "ok", "DATABASE_URL")
    probes = {"database": database, "store": health.Probe("store", check, "STORAGE_URL")}
    monkeypatch.setattr(health, "PROBES", probes)
    told = [problem(client.get("/readyz"), 503, "not_ready")["checks"] for _ in range(3)]
    assert [checks["store"] for checks in told] == ["away"] * 3
    assert asked["store"] == 1
    hangs.set()
    servers.wait_until(lambda: probes["store"].ask().result() == "ok")


def test_without_the_broker_it_is_ready(api: Api, client: httpx.Client) -> None:
    with api.anonymous() as nobody:
        response = nobody.get("/readyz")
    assert response.json() == {"status": "ready", "checks": {"database": "ok", "store": "ok", "broker": "away"}}
    assert response.status_code == 200
    assert client.post("/v1/jobs", files=PAIR).status_code == 202


def test_with_the_broker_it_says_so(api: Api, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "BROKER_SECONDS", 60.0)
    there = {"DATABASE_URL": api.database_url, "REDIS_URL": redis_url, "STORAGE_URL": api.objects.as_uri()}
    with configured(**there), serving() as url:
        assert httpx.get(f"{url}/readyz").json()["checks"]["broker"] == "ok"


def test_a_database_of_another_version_is_not_ready(postgres_url: str, api: Api) -> None:
    with (
        servers.fresh_database(postgres_url) as empty,
        configured(DATABASE_URL=empty, STORAGE_URL=api.objects.as_uri()),
        serving() as url,
    ):
        told = problem(httpx.get(f"{url}/readyz"), 503, "not_ready")
    assert told["checks"]["database"].startswith("at migration None")


def test_a_database_that_restarts_is_used_again_at_once(api: Api, client: httpx.Client, postgres_url: str) -> None:
    assert client.get("/v1/jobs").status_code == 200
    with psycopg.connect(postgres_url) as admin:
        query = "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname = %s"
        assert admin.execute(query, [make_url(api.database_url).database]).fetchall()
    assert client.get("/v1/jobs").status_code == 200


def test_paths_and_methods_that_are_not_there_are_problems(client: httpx.Client) -> None:
    problem(client.get("/v1/nothing"), 404, "not_found")
    response = client.put("/v1/jobs")
    problem(response, 405, "method_not_allowed")
    assert set(response.headers["allow"].split(", ")) <= {"GET", "POST"}


def test_who_asks_whether_a_body_may_be_so_large_is_refused_at_once(api: Api) -> None:
    with api.client() as client:
        address = urlsplit(api.url)
        with socket.create_connection((address.hostname, address.port), timeout=100) as raw:
            head = f"POST /v1/batches HTTP/1.1\r\nHost: x\r\nAuthorization: {client.headers['authorization']}\r\n"
            head += "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 10000000000\r\n"
            raw.sendall(f"{head}Expect: 100-continue\r\n\r\n".encode())
            answer = b""
            while chunk := raw.recv(65536):
                answer += chunk
    assert answer.startswith(b"HTTP/1.1 413")
    assert b'"code":"request_too_large"' in answer


def test_a_body_without_end_is_refused_when_it_has_become_too_large(client: httpx.Client) -> None:
    sent = 0
    boundary = b"--x\r\nContent-Disposition: form-data; name=files; filename=a.jpg\r\n\r\n"

    def body() -> Iterator[bytes]:
        nonlocal sent
        yield boundary
        for _ in range(1000):
            sent += 100_000
            yield bytes(100_000)

    headers = {"content-type": "multipart/form-data; boundary=x"}
    problem(client.post("/v1/batches", content=body(), headers=headers), 413, "request_too_large")
    assert sent < 50_000_000


def test_a_client_that_goes_away_leaves_no_trace_in_the_logs(
    api: Api, client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    address = urlsplit(api.url)
    threads = threading.active_count()
    with socket.create_connection((address.hostname, address.port), timeout=100) as raw:
        head = f"POST /v1/batches HTTP/1.1\r\nHost: x\r\nAuthorization: {client.headers['authorization']}\r\n"
        head += "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 1000\r\n\r\n--x\r\n"
        raw.sendall(head.encode())
    assert client.get("/v1/jobs").status_code == 200
    servers.wait_until(lambda: threading.active_count() <= threads + 2)
    assert "Traceback" not in caplog.text


def test_the_upstream_is_told_even_before_a_worker_ever_started(client: httpx.Client) -> None:
    told = client.get("/v1/upstream").json()
    assert (told["slots"], told["slots_allowed"], told["slots_used"], told["workers"]) == (24, 24, 0, 0)
    assert told["paused"] is False


def test_the_upstream_tells_why_it_is_paused(client: httpx.Client) -> None:
    with db.transaction() as tx:
        account = Account(
            name="default", cap=24, allowed=7, paused_reason="credits", paused_detail="402", latency_seconds=4.5
        )
        tx.add_all([account, Worker(id="w1", expires_at=func.now() + timedelta(minutes=1))])
        tx.add(Worker(id="w2", expires_at=func.now() - timedelta(minutes=1)))
    told = client.get("/v1/upstream").json()
    assert (told["slots_allowed"], told["latency_seconds"], told["workers"]) == (7, 4.5, 1)
    assert (told["paused"], told["paused_reason"], told["paused_detail"]) == (True, "credits", "402")


def test_the_upstream_tells_of_each_account_and_is_paused_only_when_all_are(client: httpx.Client) -> None:
    with db.transaction() as tx:
        tx.execute(delete(Account))
        asked = {"balance_credits": 100.5, "balance_at": func.now()}
        rows.account(tx, 10, "a", latency_seconds=4.0, **asked)
        refused = {"paused_reason": "access", "paused_detail": "403"}
        rows.account(tx, 15, "b", allowed=15, latency_seconds=2.0, **refused, **asked)
        rows.account(tx, 0, "retired", paused_reason="credits")
        rows.account(tx, 0, "forgotten")
        rows.jobs(tx, 2, State.INFLIGHT, account="a")
        rows.jobs(tx, 3, State.INFLIGHT, account="retired")
    told = client.get("/v1/upstream").json()
    assert (told["account"], told["slots"], told["slots_allowed"], told["slots_used"]) == ("a, b", 25, 25, 5)
    assert (told["paused"], told["paused_reason"], told["latency_seconds"]) == (False, None, 2.5)
    assert (told["balance_credits"], told["balance_at"]) == (201.0, told["accounts"][0]["balance_at"])
    assert [one["balance_credits"] for one in told["accounts"]] == [100.5, 100.5, None]
    assert [(one["account"], one["slots"], one["slots_used"], one["paused_reason"]) for one in told["accounts"]] == [
        ("a", 10, 2, None),
        ("b", 15, 0, "access"),
        ("retired", 0, 3, "credits"),
    ]
    with db.transaction() as tx:
        accounts.pause(tx, "a", "credits", "402")
    told = client.get("/v1/upstream").json()
    assert (told["paused"], told["paused_reason"], told["paused_detail"]) == (True, "credits", "402")


def test_the_documentation_is_served(api: Api) -> None:
    with api.anonymous() as nobody:
        assert nobody.get("/openapi.json").json()["info"]["title"] == "Cleanplate"
        assert "openapi.json" in nobody.get("/docs").text
