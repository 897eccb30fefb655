"""What one of the tenant's jobs has, or will have, is not paid for again."""

from typing import Any

import httpx

from cleanplate.states import State
from tests.api import Api
from tests.reusing import (
    OTHER,
    end,
    jobs_of,
    reused,
    see_to_twins,
    send,
    send_batch,
    stages,
    told,
)


def test_a_pair_that_came_before_ends_with_its_result_and_is_not_paid(client: httpx.Client) -> None:
    first = send(client)["id"]
    end(first)
    second = send(client)
    assert (second["status"], second["stage"]) == ("queued", "following")
    see_to_twins()
    reused(client, second["id"], first)
    third = send(client)["id"]
    see_to_twins()
    reused(client, third, first)  # and not from the second, whose result it never was


def test_a_pair_that_comes_while_it_is_worked_on_waits_for_it(client: httpx.Client) -> None:
    first, second = send(client)["id"], send(client)["id"]
    see_to_twins()
    assert told(client, second)["stage"] == "following"
    end(first)
    reused(client, second, first)


def test_another_picture_or_param_or_tenant_is_paid(api: Api, client: httpx.Client) -> None:
    end(send(client)["id"])
    with api.client() as stranger:
        others = [send(client, OTHER), send(client, dilate_pixels="11"), send(client, seed="1"), send(stranger)]
    assert [job["stage"] for job in others] == ["queued"] * 4


def test_a_job_that_says_so_is_paid_anew_and_its_result_is_the_one_to_share(client: httpx.Client) -> None:
    first = send(client)["id"]
    end(first)
    second = send(client, reuse="false")
    assert second["stage"] == "queued"
    end(second["id"])
    third = send(client)["id"]
    see_to_twins()
    reused(client, third, second["id"])


def test_what_failed_and_was_made_meanwhile_is_not_paid_by_its_retry_unless_its_params_change(
    client: httpx.Client,
) -> None:
    parents = [failed_batch(client) for _ in range(2)]
    single = send(client)["id"]
    end(single)
    same, other = (
        client.post(f"/v1/batches/{parent}/retry", json={"params": params}).json()
        for parent, params in zip(parents, ({}, {"seed": 3}), strict=True)
    )
    assert (stages(client, same), stages(client, other)) == (["following"], ["queued"])
    see_to_twins()
    reused(client, jobs_of(client, same)[0]["id"], single)


def failed_batch(client: httpx.Client, **options: Any) -> str:
    batch = send_batch(client, "a", **options)
    end(jobs_of(client, batch)[0]["id"], State.FAILED)
    return str(batch["id"])


def test_the_retry_of_what_was_to_be_paid_anew_is_paid_anew(client: httpx.Client) -> None:
    end(send(client)["id"])
    child = client.post(f"/v1/batches/{failed_batch(client, reuse=False)}/retry").json()
    assert (stages(client, child), child["options"]["reuse"]) == (["queued"], False)
