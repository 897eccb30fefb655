import heapq
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.latency import BLIND, BLIND_FIRST, STEP_LEAST, STEP_MOST, Latency

seconds = st.floats(0.0, 600.0)


def taught(*samples: float) -> Latency:
    latency = Latency()
    for sample in samples:
        latency.learn(sample)
    return latency


def log_normal(draw: random.Random, mean: float, spread: float) -> float:
    variance = math.log1p(spread * spread)
    return draw.lognormvariate(math.log(mean) - variance / 2, math.sqrt(variance))


def watched(latency: Latency, ready: float) -> tuple[float, float, int]:
    """Poll one task to its end; return the ages of the last two polls, and how many there were."""
    before = age = 0.0
    polls = 0
    while age < ready:
        before, age = age, age + latency.next_poll(age)
        polls += 1
    return before, age, polls


@given(st.lists(seconds, max_size=30), seconds)
def test_the_next_poll_is_always_ahead_and_never_far_past_the_first_answers(samples: list[float], age: float) -> None:
    latency = taught(*samples)
    wait = latency.next_poll(age)
    assert wait >= STEP_LEAST
    assert wait <= max(BLIND_FIRST, latency.median or 0.0, age / BLIND)


@given(st.lists(seconds, min_size=1, max_size=30))
def test_what_is_learned_stays_among_what_was_seen(samples: list[float]) -> None:
    latency = Latency()
    for sample in samples:
        latency.learn(sample, sample)
    assert latency.median is not None
    assert max(min(samples), STEP_LEAST) / 1.001 <= latency.median <= max(*samples, STEP_LEAST) * 1.001
    assert latency.spread >= 0


def test_before_anything_is_learned_polls_thin_out_with_the_age() -> None:
    latency = Latency()
    assert latency.next_poll(0.0) == 2.4
    assert latency.next_poll(60.0) == 10.0


def test_a_quick_upstream_is_not_left_waiting_for_long_even_before_much_is_known_of_it() -> None:
    assert taught(0.3).next_poll(0.0) < 0.3


def carried(jobs: int, seed: int, slots: int = 24) -> tuple[int, float]:
    """Carry so many jobs that nothing is known of; return how many polls there were, and the seconds answers waited."""
    draw = random.Random(seed)
    latency, waiting = Latency(flying=slots), jobs - slots
    asked, delay = 0, 0.0
    flights = sorted((latency.next_poll(0.0), 0.0, 0.0, log_normal(draw, 4.0, 0.25)) for _ in range(slots))
    while flights:
        now, began, before, ready = heapq.heappop(flights)
        asked, age = asked + 1, now - began
        if age < ready:
            heapq.heappush(flights, (now + latency.next_poll(age), began, age, ready))
            continue
        latency.learn(age, before)
        delay += age - ready
        if waiting:
            waiting -= 1
            heapq.heappush(flights, (now + latency.next_poll(0.0), now, 0.0, log_normal(draw, 4.0, 0.25)))
    return asked, delay


@pytest.mark.parametrize(("jobs", "polls", "late"), [(24, 8.0, 0.14), (240, 8.0, 0.122), (2400, 7.95, 0.122)])
def test_many_slots_that_begin_at_once_knowing_nothing_learn_in_few_polls(jobs: int, polls: float, late: float) -> None:
    seeds = range(min(40, 4800 // jobs))
    asked, delay = (sum(figures) for figures in zip(*(carried(jobs, seed) for seed in seeds), strict=True))
    assert asked / jobs / len(seeds) < polls
    assert delay / jobs / len(seeds) < late


def test_what_was_learned_before_outweighs_the_first_task_that_ends() -> None:
    latency = Latency()
    latency.recall(None)
    assert latency.median is None
    latency.recall(4.0)
    latency.learn(2.0, 2.0)
    assert latency.median == pytest.approx(4.0, rel=0.1)


def test_the_median_follows_an_upstream_that_becomes_slower() -> None:
    latency = Latency()
    for ready in (*[4.0] * 50, *[8.0] * 50):
        before, age, _ = watched(latency, ready)
        latency.learn(age, before)
    assert latency.median == pytest.approx(8.0, rel=0.1)


def test_the_median_follows_an_upstream_that_becomes_faster_than_the_first_poll() -> None:
    latency = Latency()
    for ready in (*[8.0] * 50, *[2.0] * 120):
        before, age, _ = watched(latency, ready)
        latency.learn(age, before)
    assert latency.median == pytest.approx(2.0, rel=0.15)


@pytest.mark.parametrize(("spread", "polls", "late"), [(0.1, 6.0, 0.1), (0.25, 8.2, 0.13), (0.5, 11.0, 0.17)])
def test_one_job_costs_few_polls_and_is_seen_soon_while_the_latency_is_being_learned(
    spread: float, polls: float, late: float
) -> None:
    draw = random.Random(2)
    latency = taught(4.0)
    asked, delay = 0, 0.0
    for _ in range(2000):
        ready = log_normal(draw, 4.0, spread)
        before, age, count = watched(latency, ready)
        latency.learn(age, before)
        asked, delay = asked + count, delay + age - ready
    assert asked / 2000 < polls
    assert delay / 2000 < late


def test_a_task_far_behind_the_others_is_asked_ever_less_often_but_never_less_than_each_two_seconds() -> None:
    latency = taught(*[4.0, 4.5, 3.5] * 20)
    waits = [latency.next_poll(age) for age in (6.0, 9.0, 15.0, 40.0, 400.0)]
    assert waits == sorted(waits)
    assert waits[-1] == STEP_MOST
