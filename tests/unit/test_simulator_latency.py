import statistics

import pytest

from cleanplate.simulator import latency


def test_a_draw_depends_on_seed_and_ordinal_alone() -> None:
    first = [latency.draw(1, n, 4, 0.25) for n in range(50)]
    assert [latency.draw(1, n, 4, 0.25) for n in reversed(range(50))] == first[::-1]
    assert latency.draw(2, 0, 4, 0.25) != first[0]
    assert len(set(first)) == 50


def test_a_seed_means_the_same_for_ever() -> None:
    assert latency.draw(1, 0, 4, 0.25) == pytest.approx(4.5744545, abs=1e-6)


@pytest.mark.parametrize(("mean", "spread"), [(4, 0.25), (0.5, 1.0)])
def test_draws_have_the_mean_and_the_spread_asked_for(mean: float, spread: float) -> None:
    draws = [latency.draw(7, n, mean, spread) for n in range(20_000)]
    assert statistics.fmean(draws) == pytest.approx(mean, rel=0.03)
    assert statistics.pstdev(draws) == pytest.approx(mean * spread, rel=0.1)
    assert min(draws) > 0


def test_without_spread_every_task_takes_the_mean() -> None:
    assert {latency.draw(1, n, 4, 0) for n in range(9)} == {4}
    assert latency.draw(1, 0, 0, 0.25) == 0
