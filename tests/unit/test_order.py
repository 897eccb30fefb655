"""Where newcomers stand in a line: by their share, evenly."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from cleanplate.order import places

waiting = st.integers(0, 300)
counts = st.integers(1, 300)
ratios = st.floats(1.0, 600.0)
phases = st.floats(0.0, 0.999)


@given(waiting, counts, ratios, phases)
def test_every_newcomer_has_a_place_of_its_own_in_the_line(
    waiting: int, count: int, ratio: float, phase: float
) -> None:
    found = places(waiting, count, ratio, phase)
    assert len(found) == count
    assert all(before < after for before, after in pairwise(found))
    assert found[0] >= 0
    assert found[-1] < waiting + count


@given(counts, st.floats(2.0, 600.0), phases)
def test_of_every_stretch_of_the_line_newcomers_have_their_share_and_at_most_two_more(
    count: int, ratio: float, phase: float
) -> None:
    found = places(count * 600, count, ratio, phase)
    for first in range(count):
        for last in range(first, count):
            length = found[last] - found[first] + 1
            assert last - first + 1 <= length / ratio + 2
            assert last - first + 1 >= length / ratio - 2


@given(counts, ratios, phases)
def test_nobody_of_a_new_batch_waits_for_more_than_those_who_were_there(count: int, ratio: float, phase: float) -> None:
    assert all(place <= 10 + number for number, place in enumerate(places(10, count, ratio, phase)))


def test_newcomers_take_turns_from_all_of_those_who_take_turns() -> None:
    met = [place % 2 for place in places(1000, 100, 3.0)]
    assert 35 <= sum(met) <= 65
    alternating = [place % 2 for place in places(1000, 100, 2.0)]
    assert 35 <= sum(alternating) <= 65
