"""What is shared with a canary, with a budget and by a dry run's plan."""

import httpx
from sqlalchemy import select

from cleanplate import db, holding, jobs
from cleanplate.jobs import Change
from cleanplate.models import Job
from cleanplate.quoted import Quote
from cleanplate.states import State
from tests.reusing import PRICE, end, jobs_of, reused, see_to_twins, send, send_batch, stages, told


def test_what_is_held_follows_when_it_is_released(client: httpx.Client) -> None:
    batch = send_batch(client, "a", "b", "c", canary=1)
    assert stages(client, batch) == ["queued", "held", "held"]
    single = send(client)  # nobody knows when what is held is released, so it is not followed
    first = jobs_of(client, batch)[0]["id"]
    assert single["stage"] == "following"
    end(first)
    reused(client, single["id"], first)
    client.post(f"/v1/batches/{batch['id']}/release")
    assert stages(client, batch) == ["succeeded", "following", "following"]
    see_to_twins()
    assert client.get(f"/v1/batches/{batch['id']}").json()["cost_credits"] == PRICE


def test_nobody_follows_a_job_that_is_held(client: httpx.Client) -> None:
    batch = send_batch(client, "a", "b", canary=1)
    end(jobs_of(client, batch)[0]["id"], State.FAILED)
    single = send(client)
    assert single["stage"] == "queued"
    client.post(f"/v1/batches/{batch['id']}/release")
    assert stages(client, batch)[1] == "following"


def test_when_the_one_that_goes_is_held_for_its_budget_the_next_goes(client: httpx.Client) -> None:
    first = send_batch(client, "a", budget_credits=1)
    second = send(client)["id"]
    with db.transaction() as tx:
        (job_id,) = tx.scalars(select(Job.id).where(Job.batch_id == first["id"]))
        queued = frozenset({State.QUEUED})
        jobs.apply(tx, [Change(job_id, queued, State.HELD, "at its budget")])
    see_to_twins()
    assert told(client, second)["stage"] == "queued"
    end(second)
    with db.transaction() as tx:
        holding.let_go(tx, tx.scalars(holding.locked(str(first["id"]))).one(), 9)
    see_to_twins()
    reused(client, job_id, second)


def test_a_dry_run_knows_what_would_not_be_paid(client: httpx.Client) -> None:
    plan = Quote.model_validate(send_batch(client, "a", "b", dry_run=True, budget_credits=1))
    assert [(one.credits, one.reused, one.reused_from) for one in plan.items] == [(PRICE, False, None), (0, True, None)]
    assert (plan.quote_credits, plan.within_budget) == (PRICE, 1)
    first = send(client)["id"]
    plan = Quote.model_validate(send_batch(client, "a", "b", dry_run=True, budget_credits=1))
    assert [(one.credits, one.reused_from) for one in plan.items] == [(0, first)] * 2
    assert (plan.quote_credits, plan.within_budget) == (0.0, 2)
    anew = Quote.model_validate(send_batch(client, "a", "b", dry_run=True, reuse=False))
    assert (anew.quote_credits, [one.reused for one in anew.items]) == (2 * PRICE, [False, False])
