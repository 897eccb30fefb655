import pytest

from cleanplate.simulator.patience import FULL, REFILL, Patience


class Ticks:
    now = 50.0

    def __call__(self) -> float:
        return self.now


def test_patience_ends_when_as_much_as_there_was_is_spent() -> None:
    patience = Patience(Ticks())
    patience.spend(FULL - 0.5)
    assert patience.left == pytest.approx(0.5)
    patience.spend(0.5)
    assert patience.left <= 0


def test_patience_comes_back_with_time_and_never_beyond_full() -> None:
    ticks = Ticks()
    patience = Patience(ticks)
    patience.spend(FULL)
    ticks.now += 5
    assert patience.left == pytest.approx(5 * REFILL)
    ticks.now += 1e6
    assert patience.left == FULL
