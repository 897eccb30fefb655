import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.latency import EARLIEST, STEP_LEAST, STEP_MOST, Latency

seconds = st.floats(0.0, 600.0)


def taught(*samples: float) -> Latency:
    latency = Latency()
    for sample in samples:
        latency.learn(sample)
    return latency


@given(st.lists(seconds, max_size=30), seconds)
def test_the_next_poll_is_always_ahead_and_never_far_past_the_first_answers(samples: list[float], age: float) -> None:
    latency = taught(*samples)
    wait = latency.next_poll(age)
    assert wait > 0
    assert latency.mean is None or wait <= max(STEP_MOST, EARLIEST, latency.mean) + age / 8


@given(st.lists(seconds, min_size=1, max_size=30))
def test_what_is_learned_stays_among_what_was_seen(samples: list[float]) -> None:
    latency = taught(*samples)
    assert latency.mean is not None
    assert min(samples) <= latency.mean <= max(samples) + 1e-9
    assert latency.deviation >= 0


def test_before_anything_is_learned_polls_thin_out_with_the_age() -> None:
    latency = Latency()
    assert latency.next_poll(0.0) == STEP_LEAST
    assert latency.next_poll(80.0) == 10.0


def test_the_mean_follows_an_upstream_that_becomes_slower() -> None:
    latency = taught(*[4.0] * 50, *[8.0] * 50)
    assert latency.mean == pytest.approx(8.0, rel=0.05)


def test_nothing_is_asked_before_an_answer_is_likely_and_then_it_is_asked_often() -> None:
    draw = random.Random(1)
    latency = taught(*(draw.gauss(4.0, 0.4) for _ in range(200)))
    first = latency.next_poll(0.0)
    assert 0.75 * 4.0 < first < 4.0
    assert latency.next_poll(first) == pytest.approx(STEP_LEAST, abs=0.05)


def test_one_job_costs_few_polls_and_is_seen_soon() -> None:
    draw = random.Random(2)
    latency = taught(*(draw.gauss(4.0, 0.4) for _ in range(200)))
    polls, delays = 0, []
    for _ in range(500):
        ready, age = max(0.1, draw.gauss(4.0, 0.4)), 0.0
        while age < ready:
            age += latency.next_poll(age)
            polls += 1
        delays.append(age - ready)
    assert polls / 500 < 10
    assert sorted(delays)[250] < 0.1


def test_a_task_far_behind_the_others_is_asked_ever_less_often_but_never_less_than_each_two_seconds() -> None:
    latency = taught(*[4.0, 4.5, 3.5] * 20)
    waits = [latency.next_poll(age) for age in (5.0, 8.0, 15.0, 40.0, 400.0)]
    assert waits == sorted(waits)
    assert waits[-1] == STEP_MOST
