import asyncio

import pytest

from cleanplate.simulator.clock import Clock


class Ticks:
    """A source of time that stands still until it is told."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_time_runs_on_with_its_source_from_the_given_epoch() -> None:
    ticks = Ticks()
    clock = Clock(ticks, epoch=1000.0)
    ticks.now += 2.5
    assert clock.now() == 1002.5


def test_advancing_moves_the_time() -> None:
    clock = Clock(Ticks(), epoch=0.0)
    clock.advance(601)
    assert clock.now() == 601


def test_the_clock_never_runs_back() -> None:
    with pytest.raises(ValueError, match="forward"):
        Clock().advance(-1)


def test_whoever_waits_goes_on_when_the_clock_is_moved_past_the_moment() -> None:
    async def story() -> list[str]:
        clock, told = Clock(Ticks(), epoch=0.0), list[str]()

        async def wait(moment: float) -> None:
            await clock.until(moment)
            told.append(f"{moment:g}")

        waiting = [asyncio.create_task(wait(moment)) for moment in (600, 10)]
        await asyncio.sleep(0)
        clock.advance(10)
        await waiting[1]
        assert told == ["10"]
        clock.advance(590)
        await asyncio.gather(*waiting)
        return told

    assert asyncio.run(story()) == ["10", "600"]


def test_waiting_for_the_past_takes_no_time() -> None:
    asyncio.run(asyncio.wait_for(Clock(Ticks(), epoch=50.0).until(49), 60))
