"""Bells that the poller rings for those who wait."""

import asyncio

from api.listening import Bell


def rung(bell: Bell) -> bool:
    return asyncio.run(bell.ring(0.01))


def test_it_rings_for_the_first_look_and_then_for_what_differs() -> None:
    bell = Bell()
    bell.look(1)
    assert rung(bell)
    bell.look(1)
    assert not rung(bell)
    bell.look(2)
    assert rung(bell)


def test_it_rings_for_what_was_gone_before_the_first_look() -> None:
    bell = Bell()
    bell.look(None)
    assert rung(bell)
    bell.look(None)
    assert not rung(bell)
