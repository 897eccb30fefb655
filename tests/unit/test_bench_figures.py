"""The bench's arithmetic, on ledgers small enough to count by hand."""

import pytest

from tests.bench import figures


def task(accepted: float, latency: float) -> figures.Task:
    return {"accepted_at": accepted, "ends_at": accepted + latency, "latency": latency}


def test_slots_that_are_refilled_at_once_are_busy_all_the_time() -> None:
    tasks = [task(0, 2), task(0, 2), task(2, 2), task(2, 2)]
    assert figures.busy(tasks, 2, ramp=True) == 1.0
    assert figures.ideal([2.0] * 4, 2) == 4.0


def test_a_slot_that_waits_a_second_for_each_two_of_work_is_busy_two_thirds() -> None:
    tasks = [task(0, 2), task(3, 2), task(6, 2)]
    assert figures.busy(tasks, 1, ramp=True) == pytest.approx(2 / 3)


def test_time_before_all_slots_were_taken_counts_only_with_the_ramp() -> None:
    tasks = [task(0, 4), task(2, 4), task(4, 4), task(6, 4)]
    assert figures.busy(tasks, 2, ramp=True) == pytest.approx((6 + 4) / 12)
    assert figures.busy(tasks, 2, ramp=False) == pytest.approx(1.0)


def test_the_ideal_takes_the_tasks_in_their_order_each_on_the_first_free_slot() -> None:
    assert figures.ideal([3.0, 1.0, 1.0, 4.0], 2) == 6.0
