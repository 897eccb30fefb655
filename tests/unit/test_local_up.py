import signal
import time
from collections.abc import Iterator

import pytest

from cleanplate.cli.up import take_signals_for_ctrl_c

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """The hand of a clock, with the handlers of signals put back at the end."""
    hand = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: hand[0])
    before = {number: signal.signal(number, signal.SIG_DFL) for number in SIGNALS}  # whatever runs the tests ignores
    yield hand
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_every_way_of_asking_to_stop_is_an_interrupt(clock: list[float], number: signal.Signals) -> None:
    take_signals_for_ctrl_c()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)
    clock[0] += 2.0
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)


def test_a_press_that_a_runner_passes_on_once_more_is_one_interrupt(clock: list[float]) -> None:
    take_signals_for_ctrl_c()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    clock[0] += 0.2
    signal.raise_signal(signal.SIGTERM)


def test_under_nohup_the_end_of_the_terminal_is_ignored(clock: list[float]) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    take_signals_for_ctrl_c()
    signal.raise_signal(signal.SIGHUP)
    assert clock == [100.0]
