"""Bells that callbacks ring."""

import asyncio

from worker.calls import Bell, Calls

LONG = 60.0


def test_a_bell_that_rang_before_is_heard_at_once_and_once() -> None:
    async def story() -> tuple[bool, bool]:
        bell = Bell()
        bell.ring()
        return await bell.rung(LONG), await bell.rung(0.0)

    assert asyncio.run(story()) == (True, False)


def test_who_waits_is_woken_by_it() -> None:
    async def story() -> bool:
        bell = Bell()
        waits = asyncio.create_task(bell.rung(LONG))
        await asyncio.sleep(0)
        bell.ring()
        bell.ring()
        return await waits

    assert asyncio.run(story())


def test_a_wait_that_is_cancelled_leaves_the_bell_whole() -> None:
    async def story() -> bool:
        bell = Bell()
        waits = asyncio.create_task(bell.rung(LONG))
        await asyncio.sleep(0)
        waits.cancel()
        await asyncio.wait([waits])
        bell.ring()
        return await bell.rung(LONG)

    assert asyncio.run(story())


def test_a_call_rings_the_bell_of_its_job_and_of_no_other() -> None:
    async def story() -> tuple[bool, bool]:
        calls = Calls()
        one, other = calls.bell("job_1"), calls.bell("job_2")
        calls.ring("job_1")
        calls.ring("job_3")
        return await one.rung(0.0), await other.rung(0.0)

    assert asyncio.run(story()) == (True, False)
