"""Each fault as a client meets it, and what it costs."""

import time
from typing import Any

import httpx
import pytest

from tests.contract.upstreams import SIZE, SUBMIT, Upstream, image, mask
from tests.pictures import decoded
from tests.servers import wait_until


def paid(simulator: Upstream) -> int:
    return int(simulator.stats()["paid"])


def ready(simulator: Upstream) -> dict[str, Any]:
    return simulator.finished(simulator.accepted())


def download(reply: dict[str, Any]) -> httpx.Response:
    return httpx.get(reply["result"]["sample"])


@pytest.mark.parametrize(("what", "charged"), [("drop_before", 0), ("drop_after", 1)])
def test_a_connection_is_closed_before_or_after_the_submit_is_charged(
    simulator: Upstream, what: str, charged: int
) -> None:
    simulator.fault("submit", what, times=1)
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        simulator.submit()
    assert paid(simulator) == charged
    assert simulator.stats()["submits"] == {"dropped": 1}
    simulator.accepted()


@pytest.mark.parametrize(("after", "charged"), [(False, 0), (True, 1)])
def test_a_submit_is_never_answered_and_may_be_charged(simulator: Upstream, after: bool, charged: int) -> None:
    simulator.fault("submit", "hang", after=after)
    body = {"image": image(), "mask": mask()}
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            simulator.base_url + SUBMIT,
            json=body,
            headers={"x-key": simulator.key},
            timeout=httpx.Timeout(60, read=0.5),
        )
    wait_until(lambda: paid(simulator) == charged)


@pytest.mark.parametrize(("after", "charged"), [(False, 0), (True, 1)])
def test_any_status_with_any_words_may_come_before_or_after_the_charge(
    simulator: Upstream, after: bool, charged: int
) -> None:
    simulator.fault("submit", "status", code=503, body="try later", headers={"Retry-After": "7"}, after=after)
    answer = simulator.submit()
    assert (answer.status_code, answer.text, answer.headers["Retry-After"]) == (503, "try later", "7")
    assert paid(simulator) == charged


def test_half_of_the_submits_are_429_and_the_same_half_with_the_same_seed(simulator: Upstream) -> None:
    def codes() -> list[int]:
        simulator.admin("POST", "reset")
        simulator.fault("submit", "status", code=429, headers={"Retry-After": "1"}, probability=0.5)
        return [simulator.submit().status_code for _ in range(12)]

    first = codes()
    assert set(first) == {200, 429}
    assert paid(simulator) == first.count(200)
    assert codes() == first


def test_a_delay_moves_with_the_clock(simulator: Upstream) -> None:
    simulator.fault("credits", "delay", seconds=0.3)
    start = time.monotonic()
    simulator.credits()
    assert time.monotonic() - start >= 0.29


@pytest.mark.parametrize(("where", "charged"), [("submit", 1), ("poll", 1)])
def test_json_may_be_broken(simulator: Upstream, where: str, charged: int) -> None:
    simulator.fault(where, "broken_json")
    answer = simulator.submit()
    if where == "poll":
        answer = simulator.ask(answer.json())
    assert answer.status_code == 200
    with pytest.raises(ValueError, match="Unterminated"):
        answer.json()
    assert paid(simulator) == charged


@pytest.mark.parametrize("outcome", ["Error", "Request Moderated", "Content Moderated"])
def test_a_task_may_end_badly_and_is_paid_all_the_same(simulator: Upstream, outcome: str) -> None:
    simulator.fault("submit", "task_status", value=outcome)
    task = simulator.accepted()
    assert simulator.poll(task)["status"] == "Pending"
    reply = simulator.finished(task)
    assert (reply["status"], reply["result"]) == (outcome, None)
    assert paid(simulator) == 1


def test_a_task_may_never_be_ready_and_keeps_its_slot(simulator: Upstream) -> None:
    simulator.fault("submit", "never_ready", times=1)
    task = simulator.accepted()
    simulator.admin("POST", "clock", {"advance": 10_000})
    assert simulator.poll(task)["status"] == "Pending"
    assert simulator.stats()["accounts"]["account-1"]["in_flight"] == 1
    assert simulator.admin("GET", "ledger")["data"][0]["ends_at"] is None


@pytest.mark.parametrize(
    ("what", "value", "status"),
    [
        ("unknown_status", "Queued for review", "Queued for review"),
        ("task_status", "Content Moderated", "Content Moderated"),
        ("never_ready", None, "Pending"),
        ("not_found", None, "Task not found"),
    ],
)
def test_a_poll_may_say_something_else(simulator: Upstream, what: str, value: str | None, status: str) -> None:
    task = simulator.accepted()
    simulator.finished(task)
    simulator.fault("poll", what, value=value, task=task["id"], times=1)
    twisted = simulator.poll(task)
    assert (twisted["status"], twisted["result"]) == (status, None)
    assert simulator.poll(task)["status"] == "Ready"


@pytest.mark.parametrize("value", [None, "http://127.0.0.9:1/elsewhere"])
def test_urls_may_point_to_foreign_hosts(simulator: Upstream, value: str | None) -> None:
    reply = ready(simulator)
    simulator.fault("submit", "foreign_polling_url", value=value)
    simulator.fault("poll", "foreign_sample_url", value=value)
    task = simulator.accepted()
    sample = simulator.poll({"id": reply["id"]})["result"]["sample"]
    for url in (task["polling_url"], sample):
        assert httpx.URL(url).host in {"api.bfl.example", "delivery.bfl.example", "127.0.0.9"}


def test_a_result_may_be_cut_short_without_a_word(simulator: Upstream) -> None:
    reply = ready(simulator)
    whole = download(reply).content
    simulator.fault("delivery", "truncated")
    answer = download(reply)
    assert answer.status_code == 200
    assert answer.content == whole[: len(whole) // 2]


def test_a_download_may_break_off(simulator: Upstream) -> None:
    reply = ready(simulator)
    simulator.fault("delivery", "drop_after", times=1)
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        download(reply)
    assert download(reply).status_code == 200


def test_a_result_may_have_the_wrong_size(simulator: Upstream) -> None:
    reply = ready(simulator)
    simulator.fault("delivery", "wrong_size")
    assert decoded(download(reply).content).size == (SIZE[0] // 2, SIZE[1] // 2)


def test_a_page_of_html_may_come_with_200(simulator: Upstream) -> None:
    reply = ready(simulator)
    simulator.fault("delivery", "html")
    answer = download(reply)
    assert (answer.status_code, answer.headers["content-type"].split(";")[0]) == (200, "text/html")


def test_a_result_may_come_slowly_and_whole(simulator: Upstream) -> None:
    reply = ready(simulator)
    whole = download(reply).content
    simulator.fault("delivery", "slow_body", seconds=0.4)
    start = time.monotonic()
    assert download(reply).content == whole
    assert time.monotonic() - start >= 0.35


def test_a_download_may_be_refused_once(simulator: Upstream) -> None:
    reply = ready(simulator)
    simulator.fault("delivery", "status", code=403, body="<Error/>", times=1)
    assert [download(reply).status_code for _ in range(2)] == [403, 200]


def test_a_fault_can_be_for_one_picture_alone(simulator: Upstream) -> None:
    simulator.accepted()
    digest = simulator.admin("GET", "ledger")["data"][0]["image_sha256"]
    simulator.fault("submit", "status", code=500, image_sha256=digest)
    assert simulator.submit().status_code == 500
    assert simulator.submit(image=mask()).status_code == 200


def test_cleared_faults_strike_no_more_and_until_then_are_counted(simulator: Upstream) -> None:
    simulator.fault("credits", "status", code=402, nth=[2])
    assert [simulator.credits()] == [1000]
    with pytest.raises(httpx.HTTPStatusError):
        simulator.credits()
    assert simulator.admin("GET", "faults")["data"][0]["struck"] == 1
    simulator.admin("DELETE", "faults")
    assert simulator.credits() == 1000


def test_a_fault_nobody_knows_is_refused(simulator: Upstream) -> None:
    rules = [{"where": "submit", "what": "explode"}]
    answer = httpx.post(f"{simulator.urls['admin_url']}/faults", json=rules)
    assert answer.status_code == 422
    assert "drop_after" in answer.text
