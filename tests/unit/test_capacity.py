from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from worker.capacity import Room, share_out

rooms = st.dictionaries(
    st.sampled_from("abcd"), st.integers(1, 50).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
)


@given(rooms, st.integers(0, 60))
def test_no_account_gets_more_than_is_free_and_none_is_left_with_much_more_than_another(
    accounts: dict[str, tuple[int, int]], wanted: int
) -> None:
    free = sum(free for free, _ in accounts.values())
    given_to = share_out(
        [Room(name, free, 1 / allowed) for name, (free, allowed) in accounts.items()], min(wanted, free)
    )
    counts = Counter(given_to)
    assert len(given_to) == min(wanted, free)
    left = {name: free - counts[name] for name, (free, _) in accounts.items()}
    assert all(number >= 0 for number in left.values())
    for name in counts:
        before_its_last = (left[name] + 1) / accounts[name][1]
        assert all(left[other] / allowed <= before_its_last for other, (_, allowed) in accounts.items())
