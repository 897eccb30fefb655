"""The chaos rig's clock: what counts as standing still after a kill."""

from datetime import UTC, datetime

from tests.journeys.stalls import Event, Kill, after_kills, after_outages

DEAD, OTHER = "host:7:aa", "host:8:bb"
ALIVE = {7: 0.0, 8: 0.0}


def event(state: str, at: float, worker: str | None = DEAD, job_id: str = "a") -> Event:
    return Event(job_id, state, "because", datetime.fromtimestamp(at, UTC), worker)


def test_what_the_killed_worker_leased_stands_still_until_another_moves_it() -> None:
    events = [event("sending", 1.0), event("inflight", 2.0), event("inflight", 5.0, OTHER), event("ready", 9.0, OTHER)]
    assert after_kills(events, [Kill(3.0, 7, "conveyor")], ALIVE) == [2.0]


def test_what_another_holds_or_nobody_holds_does_not_stand_still() -> None:
    events = [event("inflight", 1.0, OTHER), event("ready", 9.0, OTHER)]
    events += [event("unconfirmed", 1.0, OTHER, "b"), event("queued", 20.0, None, "b")]
    events += [event("sending", 1.0, job_id="c"), event("inflight", 1.5, job_id="c"), event("ready", 2.0, job_id="c")]
    assert after_kills(events, [Kill(3.0, 7, "conveyor")], ALIVE) == []


def test_what_a_worker_commits_as_it_is_killed_is_held_by_it() -> None:
    events = [event("claimed", 1.0), event("sending", 3.001), event("unconfirmed", 6.0, OTHER)]
    assert after_kills(events, [Kill(3.0, 7, "conveyor")], ALIVE) == [3.0]


def test_while_nobody_is_left_to_move_it_the_time_counts_from_the_last_kill() -> None:
    events = [event("inflight", 1.0), event("inflight", 9.0, "host:10:cc")]
    first, other = Kill(2.0, 7, "conveyor"), Kill(3.0, 8, "conveyor")
    starting, notifier = Kill(4.0, 9, "conveyor"), Kill(5.0, 11, "notifier")
    assert after_kills(events, [first, notifier], ALIVE) == [7.0]
    assert after_kills(events, [first, other, notifier], ALIVE) == [6.0]
    assert after_kills(events, [first, other, starting], ALIVE) == [5.0]
    assert after_kills(events, [first, starting], ALIVE) == [7.0], "the other one lives and could have moved it"


def test_results_that_a_killed_finalizer_had_begun_stand_still_and_those_in_line_wait_for_their_turn() -> None:
    events = [event("ready", 1.0), event("succeeded", 4.0, None)]
    assert after_kills(events, [Kill(3.0, 9, "finalizer", frozenset("a"))], ALIVE) == [1.0]
    assert after_kills(events, [Kill(3.0, 9, "finalizer", frozenset("b"))], ALIVE) == []


def test_after_an_outage_whatever_was_under_way_has_to_move() -> None:
    events = [event("inflight", 1.0), event("ready", 4.5), event("queued", 1.0, job_id="b"), event("claimed", 9.0)]
    assert after_outages(events[:3], [4.0]) == [0.5]
