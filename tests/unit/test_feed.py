import pytest
from hypothesis import given
from hypothesis import strategies as st

from cleanplate.jobs import Claimed
from worker.feed import AHEAD_MOST, Feed


def job(id_: str, batch_id: str | None) -> Claimed:
    return Claimed(id_, 1, batch_id, {}, {}, "image", "mask")


@pytest.mark.parametrize(("slots", "wanted"), [(1, 8), (24, 32), (100, 64), (2000, 128)])
def test_at_first_a_job_is_claimed_for_each_slot_and_some_to_follow_but_no_more_than_memory_allows(
    slots: int, wanted: int
) -> None:
    assert Feed(slots).wanted(carried=0, waiting=0) == wanted


def test_a_slot_that_was_taken_is_no_reason_to_claim_until_a_few_were() -> None:
    feed = Feed(24)
    assert [feed.wanted(carried=24 + ready, waiting=ready) for ready in (8, 6, 5, 4, 2)] == [0, 0, 0, 4, 4]


def test_while_others_hold_the_slots_no_more_are_loaded_than_can_follow_soon() -> None:
    assert Feed(24).wanted(carried=8, waiting=8) == 0


def test_a_job_that_is_being_loaded_counts_as_one_that_waits() -> None:
    feed = Feed(24)
    with feed.loading(), feed.loading(), feed.loading(), feed.loading():
        assert feed.wanted(carried=24 + 6, waiting=2) == 0
    assert feed.wanted(carried=24 + 2, waiting=2) == 4


@given(st.integers(1, 10_000), st.integers(0, 10_000), st.integers(0, 200))
def test_never_are_more_payloads_in_memory_than_twice_the_most(slots: int, in_flight: int, waiting: int) -> None:
    wanted = Feed(slots).wanted(carried=in_flight + waiting, waiting=waiting)
    assert wanted >= 0
    assert not wanted or wanted + waiting <= 2 * AHEAD_MOST


@given(st.integers(1, 10_000), st.integers(0, 200))
def test_what_is_wanted_is_one_of_few_numbers(slots: int, waiting: int) -> None:
    feed = Feed(slots)
    numbers = {feed.wanted(carried=waiting, waiting=waiting), feed.singles_wanted()}
    assert all(number.bit_count() <= 1 for number in numbers)


def test_single_jobs_are_asked_for_until_as_many_are_ready_as_have_a_reserve() -> None:
    feed = Feed(24)
    assert feed.singles_wanted() == 2
    feed.took([job("a", None), job("b", "bat_1"), job("c", None)])
    assert feed.singles_wanted() == 0
    feed.left("a")
    assert feed.singles_wanted() == 1
