import pytest
from hypothesis import given
from hypothesis import strategies as st

from cleanplate.cli.upload import CHUNK_BYTES, CHUNK_PAIRS, chunks
from cleanplate.pairing import Pair

sizes = st.lists(
    st.sampled_from([1, 1000, CHUNK_BYTES // 3, CHUNK_BYTES - 1, CHUNK_BYTES, 2 * CHUNK_BYTES]), max_size=40
)


@given(sizes)
def test_chunks_hold_every_pair_once_in_order_and_within_bounds(given_sizes: list[int]) -> None:
    pairs = [Pair(f"{n:03}", f"{n:03}.jpg", f"{n:03}_mask.png") for n in range(len(given_sizes))]
    size = {pair: given_sizes[n] for n, pair in enumerate(pairs)}
    made = list(chunks(pairs, size.__getitem__))
    assert [pair for chunk in made for pair in chunk] == pairs
    for chunk in made:
        assert len(chunk) <= CHUNK_PAIRS
        assert len(chunk) == 1 or sum(size[pair] for pair in chunk) <= CHUNK_BYTES


@pytest.mark.parametrize("count", [0, 1, CHUNK_PAIRS, CHUNK_PAIRS + 1])
def test_small_pairs_fill_chunks(count: int) -> None:
    pairs = [Pair(str(n), f"{n}.jpg", f"{n}_mask.png") for n in range(count)]
    assert len(list(chunks(pairs, lambda _: 1))) == -(-count // CHUNK_PAIRS)
