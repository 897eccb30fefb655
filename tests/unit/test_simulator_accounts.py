import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cleanplate.simulator.accounts import Accounts, Gauge


def test_a_task_holds_its_slot_until_its_end_and_no_longer() -> None:
    gauge = Gauge()
    gauge.take(0, 4)
    gauge.take(1, 3)
    assert [gauge.in_flight(now) for now in (1, 2.9, 3, 3.9, 4)] == [2, 2, 1, 1, 0]


def test_the_gauge_remembers_the_most_that_were_in_flight() -> None:
    gauge = Gauge()
    gauge.take(0, 2)
    gauge.take(1, 3)
    gauge.take(5, 6)
    assert gauge.most == 2


def test_a_task_that_never_ends_holds_its_slot() -> None:
    gauge = Gauge()
    gauge.take(10, math.inf)
    assert gauge.in_flight(1e9) == 1
    assert gauge.next_end() == math.inf
    assert gauge.slot_seconds(25) == 15


def test_the_next_slot_comes_free_when_the_first_task_ends() -> None:
    gauge = Gauge()
    assert gauge.next_end() is None
    gauge.take(0, 9)
    gauge.take(0, 4)
    assert gauge.next_end() == 4


@given(st.lists(st.tuples(st.floats(0, 50), st.floats(0, 50)), max_size=30))
def test_slot_seconds_are_the_sum_of_what_each_task_took_so_far(tasks: list[tuple[float, float]]) -> None:
    gauge, now = Gauge(), 60.0
    tasks = sorted(tasks)
    for start, seconds in tasks:
        gauge.take(start, start + seconds)
    expected = sum(min(seconds, now - start) for start, seconds in tasks)
    assert gauge.slot_seconds(now) == pytest.approx(expected)


def test_an_account_is_found_by_its_key_until_the_key_is_revoked() -> None:
    accounts = Accounts(["first", "second"], 100)
    second = accounts.of("second")
    assert second is not None
    assert second.name == "account-2"
    accounts.change("account-2", None, 100, None)
    assert accounts.of("second") is None
    accounts.change("account-2", "renewed", 100, None)
    assert accounts.of("renewed") is second


def test_no_key_is_nobodys() -> None:
    accounts = Accounts(["first"], 100)
    accounts.change("account-1", None, 100, None)
    assert accounts.of(None) is None


def test_a_reset_puts_back_keys_and_credits() -> None:
    accounts = Accounts(["first"], 100)
    accounts.change("account-1", None, 3, 7)
    accounts.change("another", "key", 3, 7)
    accounts.reset(50)
    account = accounts.of("first")
    assert account is not None
    assert (account.credits, account.slots, list(accounts.by_name)) == (50, None, ["account-1"])
