"""Whose delivery is tried next."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.lanes import FIRST_REST_SECONDS, OF_ENDPOINT, REST_SECONDS, SEATS, SHARED, SLOW_SECONDS, Lanes, Waiting

MANY = 10_000


def waiting(endpoint: str, tenant: str = "a", *, failing: bool = False, due: int = MANY) -> Waiting:
    return Waiting(endpoint, tenant, failing, due)


def seat(lanes: Lanes, lines: list[Waiting], now: float = 0.0) -> Counter[str]:
    """Let begin what may."""
    allotted = lanes.allot(lines, now)
    tenants = {one.endpoint_id: one.tenant_id for one in lines}
    for endpoint, count in allotted.items():
        for _ in range(count):
            lanes.take(endpoint, tenants[endpoint], f"{endpoint}-{lanes.taken}", now)
    return allotted


def test_an_endpoint_has_a_few_seats_and_gets_another_when_one_is_free() -> None:
    lanes = Lanes()
    assert seat(lanes, [waiting("x")]) == {"x": OF_ENDPOINT}
    assert seat(lanes, [waiting("x")]) == {}
    lanes.leave("x", "x-0", 0.0, failed=False)
    assert seat(lanes, [waiting("x")]) == {"x": 1}


def test_nobody_gets_more_than_is_due() -> None:
    assert seat(Lanes(), [waiting("x", due=1), waiting("y", due=0), waiting("z", due=2)]) == {"x": 1, "z": 2}


def rest(lanes: Lanes, now: float, *, failed: bool = True) -> float:
    """Let a try of a failing endpoint end, and return for how long it rests; then it is seated again."""
    line = [waiting("x", failing=True)]
    lanes.leave("x", "x-0", now, failed=failed)
    rests = next(length for length in (0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.0) if lanes.allot(line, now + length))
    assert seat(lanes, line, now + rests) == {"x": 1}
    return rests


def test_one_that_is_failing_has_one_seat_and_rests_the_longer_the_more_failures_come_in_a_row() -> None:
    lanes = Lanes()
    assert seat(lanes, [waiting("x", failing=True)]) == {"x": 1}
    assert [rest(lanes, 10.0 * number) for number in range(7)] == [0.05, 0.1, 0.2, 0.4, 0.8, REST_SECONDS, REST_SECONDS]


def test_one_that_fails_now_and_then_rests_for_a_moment() -> None:
    lanes = Lanes()
    seat(lanes, [waiting("x", failing=True)])
    assert [rest(lanes, 10.0), rest(lanes, 20.0), rest(lanes, 30.0, failed=False)] == [0.05, 0.1, 0.0]
    assert rest(lanes, 40.0) == FIRST_REST_SECONDS


def test_of_tries_that_fail_together_one_counts() -> None:
    lanes = Lanes()
    assert seat(lanes, [waiting("x")]) == {"x": OF_ENDPOINT}
    for number in range(OF_ENDPOINT):
        lanes.leave("x", f"x-{number}", 20.0, failed=True)
    assert lanes.allot([waiting("x", failing=True)], 20.0 + FIRST_REST_SECONDS) == {"x": 1}


def test_however_many_hang_half_of_the_seats_is_for_the_others() -> None:
    lanes = Lanes()
    dead = [waiting(f"dead-{number}", f"t{number % 9}", failing=True) for number in range(SEATS)]
    assert seat(lanes, dead).total() == SHARED
    assert seat(lanes, dead, SLOW_SECONDS) == {}
    healthy = [waiting("well", "t1"), waiting("alive", "t2")]
    assert seat(lanes, dead + healthy, SLOW_SECONDS) == {"well": OF_ENDPOINT, "alive": OF_ENDPOINT}


def test_those_that_answer_after_long_share_that_half_though_they_never_fail() -> None:
    lanes = Lanes()
    slow = [waiting(f"slow-{number}", f"t{number}") for number in range(SEATS)]
    first = slow[: SHARED // OF_ENDPOINT]
    assert seat(lanes, first).total() == SHARED
    assert seat(lanes, slow, SLOW_SECONDS / 2).total() == SEATS - SHARED
    lanes = Lanes()
    assert seat(lanes, first).total() == SHARED
    for number in range(OF_ENDPOINT):
        lanes.take("more", "t1", f"{number}", 0.0)
    lanes.leave("more", "0", SLOW_SECONDS, failed=False)
    assert seat(lanes, [waiting("more", "t1")], SLOW_SECONDS) == {}
    assert seat(lanes, [waiting("well", "w")], SLOW_SECONDS) == {"well": OF_ENDPOINT}


def test_a_tenant_cannot_take_the_seats_of_all() -> None:
    lanes = Lanes()
    crowd = [waiting(f"x{number}", "crowd") for number in range(SEATS)]
    assert seat(lanes, crowd).total() == SHARED
    assert seat(lanes, [*crowd, waiting("y", "other")]) == {"y": OF_ENDPOINT}


def test_what_is_scarce_is_shared_by_turns_among_tenants_and_among_their_endpoints() -> None:
    lanes = Lanes()
    for number in range(SEATS - 8):
        lanes.take(f"busy-{number}", f"t{number % 9}", "d", 0.0)
    lines = [waiting(f"a{number}", "a") for number in range(50)] + [waiting("b", "b"), waiting("c", "c", due=2)]
    allotted = seat(lanes, lines)
    assert (allotted["b"], allotted["c"]) == (3, 2)
    assert sorted(count for endpoint, count in allotted.items() if endpoint.startswith("a")) == [1, 1, 1]


def test_lots_decide_among_equals_so_nobody_waits_for_ever_behind_the_same() -> None:
    lanes = Lanes()
    for number in range(SEATS - 1):
        lanes.take(f"busy-{number}", f"t{number % 9}", "d", 0.0)
    lines = [waiting("x", "t1"), waiting("y", "t1"), waiting("z", "t1")]
    assert len({next(iter(lanes.allot(lines, 0.0))) for _ in range(200)}) == 3


endpoints = st.lists(
    st.builds(Waiting, st.sampled_from([f"e{n}" for n in range(90)]), st.just(""), st.booleans(), st.integers(0, 40)),
    unique_by=lambda one: one.endpoint_id,
)


@pytest.mark.parametrize("tenants", [1, 3, 90])
@given(rounds=st.lists(st.tuples(endpoints, st.floats(0, 3)), max_size=6))
def test_no_bound_is_passed_and_no_seat_stays_empty_that_somebody_may_have(
    rounds: list[tuple[list[Waiting], float]], tenants: int
) -> None:
    lanes, now, taken = Lanes(), 0.0, Counter[str]()
    for drawn, later in rounds:
        now += later
        lines = [one._replace(tenant_id=f"t{int(one.endpoint_id[1:]) % tenants}") for one in drawn]
        allotted = seat(lanes, lines, now)
        taken += allotted
        assert lanes.taken == taken.total() <= SEATS
        assert max(taken.values(), default=0) <= OF_ENDPOINT
        of_tenant = Counter({one.tenant_id: 0 for one in lines})
        for endpoint, count in taken.items():
            of_tenant[f"t{int(endpoint[1:]) % tenants}"] += count
        assert max(of_tenant.values(), default=0) <= SHARED
        for one in lines:
            assert allotted[one.endpoint_id] <= one.due
            if allotted[one.endpoint_id] < one.due and lanes.taken < SHARED and of_tenant[one.tenant_id] < SHARED:
                assert taken[one.endpoint_id] >= (1 if one.failing else OF_ENDPOINT)
