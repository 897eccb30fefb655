import re
from pathlib import Path

import pytest

from cleanplate.states import (
    GOING,
    HOLDS_SLOT,
    LEASED,
    MOVES,
    PROCESSING,
    RULES,
    TERMINAL,
    UNSENT,
    IllegalMoveError,
    InFlight,
    State,
    Status,
    heeding,
    mermaid,
    require,
    states_of,
)

ARCHITECTURE = (Path(__file__).parents[2] / "ARCHITECTURE.md").read_text(encoding="utf-8")
PAIRS = [(source, target) for source in State for target in State]


def reachable(start: State) -> set[State]:
    found = {start}
    while more := {target for source, target in MOVES if source in found} - found:
        found |= more
    return found


def test_every_state_has_a_rule_and_every_rule_says_what_it_means() -> None:
    assert list(RULES) == list(State)
    assert all(rule.meaning and rule.moved_by and rule.rescued_by for rule in RULES.values())


def test_the_end_is_success_failure_or_cancellation_and_nothing_else() -> None:
    assert {State.SUCCEEDED, State.FAILED, State.CANCELLED} == TERMINAL


@pytest.mark.parametrize("state", State)
def test_every_state_is_reached_from_the_import_and_every_state_can_still_end(state: State) -> None:
    assert state in reachable(State.IMPORTING)
    assert reachable(state) & TERMINAL


def test_only_a_result_that_was_ready_or_is_a_twins_becomes_a_success() -> None:
    assert {source for source, target in MOVES if target is State.SUCCEEDED} == {State.READY, State.FOLLOWING}


def test_who_follows_a_twin_was_never_in_line_and_goes_there_alone_to_be_sent() -> None:
    assert {source for source, target in MOVES if target is State.FOLLOWING} == {State.IMPORTING, State.HELD}
    assert RULES[State.FOLLOWING].moves_to == {State.QUEUED, State.SUCCEEDED, State.CANCELLED}


def test_a_twin_goes_as_long_as_it_is_in_line_or_under_way() -> None:
    assert {State.QUEUED} | PROCESSING == GOING


def test_whatever_has_not_ended_can_be_cancelled() -> None:
    assert {source for source, target in MOVES if target is State.CANCELLED} == set(State) - TERMINAL


def test_who_is_not_to_be_cancelled_goes_where_it_was_to_go() -> None:
    assert all(heeding(target, None) is target for target in State)


def test_what_is_to_be_finished_goes_anywhere_but_back_to_be_sent() -> None:
    ends = {target for target in State if heeding(target, InFlight.FINISH) is not target}
    assert ends == UNSENT


def test_what_is_abandoned_ends_with_whatever_frees_its_slot() -> None:
    assert {target for target in State if heeding(target, InFlight.ABANDON) is not State.CANCELLED} == HOLDS_SLOT


@pytest.mark.parametrize("in_flight", InFlight)
def test_a_job_that_is_to_be_cancelled_is_only_ever_led_to_where_a_move_leads(in_flight: InFlight) -> None:
    for source, target in MOVES:
        if source in HOLDS_SLOT | {State.READY}:
            require(source, heeding(target, in_flight))


def test_a_slot_is_taken_by_sending_alone_or_by_asking_once_more_for_a_result() -> None:
    into = {(source, target) for source, target in MOVES if target in HOLDS_SLOT and source not in HOLDS_SLOT}
    assert into == {(State.CLAIMED, State.SENDING), (State.READY, State.INFLIGHT)}


def test_what_may_have_been_sent_goes_back_to_the_queue_only_through_the_policy() -> None:
    back = {source for source, target in MOVES if target is State.QUEUED}
    assert back == {State.IMPORTING, State.HELD, State.FOLLOWING, State.CLAIMED, State.UNCONFIRMED}


def test_what_is_held_was_never_sent_or_waits_to_be_sent_again() -> None:
    held = {source for source, target in MOVES if target is State.HELD}
    assert held == {State.IMPORTING, State.QUEUED, State.CLAIMED}


def test_whoever_is_leased_or_holds_a_slot_is_being_processed() -> None:
    assert LEASED | HOLDS_SLOT | {State.READY} == PROCESSING


@pytest.mark.parametrize("status", Status)
def test_each_status_is_the_view_of_its_states(status: Status) -> None:
    assert states_of(status) == {state for state in State if RULES[state].status is status}
    assert states_of(status)


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_a_move_is_allowed_exactly_when_the_rule_names_it(source: State, target: State) -> None:
    if target in RULES[source].moves_to:
        require(source, target)
    else:
        with pytest.raises(IllegalMoveError, match=f"from {source} to {target}"):
            require(source, target)


def test_the_diagram_in_the_architecture_is_the_one_that_the_code_draws() -> None:
    diagrams = re.findall(r"```mermaid\n(stateDiagram.*?)\n```", ARCHITECTURE, re.DOTALL)
    assert diagrams == [mermaid()]


def test_the_table_in_the_architecture_says_what_the_rules_say() -> None:
    _, _, after = ARCHITECTURE.partition("| state | means | moved on by | rescued by |\n")
    rows = [line.strip("| ").split(" | ") for line in after.partition("\n\n")[0].splitlines()[1:]]
    assert rows == [[state, rule.meaning, rule.moved_by, rule.rescued_by] for state, rule in RULES.items()]
