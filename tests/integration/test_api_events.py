"""Listening to a batch: every end is told, in order, however often the line is cut and whoever commits when."""

import json
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import pairwise
from typing import Any

import httpx
import pytest
from sqlalchemy import select, text

from api import events, listening
from cleanplate import db, ids, jobs
from cleanplate.jobs import Change
from cleanplate.models import BatchEnd
from cleanplate.states import State
from tests import rows
from tests.api import Api, problem
from tests.pictures import IMAGE, MASK
from tests.servers import wait_until

INFLIGHT = frozenset({State.INFLIGHT})
Event = tuple[str | None, str | None, Any]
PAIR = {
    "image": ("a.jpg", IMAGE),
    "mask": ("m.png", MASK),
}


@pytest.fixture
def flying(tenant_id: str) -> Callable[[int], tuple[str, list[str]]]:
    """Makes a batch of so many jobs in flight."""

    def make(count: int) -> tuple[str, list[str]]:
        with db.transaction() as tx:
            batch_id = rows.batch(tx, count, tenant_id=tenant_id)
            return batch_id, rows.jobs(tx, count, State.INFLIGHT, tenant_id=tenant_id, batch_id=batch_id)

    return make


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "POLL_SECONDS", 0.01)


def fail(*job_ids: str, dawdle: float = 0.0) -> None:
    """End jobs in one transaction, which takes its time before it commits."""
    values = {"error_code": "upstream_error", "error_detail": "test"}
    with db.transaction() as tx:
        assert jobs.apply(tx, [Change(id_, INFLIGHT, State.FAILED, "test", values=values) for id_ in job_ids])
        tx.execute(text("SELECT pg_sleep(:seconds)"), {"seconds": dawdle})


def heard(response: httpx.Response) -> Iterator[Event]:
    """Yield the events of an answer as name, id and data; comments as ``None`` and their text."""
    event: dict[str, str] = {}
    for line in response.iter_lines():
        if line.startswith(":"):
            yield None, None, line
        elif line:
            name, _, value = line.partition(": ")
            event[name] = value
        elif "data" in event:
            yield event["event"], event.get("id"), json.loads(event.pop("data"))
            event = {}
        else:
            event = {}


def listen(client: httpx.Client, batch_id: str, last: str | None = None) -> Any:
    headers = {"Last-Event-ID": last} if last else {}
    return client.stream("GET", f"/v1/batches/{batch_id}/events", headers=headers)


def everything(client: httpx.Client, batch_id: str, last: str | None = None) -> list[Event]:
    with listen(client, batch_id, last) as response:
        assert response.status_code == 200
        return list(heard(response))


def in_order(batch_id: str) -> list[str]:
    with db.transaction() as tx:
        return list(tx.scalars(select(BatchEnd.job_id).where(BatchEnd.batch_id == batch_id).order_by(BatchEnd.number)))


def test_an_ended_batch_is_told_whole_and_then_the_answer_ends(
    client: httpx.Client, flying: Callable[[int], tuple[str, list[str]]]
) -> None:
    batch_id, (first, second, third) = flying(3)
    fail(second)
    fail(first, third)
    with listen(client, batch_id) as response:
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert response.headers["cache-control"] == "private, no-store"
        told = list(heard(response))
    assert [(name, id_) for name, id_, _ in told] == [
        ("job", "1"),
        ("job", "2"),
        ("job", "3"),
        ("counts", None),
        ("end", "end"),
    ]
    assert [data["id"] for name, _, data in told if name == "job"] == [second, first, third]
    assert (told[3][2]["failed"], told[4][2]["status"]) == (3, "completed")


def test_it_is_taken_up_after_the_last_that_was_heard_and_after_the_end_there_is_nothing(
    client: httpx.Client, flying: Callable[[int], tuple[str, list[str]]]
) -> None:
    batch_id, job_ids = flying(3)
    fail(*job_ids)
    assert [id_ for _, id_, _ in everything(client, batch_id, "2")] == ["3", None, "end"]
    assert [id_ for _, id_, _ in everything(client, batch_id, "3")] == [None, "end"]
    response = client.get(f"/v1/batches/{batch_id}/events", headers={"Last-Event-ID": "end"})
    assert (response.status_code, response.content) == (204, b"")


def test_ends_are_told_as_they_happen(
    client: httpx.Client, flying: Callable[[int], tuple[str, list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "HEARTBEAT_SECONDS", 0.05)
    batch_id, (first, second) = flying(2)
    with listen(client, batch_id) as response:
        told = heard(response)
        assert next(told)[0] == "counts"
        assert next(told) == (None, None, ": waiting")
        fail(first)
        name, id_, data = next(one for one in told if one[0])
        assert (name, id_, data["id"], data["error"]["code"]) == ("job", "1", first, "upstream_error")
        assert next(one for one in told if one[0])[2]["failed"] == 1
        fail(second)
        assert [name for name, _, _ in told if name] == ["job", "counts", "end"]


@pytest.mark.parametrize("seed", range(6))
def test_cut_at_any_moment_and_taken_up_again_every_end_is_told_once_and_in_order(
    client: httpx.Client,
    flying: Callable[[int], tuple[str, list[str]]],
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
) -> None:
    chance = random.Random(seed)
    monkeypatch.setattr(events, "PAGE", chance.choice([1, 3, 100]))
    events.ends.cache_clear()
    batch_id, job_ids = flying(40)
    shares = [job_ids[start::4] for start in range(4)]
    dawdles = [[chance.uniform(0, 0.02) for _ in share] for share in shares]
    workers = [
        threading.Thread(
            target=lambda a, b: [fail(id_, dawdle=seconds) for id_, seconds in zip(a, b, strict=True)], args=both
        )
        for both in zip(shares, dawdles, strict=True)
    ]
    for worker in workers:
        worker.start()
    last, told = None, []
    while last != "end":
        patience = chance.randint(0, 9)
        with listen(client, batch_id, last) as response:
            for name, id_, data in heard(response):
                last = id_ or last
                if name == "job":
                    told.append((int(str(id_)), data["id"]))
                patience -= 1
                if patience < 0:
                    break
    for worker in workers:
        worker.join()
    events.ends.cache_clear()
    assert [number for number, _ in told] == list(range(1, 41))
    assert [job_id for _, job_id in told] == in_order(batch_id)
    assert all(before < after for (before, _), (after, _) in pairwise(told))


def test_hundreds_listen_and_neither_threads_nor_connections_run_out_and_all_hang_up(
    api: Api, client: httpx.Client, flying: Callable[[int], tuple[str, list[str]]]
) -> None:
    batch_id, (job_id,) = flying(1)
    threads = threading.active_count()
    with ExitStack() as lines:
        limits = httpx.Limits(max_connections=None)
        crowd = lines.enter_context(httpx.Client(base_url=api.url, headers=client.headers, limits=limits, timeout=300))
        ears = [heard(lines.enter_context(listen(crowd, batch_id))) for _ in range(200)]
        assert {next(ear)[0] for ear in ears} == {"counts"}
        assert threading.active_count() - threads <= listening.READERS + 40
        assert client.get(f"/v1/batches/{batch_id}").status_code == 200
        assert db.engine().pool.checkedout() <= listening.READERS  # type: ignore[attr-defined]
        fail(job_id)
        assert {next(event for event in ear if event[0])[1] for ear in ears} == {"1"}


def test_who_hangs_up_is_forgotten(
    client: httpx.Client, flying: Callable[[int], tuple[str, list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    boards: list[listening.Switchboard] = []
    begin = listening.Switchboard.listening

    def noted(board: listening.Switchboard, id_: str) -> Any:
        boards.append(board)
        return begin(board, id_)

    monkeypatch.setattr(listening.Switchboard, "listening", noted)
    batch_id, _ = flying(1)
    with listen(client, batch_id) as response:
        told = heard(response)  # let go of, it would close the line
        next(told)
        (board,) = boards
        wait_until(lambda: board.listeners == 1)  # those of earlier calls may still be going
    wait_until(lambda: board.listeners == 0)
    wait_until(lambda: board._task is None or board._task.done())


def test_who_may_not_listen_hears_nothing(
    api: Api, client: httpx.Client, flying: Callable[[int], tuple[str, list[str]]]
) -> None:
    batch_id, _ = flying(1)
    path = f"/v1/batches/{batch_id}/events"
    with api.client() as stranger, api.anonymous() as nobody:
        problem(stranger.get(path), 404, "not_found")
        problem(nobody.get(path), 401, "missing_key")
    problem(client.get(f"/v1/batches/{ids.new(ids.Kind.BATCH)}/events"), 404, "not_found")
    problem(client.get(path, headers={"Last-Event-ID": "7; drop"}), 422, "validation_failed")


# -- POST /v1/jobs?wait=


def test_a_job_that_ends_in_time_is_the_answer(client: httpx.Client, tenant_id: str) -> None:
    answers: list[httpx.Response] = []
    caller = threading.Thread(target=lambda: answers.append(client.post("/v1/jobs?wait=60", files=PAIR)))
    caller.start()
    with db.transaction() as tx:
        find = text("SELECT id FROM jobs WHERE tenant_id = :tenant")
    wait_until(lambda: _one(find, tenant_id))
    job_id = _one(find, tenant_id)
    with db.transaction() as tx:
        assert jobs.apply(tx, [Change(job_id, frozenset({State.QUEUED}), State.CANCELLED, "test")])
    caller.join()
    (answer,) = answers
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    assert answer.headers["location"] == f"/v1/jobs/{job_id}"


def _one(query: Any, tenant_id: str) -> str:
    with db.transaction() as tx:
        return str(tx.scalar(query, {"tenant": tenant_id}) or "")


def test_one_that_does_not_is_answered_as_it_is(client: httpx.Client) -> None:
    answer = client.post("/v1/jobs?wait=0.05", files=PAIR)
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")
    problem(client.post("/v1/jobs?wait=61", files=PAIR), 422, "validation_failed")


def test_many_wait_and_the_others_are_served(api: Api, client: httpx.Client) -> None:
    limits = httpx.Limits(max_connections=None)
    with httpx.Client(base_url=api.url, headers=client.headers, limits=limits, timeout=300) as crowd:
        answers: list[int] = []
        callers = [
            threading.Thread(target=lambda: answers.append(crowd.post("/v1/jobs?wait=60", files=PAIR).status_code))
            for _ in range(60)
        ]
        for caller in callers:
            caller.start()
        wait_until(lambda: len(client.get("/v1/jobs?limit=200").json()["data"]) == 60, seconds=60)
        assert not answers
        for job in client.get("/v1/jobs?limit=200").json()["data"]:
            assert client.post(f"/v1/jobs/{job['id']}/cancel").status_code == 200
        for caller in callers:
            caller.join()
        assert answers == [200] * 60
