"""Conveyors with two accounts, against a simulator that knows both keys and whose task is whose."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import select

from cleanplate import db, ids
from cleanplate.local import environment
from cleanplate.models import Account, Job
from cleanplate.settings import Settings
from cleanplate.states import State
from cleanplate.storage import Store
from tests import rows
from tests.contract.upstreams import Upstream, simulator
from tests.pictures import encoded, mask_image
from tests.servers import wait_until
from tests.upstream import conveying

pytestmark = pytest.mark.usefixtures("database", "quick_conveyor")

KEYS = {"studio": "first-key", "archive": "second-key"}
CAPS = {"studio": 2, "archive": 3}
SIMULATED = {"studio": "account-1", "archive": "account-2"}
SIZE, SPOT = (96, 64), (32, 21, 49, 38)

Start = Callable[..., AbstractContextManager[Callable[[], None]]]


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """A simulator with two accounts of unlike slots."""
    keys = [part for key in KEYS.values() for part in ("--key", key)]
    with simulator("--latency", "1", "--erase", "fast", *keys) as (started, _):
        for name, slots in CAPS.items():
            change(started, name, slots=slots)
        yield started


@pytest.fixture
def start(upstream: Upstream, store: Store) -> Start:
    """Runs a conveyor with the keys of these accounts, of both when none is named."""

    def run(worker: str, *names: str, **variables: str) -> AbstractContextManager[Callable[[], None]]:
        given = environment.of_simulator(upstream.urls) | variables
        del given["BFL_API_KEY"]
        keys = ",".join(f"{name}={KEYS[name]};slots={CAPS[name]}" for name in names or KEYS)
        return conveying(Settings(BFL_API_KEYS=keys, **given), store, worker)

    return run


def change(upstream: Upstream, name: str, **account: Any) -> None:
    """Change what the simulator says of one account."""
    upstream.admin("POST", "settings", {"accounts": {SIMULATED[name]: account}})


def queue(store: Store, count: int, first: int = 0) -> None:
    """Put so many unlike pairs in the store and their jobs in the queue."""
    mask = encoded(mask_image(SIZE, SPOT))
    job_ids = [ids.new(ids.Kind.JOB) for _ in range(count)]
    for number, id_ in enumerate(job_ids, first):
        image = encoded(Image.new("RGB", SIZE, (number, 100, 200)))
        store.put(f"inputs/{id_}/image.png", image, media_type="image/png")
        store.put(f"inputs/{id_}/mask.png", mask, media_type="image/png")
    with db.transaction() as tx:
        for id_ in job_ids:
            rows.job(tx, id=id_)


def states() -> Counter[State]:
    with db.transaction() as tx:
        return Counter(rows.states(tx).values())


def row(name: str) -> Account:
    with db.transaction() as tx:
        return tx.get_one(Account, name)


def in_flight() -> Counter[str | None]:
    with db.transaction() as tx:
        return Counter(tx.scalars(select(Job.account).where(Job.state == State.INFLIGHT)))


def gauges(upstream: Upstream) -> dict[str, int]:
    """The most tasks that each account ever held."""
    told = upstream.stats()["accounts"]
    return {name: told[simulated]["max_in_flight"] for name, simulated in SIMULATED.items()}


def paid_once(upstream: Upstream, count: int) -> bool:
    """Whether so many pictures were paid for, each once, and every task was asked for by its own account."""
    images = [task["image_sha256"] for task in upstream.admin("GET", "ledger")["data"]]
    assert "Task not found" not in upstream.stats()["polls_by_status"]
    return len(images) == len(set(images)) == count


def test_both_accounts_are_filled_to_their_caps_and_never_over(upstream: Upstream, store: Store, start: Start) -> None:
    queue(store, 20)
    with start("w1"), start("w2"):
        wait_until(lambda: states() == {State.READY: 20})
    assert all(0 < most <= CAPS[name] for name, most in gauges(upstream).items())
    assert upstream.stats()["rate_limited"] == 0
    assert paid_once(upstream, 20)
    assert all(row(name).latency_seconds for name in KEYS)


@pytest.mark.parametrize(
    ("broken", "mended", "reason"),
    [
        pytest.param({"credits": 0}, {"credits": 1000}, "credits", id="out of credits"),
        pytest.param(
            {"key": None}, {"key": KEYS["archive"]}, "access", id="revoked, with all its slots waiting for polls"
        ),
    ],
)
def test_an_account_that_fails_in_mid_run_leaves_the_work_to_the_other_until_it_is_mended(
    upstream: Upstream, store: Store, start: Start, broken: dict[str, Any], mended: dict[str, Any], reason: str
) -> None:
    queue(store, 20)
    with start("w1"):
        wait_until(lambda: in_flight() == CAPS)
        change(upstream, "archive", **broken)
        wait_until(lambda: row("archive").paused_reason == reason)
        wait_until(lambda: states()[State.READY] >= 20 - CAPS["archive"])
        assert row("studio").paused_reason is None
        change(upstream, "archive", **mended)
        wait_until(lambda: states() == {State.READY: 20})
        queue(store, 4, first=20)
        wait_until(lambda: states() == {State.READY: 24} and row("archive").paused_reason is None)
    assert all(0 < most <= CAPS[name] for name, most in gauges(upstream).items())
    assert paid_once(upstream, 24)


def test_a_task_is_polled_with_the_key_of_its_account_by_whoever_adopts_it(
    upstream: Upstream, store: Store, start: Start
) -> None:
    queue(store, 5)
    with start("w1") as kill:
        wait_until(lambda: in_flight() == CAPS)
        kill()
        with start("w2"):
            wait_until(lambda: states() == {State.READY: 5})
    assert paid_once(upstream, 5)


def test_a_task_of_an_account_without_a_key_is_asked_about_with_no_other_and_ends_in_time(
    upstream: Upstream, store: Store, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    queue(store, 5)
    with start("w1") as kill:
        wait_until(lambda: in_flight() == CAPS)
        kill()
    queue(store, 4, first=5)
    with (
        caplog.at_level(logging.WARNING, "worker.conveyor"),
        start("w2", "studio", CLEANPLATE_UPSTREAM_TIMEOUT_SECONDS="10"),
    ):
        wait_until(lambda: states() == {State.READY: 6, State.FAILED: 3})
    with db.transaction() as tx:
        ends = set(tx.execute(select(Job.error_code, Job.error_detail).where(Job.state == State.FAILED)).all())
    assert ends == {("upstream_timeout", "no end after 10 s (there is no key of account 'archive')")}
    assert [record.message for record in caplog.records if record.levelno == logging.WARNING] == [
        "tasks of account 'archive' cannot be polled: put its key back into BFL_API_KEYS"
    ]
    assert not any(key in caplog.text for key in KEYS.values())
    assert (row("archive").cap, row("studio").cap) == (0, 2)
    assert "Task not found" not in upstream.stats()["polls_by_status"]
