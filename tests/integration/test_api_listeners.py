"""Events for who asks for them: none lost, each told again until it was heard, to its tenant alone."""

import threading
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import delete, func, select
from standardwebhooks import Webhook

from api import listeners, listening
from cleanplate import db, outbox, webhooks
from cleanplate.models import Listener, ListenerEvent
from tests.api import Api, problem


def begin(client: httpx.Client) -> webhooks.Listener:
    answer = client.post("/v1/listeners")
    assert answer.status_code == 201, answer.text
    return webhooks.Listener.model_validate(answer.json())


def tell(listener: webhooks.Listener, *names: str) -> None:
    """Let something happen to the listener's tenant, once for each name."""
    with db.transaction() as tx:
        tenant = tx.get_one(Listener, listener.id).tenant_id
        for name in names:
            outbox.publish(tx, tenant, "job.failed", {"id": name})


def hear(client: httpx.Client, listener: webhooks.Listener, **params: Any) -> webhooks.Heard:
    answer = client.get(f"/v1/listeners/{listener.id}/events", params=params)
    assert answer.status_code == 200, answer.text
    return webhooks.Heard.model_validate(answer.json())


def test_what_happens_is_heard_in_order_signed_as_it_would_be_sent(client: httpx.Client) -> None:
    listener = begin(client)
    assert hear(client, listener).data == []
    tell(listener, "job_1", "job_2")
    heard = hear(client, listener).data
    told = [Webhook(listener.secret or "").verify(one.body, one.headers) for one in heard]
    assert [one["data"] for one in told] == [{"id": "job_1"}, {"id": "job_2"}]
    assert [(one.type, one.headers["webhook-id"]) for one in heard] == [("job.failed", one.id) for one in heard]


def test_an_answer_that_was_lost_is_given_again_and_one_that_was_heard_is_not(client: httpx.Client) -> None:
    listener = begin(client)
    tell(listener, "job_1")
    lost = hear(client, listener)
    tell(listener, "job_2")
    again = hear(client, listener)
    assert [one.id for one in again.data][:1] == [one.id for one in lost.data]
    assert len(again.data) == 2
    nothing = hear(client, listener, cursor=again.next_cursor)
    assert (nothing.data, nothing.next_cursor) == ([], again.next_cursor)
    tell(listener, "job_3")
    (third,) = hear(client, listener, cursor=nothing.next_cursor).data
    assert third.id not in {one.id for one in again.data}


def test_very_many_come_page_by_page(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listeners, "PAGE", 3)
    listener = begin(client)
    tell(listener, *map(str, range(7)))
    heard, cursor = [], "0"
    while page := hear(client, listener, cursor=cursor):
        if not page.data:
            break
        heard += [one.id for one in page.data]
        cursor = page.next_cursor
    assert len(heard) == len(set(heard)) == 7
    with db.transaction() as tx:
        assert not tx.scalars(select(ListenerEvent).where(ListenerEvent.listener_id == listener.id)).all()


def test_who_waits_is_answered_when_something_happens(client: httpx.Client) -> None:
    listener = begin(client)
    heard: list[webhooks.Heard] = []
    waiting = threading.Thread(target=lambda: heard.append(hear(client, listener, wait=60)))
    waiting.start()
    tell(listener, "job_1")
    waiting.join()
    assert [len(one.data) for one in heard] == [1]
    assert hear(client, listener, cursor="1", wait=0.1).data == []


def test_each_listener_hears_everything_and_another_tenants_hears_nothing(api: Api, client: httpx.Client) -> None:
    first, second = begin(client), begin(client)
    assert first.secret == second.secret
    with api.client() as other:
        stranger = begin(other)
        assert stranger.secret != first.secret
        tell(first, "job_1")
        assert hear(other, stranger).data == []
    ids = [[one.id for one in hear(client, listener).data] for listener in (first, second)]
    assert ids[0] == ids[1] != []


def test_who_does_not_ask_is_forgotten_and_so_is_who_says_goodbye(client: httpx.Client) -> None:
    silent, leaving = begin(client), begin(client)
    tell(silent, "job_1")
    with db.transaction() as tx:
        tx.get_one(Listener, silent.id).expires_at = func.now() - timedelta(seconds=1)
    problem(client.get(f"/v1/listeners/{silent.id}/events"), 404, "not_found")
    assert client.delete(f"/v1/listeners/{leaving.id}").status_code == 204
    problem(client.delete(f"/v1/listeners/{leaving.id}"), 404, "not_found")


def test_asking_keeps_it(client: httpx.Client) -> None:
    listener = begin(client)
    with db.transaction() as tx:
        tx.get_one(Listener, listener.id).expires_at = func.now() + timedelta(seconds=100)
    hear(client, listener)
    with db.transaction() as tx:
        assert tx.get_one(Listener, listener.id).expires_at >= listener.expires_at


def test_a_team_has_so_many(client: httpx.Client) -> None:
    made = [begin(client) for _ in range(listeners.MOST)]
    problem(client.post("/v1/listeners"), 409, "too_many_listeners")
    client.delete(f"/v1/listeners/{made[0].id}")
    begin(client)
    with db.transaction() as tx:
        tx.get_one(Listener, made[1].id).expires_at = func.now()
    begin(client)


def test_one_that_is_deleted_before_the_poller_looks_is_told(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = begin(client)
    really = listening._versions

    def deleted_meanwhile(ids: list[str]) -> dict[str, Any]:
        with db.transaction() as tx:
            tx.execute(delete(Listener).where(Listener.id == listener.id))
        return really(ids)

    monkeypatch.setattr(listening, "_versions", deleted_meanwhile)
    problem(client.get(f"/v1/listeners/{listener.id}/events", params={"wait": 25}), 404, "not_found")


def test_one_that_is_deleted_while_it_waits_is_told(client: httpx.Client) -> None:
    listener = begin(client)
    answers: list[httpx.Response] = []
    path, wait = f"/v1/listeners/{listener.id}/events", {"wait": 50}
    waiting = threading.Thread(target=lambda: answers.append(client.get(path, params=wait)))
    waiting.start()
    client.delete(f"/v1/listeners/{listener.id}")
    waiting.join()
    problem(answers[0], 404, "not_found")
