"""What becomes of those that follow when the first ends without a result, is deleted, or its result is lost."""

import httpx
import pytest

from api.store import store
from cleanplate import settings
from cleanplate.states import State
from tests.api import Api
from tests.reusing import RESULT, end, reused, see_to_twins, send, send_batch, stages, told
from worker import purge


@pytest.mark.parametrize("state", [State.FAILED, State.CANCELLED])
def test_when_the_first_ends_without_a_result_the_next_goes_and_the_others_follow_it(
    client: httpx.Client, state: State
) -> None:
    first, second, third = (send(client)["id"] for _ in range(3))
    end(first, state)
    assert [told(client, id_)["stage"] for id_ in (second, third)] == ["queued", "following"]
    end(second)
    reused(client, third, second)


def test_who_follows_can_be_cancelled_and_is_passed_over(client: httpx.Client) -> None:
    first, second, third = (send(client)["id"] for _ in range(3))
    answer = client.post(f"/v1/jobs/{second}/cancel").json()
    assert (answer["status"], answer["saved"]["stopped"]) == ("cancelled", 1)
    end(first, State.FAILED)
    assert [told(client, id_)["stage"] for id_ in (second, third)] == ["cancelled", "queued"]


def test_a_batch_of_those_that_follow_is_cancelled_whole(client: httpx.Client) -> None:
    first = send(client)["id"]
    batch = send_batch(client, "a", "b")
    assert client.post(f"/v1/batches/{batch['id']}/cancel").json()["status"] == "cancelled"
    assert (stages(client, batch), told(client, first)["stage"]) == (["cancelled"] * 2, "queued")


def purge_all(retention_days: float | None = None) -> None:
    while purge.purge(store(), retention_days, limit=2):
        pass


@pytest.mark.parametrize("goes", ["first", "second"])
def test_what_is_deleted_takes_nothing_from_who_shares_it(api: Api, client: httpx.Client, goes: str) -> None:
    ids = {"first": send(client)["id"], "second": send(client)["id"]}
    end(ids["first"])
    kept = next(id_ for name, id_ in ids.items() if name != goes)
    assert client.delete(f"/v1/jobs/{ids[goes]}").status_code == 204
    purge_all()
    assert client.get(f"/v1/jobs/{kept}/result").content == RESULT
    third = send(client)["id"]
    see_to_twins()
    reused(client, third, kept)
    for id_ in (kept, third):
        client.delete(f"/v1/jobs/{id_}")
    purge_all()
    assert f"results/{ids['first']}.png" not in api.stored()
    assert send(client)["stage"] == "queued"


def test_what_is_past_its_retention_is_paid_again(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    end(send(client)["id"])
    for days, stage in ((1.0, "following"), (1e-9, "queued")):
        kept = settings.get().model_copy(update={"retention_days": days})
        monkeypatch.setattr(settings, "get", lambda kept=kept: kept)
        assert send(client)["stage"] == stage


def test_when_the_store_lost_the_result_it_is_paid_again_once(client: httpx.Client) -> None:
    first = send(client)["id"]
    end(first)
    store().delete([f"results/{first}.png"])
    second, third = send(client)["id"], send(client)["id"]
    see_to_twins()
    assert [told(client, id_)["stage"] for id_ in (second, third)] == ["queued", "following"]
    see_to_twins()
    assert told(client, third)["stage"] == "following"
    end(second)
    reused(client, third, second)
