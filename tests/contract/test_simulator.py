"""What the simulator does as the upstream is known to, that the real one cannot be asked to show."""

import base64
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.contract.upstreams import POLL, SIZE, Upstream, image, mask
from tests.pictures import decoded, encoded, exif, scene


def settings(simulator: Upstream, **changes: object) -> None:
    simulator.admin("POST", "settings", changes)


def later(simulator: Upstream, seconds: float) -> None:
    simulator.admin("POST", "clock", {"advance": seconds})


def account(simulator: Upstream) -> dict[str, Any]:
    return dict(simulator.stats()["accounts"]["account-1"])


def download(reply: dict[str, Any], **headers: str) -> httpx.Response:
    return httpx.get(reply["result"]["sample"], headers=headers)


def test_pending_tells_the_progress_until_the_drawn_latency_has_passed(simulator: Upstream) -> None:
    settings(simulator, latency=1000)
    seconds = simulator.admin("GET", "latencies?count=1")["data"][0]
    task = simulator.accepted()
    later(simulator, seconds / 2)
    halfway = simulator.poll(task)
    assert (halfway["status"], halfway["result"]) == ("Pending", None)
    assert halfway["progress"] == pytest.approx(0.5, abs=0.02)
    later(simulator, seconds / 2)
    assert simulator.finished(task)["status"] == "Ready"


def test_the_ledger_has_each_paid_submit_with_its_drawn_latency(simulator: Upstream) -> None:
    tasks = [simulator.accepted(seed=9) for _ in range(3)]
    ledger = simulator.admin("GET", "ledger")
    drawn = simulator.admin("GET", "latencies?count=3")["data"]
    assert ledger["total"] == 3
    assert [entry["id"] for entry in ledger["data"]] == [task["id"] for task in tasks]
    assert [entry["latency"] for entry in ledger["data"]] == drawn
    assert [entry["ends_at"] - entry["accepted_at"] for entry in ledger["data"]] == pytest.approx(drawn)
    assert len({entry["image_sha256"] for entry in ledger["data"]}) == 1
    assert [entry["ordinal"] for entry in simulator.admin("GET", "ledger?offset=1&limit=1")["data"]] == [1]
    assert simulator.admin("GET", "ledger?account=nobody")["total"] == 0


def test_a_paid_submit_costs_credits_and_without_enough_of_them_there_is_none(simulator: Upstream) -> None:
    settings(simulator, credits=12, cost=5)
    assert simulator.accepted()["cost"] == 5
    simulator.accepted()
    refused = simulator.submit()
    assert refused.status_code == 402
    assert simulator.credits() == 2
    assert simulator.stats()["paid"] == 2


def test_with_every_slot_in_use_a_submit_is_429_until_the_first_task_ends(simulator: Upstream) -> None:
    settings(simulator, slots=2, latency=10_000, spread=0)
    simulator.accepted()
    simulator.accepted()
    refused = simulator.submit()
    assert refused.status_code == 429
    assert 9_000 <= int(refused.headers["Retry-After"]) <= 10_000
    later(simulator, 10_000)
    simulator.accepted()
    assert simulator.stats()["rate_limited"] == 1
    assert account(simulator)["max_in_flight"] == 2


def test_retry_after_can_be_missing(simulator: Upstream) -> None:
    settings(simulator, slots=0, retry_after=False)
    refused = simulator.submit()
    assert refused.status_code == 429
    assert "Retry-After" not in refused.headers


def test_the_gauge_and_the_slot_seconds_follow_the_clock(simulator: Upstream) -> None:
    settings(simulator, latency=100, spread=0)
    simulator.accepted()
    simulator.accepted()
    assert account(simulator)["in_flight"] == 2
    later(simulator, 150)
    now = account(simulator)
    assert (now["in_flight"], now["max_in_flight"]) == (0, 2)
    assert now["slot_seconds"] == pytest.approx(200)


def test_result_and_link_are_gone_after_ten_minutes(simulator: Upstream) -> None:
    task = simulator.accepted()
    reply = simulator.finished(task)
    later(simulator, 400)
    assert simulator.poll(task) == reply
    assert download(reply).status_code == 200
    later(simulator, 202)
    assert simulator.poll(task)["status"] == "Task not found"
    assert download(reply).status_code == 403


@pytest.mark.parametrize("fresh", [True, False])
def test_a_second_poll_mints_a_new_link_or_not(simulator: Upstream, fresh: bool) -> None:
    settings(simulator, fresh_urls=fresh)
    task = simulator.accepted()
    first = simulator.finished(task)
    later(simulator, 300)
    second = simulator.poll(task)
    assert (first["result"]["sample"] != second["result"]["sample"]) == fresh
    later(simulator, 301)
    assert download(first).status_code == 403
    assert (download(second).status_code == 200) == fresh


def test_polling_and_delivery_have_hosts_of_their_own(simulator: Upstream) -> None:
    task = simulator.accepted()
    sample = simulator.finished(task)["result"]["sample"]
    assert task["polling_url"].startswith(simulator.urls["polling_url"])
    assert sample.startswith(simulator.urls["delivery_url"])
    assert len({urlsplit(url).netloc for url in (simulator.base_url, task["polling_url"], sample)}) == 3


def test_either_host_answers_polls_and_the_stats_tell_which_was_asked(simulator: Upstream) -> None:
    task = simulator.accepted()
    simulator.poll({"id": task["id"]})
    simulator.poll(task)
    simulator.poll(task)
    stats = simulator.stats()
    assert stats["polls_by_host"] == {urlsplit(simulator.base_url).netloc: 1, urlsplit(task["polling_url"]).netloc: 2}
    assert stats["polls"] == 3


def test_a_key_sent_to_the_delivery_host_is_noticed(simulator: Upstream) -> None:
    reply = simulator.finished(simulator.accepted())
    download(reply)
    assert simulator.stats()["key_seen_at_delivery"] == 0
    download(reply, **{"x-key": "simulator"})
    stats = simulator.stats()
    assert (stats["key_seen_at_delivery"], stats["downloads"]) == (1, 2)


def test_accounts_share_neither_tasks_nor_credits(simulator: Upstream) -> None:
    settings(simulator, latency=100, accounts={"other": {"key": "another", "credits": 50, "slots": 1}})
    other = Upstream(simulator.base_url, "another")
    task = simulator.accepted()
    other.accepted()
    assert other.credits() == 45
    assert other.submit().status_code == 429
    assert other.poll(task)["status"] == "Task not found"
    assert simulator.poll(task)["status"] != "Task not found"


def test_a_revoked_key_is_refused_and_a_restored_one_taken(simulator: Upstream) -> None:
    settings(simulator, accounts={"account-1": {"key": None}})
    assert simulator.submit().status_code == 403
    settings(simulator, accounts={"account-1": {"key": "simulator"}})
    assert simulator.submit().status_code == 200


def test_settings_that_make_no_sense_change_nothing(simulator: Upstream) -> None:
    before = simulator.admin("GET", "settings")
    for wrong in ({"slots": -1}, {"no_such": 1}, {"accounts": {"account-1": {"colour": "red"}}}):
        answer = httpx.post(f"{simulator.urls['admin_url']}/settings", json=wrong)
        assert answer.status_code == 422
    assert simulator.admin("GET", "settings") == before


def test_no_metadata_and_no_profile_survive(simulator: Upstream) -> None:
    picture = base64.b64encode(encoded(scene(*SIZE), "JPEG", exif=exif(1, gps=True), icc_profile=b"x" * 200)).decode()
    reply = simulator.finished(simulator.accepted(image=picture, output_format="jpeg"))
    result = decoded(download(reply).content)
    assert result.format == "JPEG"
    assert not result.getexif()
    assert "icc_profile" not in result.info


@pytest.mark.parametrize("form", ["png", "jpeg", "webp"])
def test_the_result_has_the_format_asked_for(simulator: Upstream, form: str) -> None:
    answer = download(simulator.finished(simulator.accepted(output_format=form)))
    assert answer.headers["content-type"] == f"image/{form}"
    assert decoded(answer.content).format == form.upper()


def test_large_results_come_back_smaller_where_that_is_set(simulator: Upstream) -> None:
    settings(simulator, max_megapixels=SIZE[0] * SIZE[1] / 4e6)
    result = decoded(download(simulator.finished(simulator.accepted())).content)
    assert result.size == (SIZE[0] // 2, SIZE[1] // 2)


def test_fast_gives_the_picture_back_as_it_came(simulator: Upstream) -> None:
    settings(simulator, erase="fast")
    picture = image()
    assert download(simulator.finished(simulator.accepted(image=picture))).content == base64.b64decode(picture)


def test_the_newer_limit_of_dilate_pixels_can_be_set(simulator: Upstream) -> None:
    settings(simulator, dilate_limit=25)
    assert simulator.submit(dilate_pixels=26).status_code == 422
    assert simulator.submit(dilate_pixels=25).status_code == 200


def test_cost_need_not_be_told(simulator: Upstream) -> None:
    settings(simulator, tell_cost=False)
    task = simulator.accepted()
    assert "cost" not in task
    assert "cost" not in simulator.finished(task)


def test_a_poll_without_an_id_is_refused(simulator: Upstream) -> None:
    answer = httpx.get(simulator.base_url + POLL, headers={"x-key": "simulator"})
    assert answer.status_code == 422


def test_a_reset_forgets_everything(simulator: Upstream) -> None:
    fresh = simulator.stats() | {"now": 0}
    settings(simulator, slots=1)
    simulator.fault("credits", "status")
    task = simulator.accepted(mask=mask())
    simulator.poll(task)
    simulator.admin("POST", "reset")
    assert simulator.stats() | {"now": 0} == fresh
    assert simulator.poll(task)["status"] == "Task not found"
    assert simulator.admin("GET", "ledger")["total"] == 0
    assert simulator.credits() == 1000
