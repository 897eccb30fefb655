"""The upstream calls back: what is taken for a hint, and what for nothing."""

import hashlib
import hmac
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn

import httpx
import psycopg
import pytest
from sqlalchemy.exc import OperationalError

from cleanplate import callbacks, db
from cleanplate.callbacks import Callback
from cleanplate.models import Attempt
from cleanplate.states import State
from tests import rows
from tests.api import Api, problem
from tests.servers import wait_until

TASK = {"id": "task-1", "status": "Ready", "result": {"sample": "https://evil.example/x.png"}}


@pytest.fixture
def upstream(api: Api) -> Iterator[httpx.Client]:
    """A client that has no key."""
    with api.anonymous() as client:
        yield client


@pytest.fixture
def notified(api: Api) -> Iterator[psycopg.Connection]:
    """A connection that listens as a conveyor does."""
    with psycopg.connect(api.database_url, autocommit=True) as connection:
        connection.execute(f"LISTEN {callbacks.CHANNEL}")
        yield connection


def heard(connection: psycopg.Connection) -> list[str]:
    """Return the jobs of all notifications that came since the last time."""
    connection.execute("SELECT 1")
    return [notification.payload for notification in connection.notifies(timeout=0)]


def submitted(api: Api, state: State = State.INFLIGHT) -> tuple[str, Callback]:
    """Make a job whose submit asked to be called back."""
    callback = callbacks.issue(callbacks.base(api.url))
    with db.transaction() as tx:
        job_id = rows.job(tx, state, owner=None if state is State.UNCONFIRMED else rows.WORKER)
        (attempt,) = rows.attempts(tx, job_id)
        attempt.callback_sha256 = callback.sha256
    return job_id, callback


def call(
    upstream: httpx.Client, callback: Callback, told: Any = TASK, proof: str = "signature", **headers: str
) -> httpx.Response:
    """Call as the vendor does, with one of its two proofs or with none."""
    body = told if isinstance(told, bytes) else json.dumps(told).encode()
    secret = callback.fields["webhook_secret"].encode()
    proofs = {
        "signature": {"X-BFL-Signature": "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()},
        "secret": {"X-Webhook-Secret": secret.decode()},
        "none": {},
    }
    return upstream.post(callback.fields["webhook_url"], content=body, headers=proofs[proof] | headers)


def attempt_of(job_id: str) -> Attempt:
    with db.transaction() as tx:
        (attempt,) = rows.attempts(tx, job_id)
    return attempt


def history(job_id: str) -> list[Any]:
    with db.transaction() as tx:
        return [rows.states(tx, [job_id])[job_id], rows.events(tx, job_id)]


@pytest.mark.parametrize("proof", ["signature", "secret"])
@pytest.mark.parametrize("state", [State.SENDING, State.UNCONFIRMED])
def test_a_call_tells_the_task_of_a_submit_without_an_answer_and_wakes_the_conveyors(
    api: Api, upstream: httpx.Client, notified: psycopg.Connection, state: State, proof: str
) -> None:
    job_id, callback = submitted(api, state)
    before = history(job_id)
    assert call(upstream, callback, proof=proof).status_code == 200
    attempt = attempt_of(job_id)
    assert (attempt.task_id, attempt.polling_url) == ("task-1", None)
    assert attempt.called_at is not None
    assert heard(notified) == [job_id]
    assert history(job_id) == before, "what follows is for who polls"


def test_a_call_about_a_known_task_changes_nothing_that_is_known(
    api: Api, upstream: httpx.Client, notified: psycopg.Connection
) -> None:
    job_id, callback = submitted(api)
    before = attempt_of(job_id)
    assert call(upstream, callback, TASK | {"id": "another"}).status_code == 200
    after = attempt_of(job_id)
    assert (after.task_id, after.polling_url, after.outcome) == (before.task_id, before.polling_url, before.outcome)
    assert heard(notified) == [job_id]


def test_a_call_that_comes_again_is_taken_and_does_nothing(
    api: Api, upstream: httpx.Client, notified: psycopg.Connection
) -> None:
    job_id, callback = submitted(api, State.UNCONFIRMED)
    assert call(upstream, callback).status_code == 200
    first = attempt_of(job_id)
    assert heard(notified) == [job_id]
    assert call(upstream, callback, TASK | {"id": "another"}).status_code == 200
    again = attempt_of(job_id)
    assert (again.called_at, again.task_id) == (first.called_at, "task-1")
    assert heard(notified) == []


def test_calls_at_once_are_all_taken_each_with_its_own_task(
    api: Api, upstream: httpx.Client, notified: psycopg.Connection
) -> None:
    asked = [submitted(api, State.UNCONFIRMED) for _ in range(20)]
    with ThreadPoolExecutor(len(asked)) as callers:
        answers = [callers.submit(call, upstream, callback, {"id": job_id}) for job_id, callback in asked]
    assert {answer.result().status_code for answer in answers} == {200}
    assert [attempt_of(job_id).task_id for job_id, _ in asked] == [job_id for job_id, _ in asked]
    assert sorted(heard(notified)) == sorted(job_id for job_id, _ in asked)


def test_a_call_about_an_attempt_that_is_being_written_waits_for_it_and_holds_up_no_other(
    api: Api, upstream: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    (held, waits), (free, goes) = submitted(api), submitted(api)
    tried: set[str] = set()
    really = callbacks.heard
    monkeypatch.setattr(callbacks, "heard", lambda tx, calls: tried.update(calls) or really(tx, calls))
    with ThreadPoolExecutor(1) as caller, psycopg.connect(api.database_url) as writer:
        writer.execute("SELECT 1 FROM attempts WHERE job_id = %s FOR UPDATE", [held])
        answer = caller.submit(call, upstream, waits)
        wait_until(lambda: waits.sha256 in tried)
        assert call(upstream, goes).status_code == 200
        assert attempt_of(free).called_at is not None
        assert not answer.done()
        writer.rollback()
        assert answer.result().status_code == 200
    assert attempt_of(held).called_at is not None


def test_a_call_that_cannot_be_kept_is_to_come_again(
    api: Api, upstream: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id, callback = submitted(api)
    with monkeypatch.context() as away:
        away.setattr(callbacks, "heard", lost)
        answer = call(upstream, callback)
    problem(answer, 503, "database_unavailable")
    assert "Retry-After" in answer.headers
    assert call(upstream, callback).status_code == 200
    assert attempt_of(job_id).called_at is not None


def lost(*_: object) -> NoReturn:
    raise OperationalError("UPDATE", {}, psycopg.OperationalError("the server closed the connection unexpectedly"))


@pytest.mark.parametrize("state", [State.READY, State.SUCCEEDED, State.FAILED])
def test_a_call_about_a_job_that_has_gone_on_is_taken(api: Api, upstream: httpx.Client, state: State) -> None:
    job_id, callback = submitted(api, state)
    before = history(job_id)
    assert call(upstream, callback).status_code == 200
    assert history(job_id) == before


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Webhook-Secret": ""},
        {"X-Webhook-Secret": "guess"},
        {"X-Webhook-Secret": "g\u00fcess"},
        {"X-BFL-Signature": "sha256=" + 64 * "0"},
        {"X-BFL-Signature": "sha256="},
        {"X-BFL-Signature": "guess", "X-Webhook-Secret": "guess"},
    ],
)
def test_a_forged_call_is_refused_and_changes_nothing(
    api: Api, upstream: httpx.Client, notified: psycopg.Connection, headers: dict[str, str]
) -> None:
    job_id, callback = submitted(api, State.UNCONFIRMED)
    encoded = [(name, value.encode("latin-1")) for name, value in headers.items()]
    answer = upstream.post(callback.fields["webhook_url"], json=TASK, headers=encoded)
    problem(answer, 401, "invalid_callback")
    attempt = attempt_of(job_id)
    assert (attempt.task_id, attempt.called_at) == (None, None)
    assert heard(notified) == []


def test_the_proof_of_another_call_proves_nothing(api: Api, upstream: httpx.Client) -> None:
    job_id, callback = submitted(api)
    _, other = submitted(api)
    mixed = Callback({**callback.fields, "webhook_secret": other.fields["webhook_secret"]})
    for proof in ("signature", "secret"):
        problem(call(upstream, mixed, proof=proof), 401, "invalid_callback")
    assert attempt_of(job_id).called_at is None


def test_a_call_that_nobody_asked_for_is_refused_in_the_same_words(api: Api, upstream: httpx.Client) -> None:
    _, asked = submitted(api)
    unasked = callbacks.issue(callbacks.base(api.url))
    told = [problem(call(upstream, *given), 401, "invalid_callback") for given in ((unasked,), (asked, TASK, "none"))]
    assert len({one["detail"] for one in told}) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'{"id": "0000", "sta',
        b"[]",
        b"{}",
        b'{"id": null}',
        b'{"id": 7}',
        b'{"id": ""}',
        b'{"id": "a b"}',
        b'{"id": "\\u0000"}',
        b'{"id": "%s"}' % (b"x" * 201),
        b"\xff",
        b"[" * 10_000,
    ],
)
def test_a_call_that_names_no_task_is_refused_and_may_come_again(api: Api, upstream: httpx.Client, body: bytes) -> None:
    job_id, callback = submitted(api, State.UNCONFIRMED)
    problem(call(upstream, callback, body), 400, "malformed_body")
    assert attempt_of(job_id).called_at is None
    assert call(upstream, callback).status_code == 200


def test_no_more_is_read_than_a_callback_can_have(api: Api, upstream: httpx.Client) -> None:
    _, callback = submitted(api)
    problem(call(upstream, callback, TASK | {"more": "x" * 70_000}), 413, "request_too_large")


def test_only_a_post_is_a_call_and_the_address_is_not_among_the_published_ones(
    api: Api, upstream: httpx.Client
) -> None:
    _, callback = submitted(api)
    problem(upstream.get(callback.fields["webhook_url"]), 405, "method_not_allowed")
    assert callbacks.PATH not in upstream.get("/openapi.json").text
