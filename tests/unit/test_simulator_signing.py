import hashlib
import hmac
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cleanplate.simulator.signing import opens, sign_body, sign_link

SECRET, PATH, NOON = b"secret", "/results/one.png", 1_800_000_000.25


def query(expires_at: float = NOON, path: str = PATH) -> dict[str, str]:
    return dict(parse_qsl(sign_link(SECRET, path, expires_at)))


def test_a_link_opens_until_it_expires_and_not_a_second_longer() -> None:
    assert opens(SECRET, PATH, query(), NOON)
    assert not opens(SECRET, PATH, query(), NOON + 1)


def test_a_link_opens_nothing_else() -> None:
    assert not opens(SECRET, "/results/two.png", query(), NOON)
    assert not opens(b"another", PATH, query(), NOON)


@pytest.mark.parametrize("name", ["se", "sig"])
def test_a_link_with_a_part_missing_or_changed_opens_nothing(name: str) -> None:
    whole = query()
    assert not opens(SECRET, PATH, whole | {name: whole[name] + "0"}, NOON)
    assert not opens(SECRET, PATH, {part: value for part, value in whole.items() if part != name}, NOON)


@given(st.text(), st.text())
def test_rubbish_is_refused_and_never_raises(stamp: str, signature: str) -> None:
    assert not opens(SECRET, PATH, {"se": stamp, "sig": signature}, NOON)


def test_a_callback_is_signed_as_the_vendor_says() -> None:
    expected = hmac.new(b"key", b"body", hashlib.sha256).hexdigest()
    assert sign_body("key", b"body") == f"sha256={expected}"
