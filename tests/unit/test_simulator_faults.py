import pytest
from pydantic import ValidationError

from cleanplate.simulator.faults import KNOWN, Faults, Rule


def strikes(faults: Faults, draws: int, where: str = "submit", **about: str) -> list[int]:
    """Return which of so many draws struck, counted from 1."""
    return [n for n in range(1, draws + 1) if faults.draw(where, **about) is not None]


def having(*rules: Rule, seed: int = 1) -> Faults:
    faults = Faults(seed)
    faults.add(list(rules))
    return faults


def test_a_rule_strikes_every_time_at_its_place_only() -> None:
    faults = having(Rule(where="submit", what="hang"))
    assert strikes(faults, 3) == [1, 2, 3]
    assert strikes(faults, 3, "poll") == []


def test_a_rule_strikes_the_nth_that_it_meets() -> None:
    assert strikes(having(Rule(where="submit", what="hang", nth=frozenset({2, 5}))), 9) == [2, 5]


def test_a_rule_strikes_so_many_times_and_then_never() -> None:
    assert strikes(having(Rule(where="submit", what="hang", times=2)), 9) == [1, 2]


def test_a_probability_holds_roughly_and_is_the_same_for_the_same_seed() -> None:
    half = Rule(where="submit", what="hang", probability=0.5)
    struck = strikes(having(half), 1000)
    assert 450 < len(struck) < 550
    assert strikes(having(half), 1000) == struck
    assert strikes(having(half, seed=2), 1000) != struck


@pytest.mark.parametrize("name", ["account", "task", "image_sha256"])
def test_a_rule_can_be_for_one_only(name: str) -> None:
    faults = having(Rule.model_validate({"where": "submit", "what": "hang", name: "mine", "nth": [1]}))
    assert strikes(faults, 2, **{name: "other"}) == []
    assert strikes(faults, 2, **{name: "mine"}) == [1]


def test_the_first_rule_that_strikes_wins() -> None:
    faults = having(Rule(where="poll", what="hang", times=1), Rule(where="poll", what="delay"))
    struck = [faults.draw("poll") for _ in range(2)]
    assert [rule.what for rule in struck if rule] == ["hang", "delay"]


def test_cleared_rules_are_gone() -> None:
    faults = having(Rule(where="poll", what="hang"))
    faults.clear()
    assert faults.draw("poll") is None
    assert faults.report() == []


def test_the_report_counts_what_was_met_and_what_struck() -> None:
    faults = having(Rule(where="submit", what="hang", nth=frozenset({2})))
    strikes(faults, 5)
    assert faults.report() == [{"where": "submit", "what": "hang", "nth": [2], "met": 5, "struck": 1}]


@pytest.mark.parametrize(("where", "what"), [("delivery", "broken_json"), ("poll", "drop_after"), ("credits", "xyz")])
def test_a_fault_that_a_place_does_not_know_is_refused_with_those_it_does(where: str, what: str) -> None:
    with pytest.raises(ValidationError, match=min(KNOWN[where])):
        Rule.model_validate({"where": where, "what": what})


@pytest.mark.parametrize(
    ("what", "after", "charged"),
    [
        ("drop_before", False, False),
        ("drop_after", False, True),
        ("status", False, False),
        ("status", True, True),
        ("hang", True, True),
        ("broken_json", False, True),
        ("never_ready", False, True),
    ],
)
def test_a_rule_knows_whether_the_submit_it_strikes_is_charged(what: str, after: bool, charged: bool) -> None:
    assert Rule(where="submit", what=what, after=after).charged == charged
