from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cleanplate import reuse, settings
from cleanplate.resources import Params

FACTS: dict[str, Any] = {"width": 96, "height": 64, "format": "png", "bytes": 100}
hashes = st.text("0123456789abcdef", min_size=64, max_size=64)
params = st.fixed_dictionaries(
    {},
    optional={
        "dilate_pixels": st.integers(0, 100),
        "output_format": st.sampled_from(["png", "jpeg", "webp"]),
        "fidelity": st.sampled_from(["exact", "raw"]),
        "mask_invert": st.booleans(),
        "seed": st.none() | st.integers(0, 10),
        "safety_tolerance": st.none() | st.integers(0, 5),
    },
)
things = st.tuples(st.sampled_from(["ten_1", "ten_2"]), st.sampled_from("ab"), st.sampled_from("ab"), params)


@pytest.fixture(autouse=True)
def upstream(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("BFL_BASE_URL", raising=False)
    settings.get.cache_clear()
    yield
    settings.get.cache_clear()


def fingerprint(tenant_id: str, image: str, mask: str, given: Mapping[str, Any]) -> str:
    return reuse.fingerprint(tenant_id, {**FACTS, "sha256": image}, {**FACTS, "sha256": mask}, given)


@given(things, things)
def test_fingerprints_are_equal_exactly_when_all_that_makes_the_result_is(first: Any, second: Any) -> None:
    whole = [(*one[:3], Params(**one[3])) for one in (first, second)]
    assert (fingerprint(*first) == fingerprint(*second)) == (whole[0] == whole[1])


@given(hashes, params)
def test_a_fingerprint_does_not_depend_on_how_the_params_are_told(sha256: str, told: dict[str, Any]) -> None:
    complete = dict(reversed(Params(**told).model_dump().items()))
    assert fingerprint("ten_1", sha256, sha256, told) == fingerprint("ten_1", sha256, sha256, complete)


@pytest.mark.parametrize("name", Params.model_fields)
def test_no_param_is_left_out(name: str) -> None:
    others = {"output_format": "webp", "fidelity": "raw", "mask_invert": True}
    assert fingerprint("ten_1", "a", "b", {}) != fingerprint("ten_1", "a", "b", {name: others.get(name, 3)})


def test_names_and_formats_of_the_files_are_no_part_of_it() -> None:
    image, mask = {"sha256": "a"}, {"sha256": "b"}
    assert reuse.fingerprint("ten_1", image, mask, {}) == fingerprint("ten_1", "a", "b", {})


def test_what_another_upstream_made_is_another_result(monkeypatch: pytest.MonkeyPatch) -> None:
    of_the_vendor = fingerprint("ten_1", "a", "b", {})
    monkeypatch.setenv("BFL_BASE_URL", "http://127.0.0.1:4711")
    settings.get.cache_clear()
    of_a_simulator = fingerprint("ten_1", "a", "b", {})
    assert of_a_simulator != of_the_vendor
    monkeypatch.setenv("BFL_BASE_URL", "http://127.0.0.1:4712")
    settings.get.cache_clear()
    assert fingerprint("ten_1", "a", "b", {}) == of_a_simulator


def test_a_new_recipe_is_another_result(monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint("ten_1", "a", "b", {})
    monkeypatch.setattr(reuse, "RECIPE", reuse.RECIPE + 1)
    assert fingerprint("ten_1", "a", "b", {}) != before
