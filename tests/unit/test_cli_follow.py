from typing import Any

import pytest

from cleanplate.cli import follow
from cleanplate.cli.follow import Follower
from cleanplate.resources import BatchOptions
from tests.fake_api import FakeApi


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    monkeypatch.setattr(follow, "PAGE", 10)
    return FakeApi()


def batch_of(api: FakeApi, count: int, *, seal: bool = True) -> Follower:
    client = api.client()
    batch = client.create_batch(BatchOptions(seal=False))
    files = [(f"{n:04}{end}", b"x") for n in range(count) for end in (".jpg", "_mask.png")]
    if files:
        client.add_items(batch.id, files)
    if seal:
        client.seal(batch.id)
    return Follower(client, batch)


def ends(api: FakeApi, *numbers: int) -> None:
    """From now on just these jobs end."""
    names = {f"{number:04}" for number in numbers}
    api.finish = lambda job: job["custom_id"] in names


def told(jobs: list[Any]) -> list[str]:
    return [job.custom_id for job in jobs]


def test_every_job_is_told_once_and_then_the_batch_is_over(api: FakeApi) -> None:
    follower = batch_of(api, 35)
    seen: list[str] = []
    for done in (0, 1, 12, 30, 35):
        ends(api, *range(done))
        assert not follower.over
        seen += told(follower.look())
    assert sorted(seen) == [f"{n:04}" for n in range(35)]
    assert follower.over


def test_jobs_that_end_out_of_order_are_told_too(api: FakeApi) -> None:
    follower = batch_of(api, 35)
    ends(api, 34)
    assert told(follower.look()) == ["0034"]
    ends(api, 34, 15)
    assert told(follower.look()) == ["0015"]


def test_a_look_at_a_large_batch_costs_a_page_or_two(api: FakeApi) -> None:
    follower = batch_of(api, 500)
    ends(api, *range(250))
    follower.look()
    before = api.count("GET", "/jobs")
    for done in range(251, 260):
        ends(api, *range(done))
        assert told(follower.look()) == [f"{done - 1:04}"]
    assert api.count("GET", "/jobs") - before <= 2 * 9


def test_a_look_when_nothing_has_ended_reads_no_jobs(api: FakeApi) -> None:
    follower = batch_of(api, 35)
    ends(api, 0)
    follower.look()
    before = api.count("GET", "/jobs")
    assert follower.look() == []
    assert api.count("GET", "/jobs") == before


def test_a_job_that_slips_into_a_page_already_left_behind_is_found(api: FakeApi) -> None:
    follower = batch_of(api, 25, seal=False)
    ends(api, *range(20))
    assert len(follower.look()) == 20
    late = {**next(iter(api.jobs.values())), "id": "job_0000", "custom_id": "late", "status": "queued"}
    api.jobs["job_0000"] = late
    api.finish = lambda job: job["custom_id"] == "late"
    assert told(follower.look()) == ["late"]


def test_items_that_come_while_it_is_followed_are_told(api: FakeApi) -> None:
    follower = batch_of(api, 10, seal=False)
    follower.look()
    api.client().add_items(follower.batch.id, [("z.jpg", b"x"), ("z_mask.png", b"x")])
    assert told(follower.look()) == ["z"]
    assert not follower.over


def test_an_empty_sealed_batch_is_over(api: FakeApi) -> None:
    follower = batch_of(api, 0)
    assert (follower.look(), follower.over) == ([], True)


def test_jobs_that_were_deleted_do_not_keep_it_waiting(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    follower = batch_of(api, 5)
    monkeypatch.setattr(api, "_page", lambda *_: {"data": [], "next_cursor": None})
    assert (follower.look(), follower.over) == ([], True)


def test_names_are_known_before_their_jobs_end(api: FakeApi) -> None:
    follower = batch_of(api, 12)
    ends(api, 3)
    assert follower.look_at_all() == []
    assert follower.names == {f"{n:04}" for n in range(12)}
