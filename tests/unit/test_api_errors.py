from api.errors import shortened
from cleanplate.resources import Rejection


def rejected(*codes: str) -> list[Rejection]:
    return [Rejection(item=f"{number}.jpg", code=code, detail="because") for number, code in enumerate(codes)]


def test_a_short_list_is_told_whole() -> None:
    assert shortened(rejected("a", "b"), most=2) == rejected("a", "b")


def test_of_a_long_list_the_rest_is_counted_under_its_code() -> None:
    told = shortened(rejected("a", "b", "b"), most=1)
    assert [(one.item, one.code) for one in told] == [("0.jpg", "a"), ("2 more", "b")]
    assert shortened(rejected("a", "b", "c"), most=1)[-1].code == "several"
