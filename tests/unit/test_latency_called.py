"""When to poll where callbacks are asked for: hardly ever while they come in time, else as if there were none."""

import heapq
import itertools
import math
import random
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.latency import STEP_LEAST, STEP_MOST, Latency

seconds = st.floats(0.0, 600.0)
MEDIAN, SPREAD = 4.0, 0.25
SLOTS, TASKS = 24, 1200


class Carried(NamedTuple):
    polls: float
    late: float


class Task(NamedTuple):
    """A task that is to be looked at when it is ``age`` old; it was pending at ``before``. All ages are in seconds."""

    age: float
    before: float
    ready: float
    call: float
    called: bool = False
    rung: bool = False


def planned(latency: Latency, task: Task) -> Task:
    """Return the task as it will be at the next poll, which its callback may bring forward."""
    poll = task.age + latency.next_poll(task.age, called=task.called)
    rung = not task.called and task.call <= poll
    age = max(task.age, task.call) if rung else poll
    return task._replace(age=age, before=task.age, called=task.called or rung, rung=rung)


def carried(*, call_seconds: float = 0.0, lost: float = 0.0, called: float = 1.0) -> Carried:
    """Carry tasks whose callbacks come so late on average, or not at all; return the polls and seconds late of each."""
    draw, latency, number = random.Random(1), Latency(called=called, flying=SLOTS), itertools.count()
    polls, late, waiting = 0, 0.0, TASKS

    def begin(now: float) -> tuple[float, int, Task]:
        ready = draw.lognormvariate(math.log(MEDIAN), SPREAD)
        call = math.inf if draw.random() < lost else ready + draw.expovariate(1 / (call_seconds or 0.001))
        return look(now, Task(0.0, 0.0, ready, call))

    def look(now: float, task: Task) -> tuple[float, int, Task]:
        then = planned(latency, task)
        return now + then.age - task.age, next(number), then

    flights = [begin(0.0) for _ in range(SLOTS)]
    while flights:
        now, _, task = heapq.heappop(flights)
        polls += 1
        if task.age < task.ready:
            heapq.heappush(flights, look(now, task))
            continue
        latency.learn(task.age, task.age if task.rung else task.before, called=task.called)
        late += task.age - task.ready
        waiting -= 1
        if waiting >= SLOTS:
            heapq.heappush(flights, begin(now))
    return Carried(polls / (TASKS - waiting), late / (TASKS - waiting))


POLLED = carried(lost=1.0, called=0.0)


def test_while_callbacks_come_in_time_hardly_any_task_is_polled_before() -> None:
    assert carried(call_seconds=0.02).polls < 1.3


@pytest.mark.parametrize("call_seconds", [0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0])
def test_however_late_callbacks_are_answers_are_seen_no_later_than_by_polls_alone_and_with_no_more_of_them(
    call_seconds: float,
) -> None:
    found = carried(call_seconds=call_seconds)
    assert found.late < 1.1 * POLLED.late
    assert found.polls < 1.02 * POLLED.polls


@pytest.mark.parametrize("lost", [0.01, 0.05, 0.2, 0.5, 0.9, 1.0])
def test_however_many_callbacks_are_lost_answers_are_seen_no_later_than_by_polls_alone_and_with_no_more_of_them(
    lost: float,
) -> None:
    found = carried(lost=lost)
    assert found.late < 1.1 * POLLED.late
    assert found.polls < 1.02 * POLLED.polls


def test_where_callbacks_come_a_task_is_polled_when_its_own_must_have_been_lost() -> None:
    latency = Latency(called=1.0)
    for _ in range(50):
        latency.learn(4.0, 4.0, called=True)
    assert latency.next_poll(0.0) > 4.0 * math.exp(latency.spread)
    assert latency.next_poll(500.0) == STEP_MOST


def test_where_callbacks_come_the_first_tasks_of_all_are_polled_a_few_times() -> None:
    latency, age, polls = Latency(called=1.0), 0.0, []
    while age < 60.0:
        polls.append(age := age + latency.next_poll(age))
    assert len(polls) <= 6
    assert polls[0] < 4.0


def test_callbacks_that_do_not_come_are_soon_not_waited_for_and_are_again_when_they_do() -> None:
    latency = Latency(called=1.0)
    for _ in range(7):
        latency.learn(4.0, 3.9)
    assert latency.next_poll(0.0) < 4.0
    for _ in range(40):
        latency.learn(4.0, 4.0, called=True)
    assert latency.next_poll(0.0) > 4.0


@given(st.lists(seconds, max_size=30), seconds)
def test_a_task_that_was_called_about_and_is_not_ready_yet_is_asked_again_soon(
    samples: list[float], age: float
) -> None:
    latency = Latency(called=1.0)
    for sample in samples:
        latency.learn(sample, sample, called=True)
    assert STEP_LEAST <= latency.next_poll(age, called=True) <= STEP_MOST


def test_a_call_teaches_the_latency_to_the_point() -> None:
    latency = Latency(called=1.0)
    for _ in range(100):
        latency.learn(4.0, 4.0, called=True)
    assert latency.median == pytest.approx(4.0)
