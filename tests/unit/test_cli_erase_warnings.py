"""What a picture that was erased is warned of reaches the person who sent it."""

from typing import Any

import pytest

from tests.cli_runs import told
from tests.fake_api import FakeApi

INVERTED = "mask_probably_inverted: More than half of the image is marked to be erased."


@pytest.fixture
def warned(api: FakeApi) -> FakeApi:
    api.warnings |= {"a": [INVERTED], "deep/c": [INVERTED]}
    return api


@pytest.mark.usefixtures("warned")
def test_the_first_of_a_kind_is_told_in_full_and_in_the_end_all_by_their_names(erase: Any) -> None:
    result = erase()
    assert result.exit_code == 0
    assert result.stderr.count(INVERTED) == 1
    heading, *names = result.stderr.partition("2 with the warning mask_probably_inverted:")[1:]
    assert heading
    assert set(names[0].split()) == {"a", "deep/c"}


@pytest.mark.usefixtures("warned")
def test_programs_have_them_with_each_item(erase: Any) -> None:
    items, _ = told(erase("--json"))
    assert {name: item["warnings"] for name, item in items.items()} == {"a": [INVERTED], "b": [], "deep/c": [INVERTED]}


@pytest.mark.usefixtures("warned")
def test_a_rerun_does_not_tell_them_again(erase: Any) -> None:
    erase()
    assert "warning" not in erase().stderr


def test_black_masks_are_inverted_on_request(erase: Any, api: FakeApi) -> None:
    assert erase("--mask-invert").exit_code == 0
    (batch,) = api.batches.values()
    assert batch["options"]["params"]["mask_invert"] is True
