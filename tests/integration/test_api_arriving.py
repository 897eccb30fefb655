"""The first items are worked on while the others of their own request are still on their way."""

import json
import secrets
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select, update

from api import arriving
from cleanplate import db
from cleanplate.idempotency import IdempotencyKey
from cleanplate.models import Job
from cleanplate.states import State
from tests import pictures
from tests.api import Api, problem
from tests.arriving import CutError, Newest, Parts, counted, cut, send
from tests.servers import wait_until

MASK = pictures.encoded(pictures.mask_image())
NAMES = ("mug", "cup", "vase")

pytestmark = pytest.mark.usefixtures("quick_looks")


def broken_off(client: httpx.Client, newest: Newest, form: Parts, first: int, **headers: str) -> dict[str, Any]:
    """Send the first so many bytes, wait for a job of them, and go away; return the batch when that is told."""

    def see_then_cut() -> None:
        newest()
        cut()

    with pytest.raises(CutError):
        send(client, "/v1/batches", form, first, see_then_cut, **headers)
    wait_until(lambda: newest()["rejected"])
    return newest()


def parts(*names: str, **options: Any) -> Parts:
    form: Parts = [("options", (None, json.dumps(options)))]
    for seed, name in enumerate(names):
        form += [("files", (f"{name}.jpg", image(seed))), ("files", (f"{name}_mask.png", MASK))]
    return form


def image(seed: int) -> bytes:
    return pictures.encoded(pictures.scene(seed=seed), "JPEG")


def size(client: httpx.Client, form: Parts) -> int:
    """Return how many bytes of a longer body bring this form whole: to the line that ends its last part."""
    return len(client.build_request("POST", "/", files=form).read()) - len("--")


def custom_ids(batch_id: str) -> list[str | None]:
    with db.transaction() as tx:
        return sorted(tx.scalars(select(Job.custom_id).where(Job.batch_id == batch_id)), key=str)


def jobs_in_all(tenant_id: str) -> int:
    with db.transaction() as tx:
        return tx.scalar(select(func.count()).where(Job.tenant_id == tenant_id)) or 0


def test_the_first_job_of_a_form_is_queued_before_the_rest_is_sent(client: httpx.Client, newest: Newest) -> None:
    seen: list[dict[str, Any]] = []
    first = size(client, parts(NAMES[0]))
    answer = send(client, "/v1/batches", parts(*NAMES), first, lambda: seen.append(newest()))
    assert answer.status_code == 202, answer.text
    (early,) = seen
    assert (early["status"], early["counts"]["queued"]) == ("open", 1)
    told = answer.json()
    assert told["id"] == early["id"]
    assert (told["status"], told["counts"]["total"], told["rejected"]) == ("processing", 3, [])
    assert custom_ids(early["id"]) == sorted(NAMES)


def test_the_answer_tells_the_secret_of_webhooks_that_may_have_been_sent_before_it(
    client: httpx.Client, newest: Newest
) -> None:
    url = "https://example.com/hook"
    form = parts(*NAMES, webhook_url=url)
    told = send(client, "/v1/batches", form, size(client, parts(NAMES[0], webhook_url=url)), newest).json()
    assert told["webhook_secret"].startswith("whsec_")


def test_so_it_is_with_items_for_an_open_batch_and_the_answer_tells_of_all_of_them(
    client: httpx.Client, newest: Newest
) -> None:
    batch_id = client.post("/v1/batches", files={"options": (None, '{"seal": false}')}).json()["id"]
    form = parts(*NAMES)[1:]
    first = size(client, form[:2])
    answer = send(client, f"/v1/batches/{batch_id}/items", form, first, newest)
    told = answer.json()
    assert ([job["custom_id"] for job in told["accepted"]], told["accepted_count"]) == ([*NAMES], 3)
    assert told["rejected"] == []
    assert client.get(f"/v1/batches/{batch_id}").json()["status"] == "open"


@pytest.mark.parametrize(
    ("options", "query"), [({"atomic": True}, ""), ({}, "?dry_run=true"), (None, "")], ids=["atomic", "dry", "behind"]
)
def test_nothing_is_begun_of_what_is_taken_whole_or_not_at_all_or_has_its_options_behind(
    client: httpx.Client,
    tenant_id: str,
    some_looks: Callable[[], None],
    options: dict[str, Any] | None,
    query: str,
) -> None:
    form = parts(*NAMES, **(options or {}))
    if options is None:
        form = form[1:] + form[:1]
    seen: list[int] = []

    def look() -> None:
        if query:
            time.sleep(10 * arriving.LOOK_SECONDS)  # nobody looks, and nothing tells so
        else:
            some_looks()
        seen.append(jobs_in_all(tenant_id))

    answer = send(client, f"/v1/batches{query}", form, size(client, form[:3]), look)
    assert answer.is_success, answer.text
    assert seen == [0]
    assert jobs_in_all(tenant_id) == (0 if query else 3)


def test_of_a_request_that_breaks_off_what_came_stays_in_a_batch_that_says_so(
    client: httpx.Client, newest: Newest
) -> None:
    first = size(client, parts(*NAMES[:2]))
    batch = broken_off(client, newest, parts(*NAMES), first)
    assert (batch["status"], batch["sealed_at"]) == ("open", None)
    assert [(one["item"], one["code"]) for one in batch["rejected"]] == [("the rest", "body_incomplete")]
    path = f"/v1/batches/{batch['id']}"
    rest = client.post(f"{path}/items", files=parts(*NAMES)[1:]).json()
    assert [job["custom_id"] for job in rest["accepted"]] == list(NAMES[batch["counts"]["total"] :])
    assert rest["batch"]["rejected"] == []
    assert client.post(f"{path}/seal").json()["counts"]["total"] == 3


@pytest.mark.parametrize("bodies", ["slow", "quick"])
def test_sent_again_under_its_key_it_goes_on_with_that_batch_and_nothing_is_in_it_twice(
    client: httpx.Client, api: Api, tenant_id: str, newest: Newest, bodies: str
) -> None:
    before = api.stored()
    key = {"Idempotency-Key": secrets.token_hex(8)}
    first = size(client, parts(*NAMES[:1]))
    batch = broken_off(client, newest, parts(*NAMES), first, **key)
    problem(
        send(client, "/v1/batches", parts("mug", name="other"), first // 2, newest, **key), 422, "idempotency_mismatch"
    )
    second = size(client, parts(*NAMES[:2]))
    then = (lambda: wait_until(lambda: len(custom_ids(batch["id"])) == 2)) if bodies == "slow" else newest
    answer = send(client, "/v1/batches", parts(*NAMES), second, then, **key)
    assert answer.status_code == 202, answer.text
    told = answer.json()
    assert (told["id"], told["status"], told["rejected"]) == (batch["id"], "processing", [])
    assert custom_ids(batch["id"]) == sorted(NAMES)
    assert jobs_in_all(tenant_id) == len({path.split("/")[1] for path in api.stored() - before}) == 3
    again = send(client, "/v1/batches", parts(*NAMES), second, lambda: None, **key)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json() == told
    assert jobs_in_all(tenant_id) == 3


def test_a_call_that_has_happened_is_replayed_however_slowly_it_comes_again(
    client: httpx.Client, tenant_id: str, some_looks: Callable[[], None]
) -> None:
    key = {"Idempotency-Key": secrets.token_hex(8)}
    batch_id = client.post("/v1/batches", files={"options": (None, '{"seal": false}')}).json()["id"]
    path, form = f"/v1/batches/{batch_id}/items", parts(*NAMES)[1:]
    first = client.post(path, files=form, headers=key)
    with db.transaction() as tx:
        job_id = tx.scalars(select(Job.id).where(Job.custom_id == "mug", Job.tenant_id == tenant_id)).one()
        tx.execute(update(Job).where(Job.id == job_id).values(custom_id=None))  # as of one that was deleted
    again = send(client, path, form, size(client, form[:2]), some_looks, **key)
    assert again.json() == first.json()
    assert again.headers["idempotency-replayed"] == "true"
    assert jobs_in_all(tenant_id) == 3


def test_a_second_attempt_that_runs_beside_the_first_is_told_so(
    client: httpx.Client, api: Api, tenant_id: str, newest: Newest
) -> None:
    key = {"Idempotency-Key": secrets.token_hex(8)}
    first = size(client, parts(NAMES[0]))

    def send_beside() -> None:
        newest()
        with api.anonymous(Authorization=client.headers["authorization"]) as other:
            running = send(other, "/v1/batches", parts(*NAMES), first, lambda: None, **key)
        problem(running, 409, "idempotency_in_progress")

    answer = send(client, "/v1/batches", parts(*NAMES), first, send_beside, **key)
    assert answer.status_code == 202, answer.text
    assert jobs_in_all(tenant_id) == 3


def test_a_batch_that_is_cancelled_while_it_arrives_takes_no_more(
    client: httpx.Client, api: Api, newest: Newest
) -> None:
    def cancel() -> None:
        with api.anonymous(Authorization=client.headers["authorization"]) as other:
            other.post(f"/v1/batches/{newest()['id']}/cancel").raise_for_status()

    told = send(client, "/v1/batches", parts(*NAMES), size(client, parts(NAMES[0])), cancel).json()
    assert [(one["item"], one["code"]) for one in told["rejected"]] == [("the rest", "batch_cancelled")]
    assert told["counts"]["total"] == 1


def test_an_attempt_that_breaks_off_when_another_has_done_it_all_says_nothing_of_it(
    client: httpx.Client, api: Api, newest: Newest, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = counted(monkeypatch, "_broken_off")
    key = {"Idempotency-Key": secrets.token_hex(8)}
    first = size(client, parts(NAMES[0], seal=False))
    told: list[dict[str, Any]] = []

    def overtake_then_cut() -> None:
        newest()
        with db.transaction() as tx:
            its = update(IdempotencyKey).where(IdempotencyKey.key == key["Idempotency-Key"])
            tx.execute(its.values(leased_until=func.now() - timedelta(seconds=1)))
        with api.anonymous(Authorization=client.headers["authorization"]) as other:
            told.append(send(other, "/v1/batches", parts(*NAMES, seal=False), first, lambda: None, **key).json())
        cut()

    with pytest.raises(CutError):
        send(client, "/v1/batches", parts(*NAMES, seal=False), first, overtake_then_cut, **key)
    wait_until(lambda: ended)
    assert told[0]["counts"]["total"] == 3
    assert newest()["rejected"] == []


def test_what_is_refused_later_says_where_the_items_are_that_were_taken(client: httpx.Client, newest: Newest) -> None:
    form = [*parts(*NAMES), ("other", ("x.png", MASK))]
    answer = send(client, "/v1/batches", form, size(client, parts(NAMES[0])), newest)
    told = problem(answer, 422, "validation_failed")
    assert told["batch_id"] == newest()["id"]
    assert answer.headers["location"] == f"/v1/batches/{told['batch_id']}"


def test_a_body_that_proves_too_large_says_where_the_items_are_that_were_taken(
    client: httpx.Client, newest: Newest
) -> None:
    form = parts(NAMES[0])
    answer = send(client, "/v1/batches", [*form, ("files", ("x.png", bytes(4_000_000)))], size(client, form), newest)
    told = problem(answer, 413, "request_too_large")
    batch = newest()
    assert (told["batch_id"], batch["status"], batch["counts"]["total"]) == (batch["id"], "open", 1)
    assert [one["code"] for one in batch["rejected"]] == ["body_incomplete"]


def test_a_pair_that_was_taken_is_not_undone_by_a_file_of_its_name_that_comes_later(
    client: httpx.Client, newest: Newest
) -> None:
    form = [*parts("mug", "cup"), ("files", ("mug.png", image(3)))]
    for then in (newest, lambda: None):
        told = send(client, "/v1/batches", form, size(client, parts("mug")), then).json()
        assert [(one["item"], one["code"]) for one in told["rejected"]] == [("mug.png", "ambiguous_pair")]
        assert custom_ids(told["id"]) == ["cup", "mug"]


def test_a_pair_that_cannot_be_worked_on_is_told_once_and_the_others_go_on(
    client: httpx.Client, newest: Newest
) -> None:
    form = parts("mug")
    form += [("files", ("bad.jpg", b"no picture")), ("files", ("bad_mask.png", MASK))]
    form += parts("mug", "cup")[3:]
    told = send(client, "/v1/batches", form, size(client, form[:5]), newest).json()
    assert [one["item"] for one in told["rejected"]] == ["bad.jpg"]
    assert custom_ids(told["id"]) == ["cup", "mug"]


def test_a_canary_holds_back_what_comes_after_it(client: httpx.Client, newest: Newest) -> None:
    told = send(client, "/v1/batches", parts(*NAMES, canary=1), size(client, parts(NAMES[0], canary=1)), newest).json()
    with db.transaction() as tx:
        states = tx.scalars(select(Job.state).where(Job.batch_id == told["id"]).order_by(Job.position)).all()
    assert states == [State.QUEUED, State.HELD, State.HELD]
