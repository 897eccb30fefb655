"""What we rely on of the upstream, asked of it over plain HTTP."""

import base64
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest

from tests.contract.upstreams import POLL, SIZE, SPOT, STICKER, SUBMIT, Upstream, image, mask
from tests.pictures import decoded


@pytest.fixture(scope="module")
def task(upstream: Upstream) -> dict[str, Any]:
    return upstream.accepted()


@pytest.fixture(scope="module")
def ready(upstream: Upstream, task: dict[str, Any]) -> dict[str, Any]:
    reply = upstream.finished(task)
    assert reply["status"] == "Ready", reply
    return reply


@pytest.fixture(scope="module")
def sample(ready: dict[str, Any]) -> httpx.Response:
    return httpx.get(ready["result"]["sample"], timeout=60)


def test_a_submit_answers_an_id_and_where_to_poll(task: dict[str, Any]) -> None:
    assert task["id"] in task["polling_url"]


def test_polls_end_with_ready_and_go_on_saying_it(
    upstream: Upstream, task: dict[str, Any], ready: dict[str, Any]
) -> None:
    assert ready["id"] == task["id"]
    assert upstream.poll(task)["status"] == "Ready"


def test_the_result_is_delivered_from_another_host_without_a_key(
    upstream: Upstream, ready: dict[str, Any], sample: httpx.Response
) -> None:
    assert urlsplit(ready["result"]["sample"]).netloc != urlsplit(upstream.base_url).netloc
    assert sample.status_code == 200
    assert sample.headers["content-type"] == "image/png"


def test_the_result_has_the_size_of_the_input_and_the_sticker_is_gone(sample: httpx.Response) -> None:
    result = decoded(sample.content).convert("RGB")
    assert result.size == SIZE
    left, top, right, bottom = SPOT
    spot = np.asarray(result, int)[top:bottom, left:right]
    assert np.abs(spot - STICKER).max(axis=2).min() > 40


def test_a_link_with_another_signature_is_refused(ready: dict[str, Any]) -> None:
    forged = httpx.URL(ready["result"]["sample"]).copy_merge_params({"sig": "AAAA"})
    assert httpx.get(forged, timeout=60).status_code == 403


@pytest.mark.parametrize("headers", [{}, {"x-key": "not-a-key"}])
def test_without_a_good_key_nothing_is_to_be_had(upstream: Upstream, headers: dict[str, str]) -> None:
    body = {"image": image(), "mask": mask()}
    answer = httpx.post(upstream.base_url + SUBMIT, json=body, headers=headers, timeout=60)
    assert answer.status_code == 403
    assert answer.json()["detail"]
    assert httpx.get(f"{upstream.base_url}/v1/credits", headers=headers, timeout=60).status_code == 403


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"mask": mask((95, 64))}, "mask"),
        ({"image": "not base64!"}, "image"),
        ({"image": f"data:image/png;base64,{image()}"}, "image"),
        ({"mask": base64.b64encode(b"no picture at all").decode()}, "mask"),
        ({"mask": None}, "mask"),
        ({"dilate_pixels": 101}, "dilate_pixels"),
        ({"dilate_pixels": -1}, "dilate_pixels"),
        ({"output_format": "gif"}, "output_format"),
        ({"safety_tolerance": 9}, "safety_tolerance"),
    ],
)
def test_what_is_not_valid_is_refused_in_words_and_not_charged(
    upstream: Upstream, fields: dict[str, Any], place: str
) -> None:
    before = upstream.credits()
    answer = upstream.submit(**fields)
    assert answer.status_code == 422
    assert answer.json()["detail"]
    assert place in answer.text
    assert upstream.credits() == before


def test_an_id_that_never_was_is_not_found(upstream: Upstream) -> None:
    url = f"{upstream.base_url}{POLL}?id=00000000-0000-4000-8000-000000000000"
    answer = httpx.get(url, headers={"x-key": upstream.key}, timeout=60)
    assert answer.status_code in {200, 404}
    assert answer.json()["status"] == "Task not found"
