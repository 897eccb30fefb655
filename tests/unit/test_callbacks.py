"""What a submit asks to be called back with, and what a call must prove."""

import hashlib
import hmac
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from cleanplate import callbacks, settings

OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()
BASE = f"https://cleanplate.example{callbacks.PATH}"


@contextmanager
def keys(*given: str) -> Iterator[None]:
    """Let secrets be derived from these keys for a while."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLEANPLATE_SECRET_KEYS", ",".join(given))
        settings.get.cache_clear()
        yield
    settings.get.cache_clear()


@pytest.fixture(autouse=True, scope="module")
def _one_key() -> Iterator[None]:
    with keys(OLD):
        yield


def asked() -> tuple[str, str]:
    """Return the token and the secret of a fresh callback."""
    callback = callbacks.issue(BASE)
    return callback.fields["webhook_url"].removeprefix(BASE), callback.fields["webhook_secret"]


def signed(secret: str, body: bytes) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def test_each_submit_asks_for_a_call_to_an_address_that_nobody_can_guess() -> None:
    tokens = {asked()[0] for _ in range(100)}
    assert len(tokens) == 100
    assert min(map(len, tokens)) == 43  # 256 bits in base64


def test_the_ledger_keeps_only_what_a_call_is_recognised_by() -> None:
    callback = callbacks.issue(BASE)
    token = callback.fields["webhook_url"].removeprefix(BASE)
    assert callback.sha256 == callbacks.digest(token)
    assert token not in repr(callback)
    assert callback.fields["webhook_secret"] not in repr(callback)


def test_without_an_address_nothing_is_asked_for() -> None:
    callback = callbacks.issue(None)
    assert (dict(callback.fields), callback.sha256) == ({}, None)


@given(st.binary(max_size=200))
def test_a_call_that_knows_its_secret_is_believed_in_either_way(body: bytes) -> None:
    token, secret = asked()
    assert callbacks.proven(token, body, signature=signed(secret, body), secret=None)
    assert callbacks.proven(token, body, signature=None, secret=secret)


@given(st.binary(max_size=50), st.text(max_size=80))
def test_a_call_that_does_not_is_not(body: bytes, guess: str) -> None:
    token, secret = asked()
    _, another = asked()
    assert not callbacks.proven(token, body, signature=None, secret=None)
    assert not callbacks.proven(token, body, signature=guess, secret=guess)
    assert not callbacks.proven(token, body, signature=signed(another, body), secret=another)
    assert not callbacks.proven(token, body, signature=signed(secret, body + b" "), secret=None)
    assert not callbacks.proven(token, body, signature=secret, secret=signed(secret, body))


def test_a_call_that_comes_after_the_keys_were_rotated_is_believed_while_the_old_one_is_kept() -> None:
    token, secret = asked()
    with keys(NEW, OLD):
        assert callbacks.proven(token, b"{}", signature=None, secret=secret)
    with keys(NEW):
        assert not callbacks.proven(token, b"{}", signature=None, secret=secret)


@pytest.mark.parametrize(
    ("public_url", "address"),
    [
        ("https://cleanplate.example", BASE),
        ("https://cleanplate.example/", BASE),
        ("https://example.com:8443/clean", f"https://example.com:8443/clean{callbacks.PATH}"),
        ("http://127.0.0.1:8000", f"http://127.0.0.1:8000{callbacks.PATH}"),
        ("http://[::1]:8000", f"http://[::1]:8000{callbacks.PATH}"),
        ("http://cleanplate.example", None),
        ("http://127.0.0.1.example", None),
        ("http://localhost.example:8000", None),
        ("cleanplate.example", None),
        ("https://", None),
        (None, None),
    ],
)
def test_the_upstream_is_only_given_an_address_that_it_takes(public_url: str | None, address: str | None) -> None:
    assert callbacks.base(public_url) == address


def test_without_keys_there_are_no_callbacks_and_the_log_says_why(caplog: pytest.LogCaptureFixture) -> None:
    with keys():
        assert callbacks.base("https://cleanplate.example") is None
    assert "CLEANPLATE_SECRET_KEYS" in caplog.text
