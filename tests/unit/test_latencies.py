from contextlib import ExitStack

import pytest

from worker.latencies import MANY, Latencies, Learned, size_class


def taught(latencies: Latencies, account: str, size: int, seconds: float, times: int = 30) -> None:
    for _ in range(times):
        latencies.learn(account, size, seconds, seconds, called=False)


@pytest.mark.parametrize(
    ("width", "height", "size"),
    [(1, 1, 0), (1000, 1000, 20), (1024, 1024, 20), (1400, 1000, 20), (1500, 1000, 21), (4000, 3000, 24)],
)
def test_pictures_of_about_as_many_pixels_are_of_one_size(width: int, height: int, size: int) -> None:
    assert size_class({"width": width, "height": height}) == size


def test_each_account_and_each_size_has_its_own_latency() -> None:
    latencies = Latencies()
    taught(latencies, "a", 20, 4.0)
    taught(latencies, "a", 24, 12.0)
    taught(latencies, "b", 20, 2.0)
    medians = {
        (account, size): latencies.of(account, size).median for account, size in [("a", 20), ("a", 24), ("b", 20)]
    }
    assert medians == pytest.approx({("a", 20): 4.0, ("a", 24): 12.0, ("b", 20): 2.0})


def test_a_size_that_is_new_is_expected_to_take_what_its_account_takes_and_nothing_is_known_of_a_new_account() -> None:
    latencies = Latencies()
    taught(latencies, "a", 20, 4.0)
    assert latencies.of("a", 24).median == pytest.approx(4.0)
    assert latencies.of("b", 20).median is None
    taught(latencies, "a", 24, 12.0)
    assert latencies.of("a", 24).median == pytest.approx(12.0)


def test_a_task_is_watched_for_its_account_and_for_its_size() -> None:
    latencies = Latencies()
    with latencies.watching("a", 20), latencies.watching("a", 24):
        assert latencies.of("a", 20).flying == 2
        taught(latencies, "a", 20, 4.0)
        assert latencies.of("a", 20).flying == 1
    assert latencies.of("a", 20).flying == 0


def test_a_new_size_waits_for_callbacks_only_where_its_account_can_rely_on_them() -> None:
    latencies = Latencies(called=1.0)
    assert latencies.of("a", 20).called == 1.0
    taught(latencies, "a", 20, 4.0)
    taught(latencies, "a", 24, 12.0)
    assert latencies.of("a", 24).called < 0.1


def test_what_was_learned_is_recalled_by_the_next_conveyor() -> None:
    before, after = Latencies(), Latencies()
    taught(before, "a", 20, 4.0)
    taught(before, "a", 24, 12.0)
    taught(before, "b", 20, 2.0)
    learned = before.learned()
    assert learned["b"] == Learned(pytest.approx(2.0), {"20": pytest.approx(2.0)})
    after.recall(learned)
    assert after.learned() == learned
    assert after.of("a", 24).median == pytest.approx(12.0)


def test_where_many_tasks_fly_each_is_asked_about_less_often() -> None:
    latencies = Latencies()
    taught(latencies, "a", 20, 10.0)
    alone = latencies.next_poll("a", 20, 10.0, called=False)
    with ExitStack() as flying:
        for _ in range(2 * MANY):
            flying.enter_context(latencies.watching("b", 20))
        assert latencies.next_poll("a", 20, 10.0, called=False) == pytest.approx(2 * alone)
    assert latencies.next_poll("a", 20, 10.0, called=False) == alone
