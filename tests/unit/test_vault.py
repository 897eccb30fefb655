from collections.abc import Callable, Iterator

import pytest
from cryptography.fernet import Fernet

from cleanplate import settings, vault
from cleanplate.vault import VaultError

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    def use(*names: str) -> None:
        monkeypatch.setenv("CLEANPLATE_SECRET_KEYS", ",".join(names))
        settings.get.cache_clear()

    yield use
    monkeypatch.undo()
    settings.get.cache_clear()


def new_key() -> str:
    return Fernet.generate_key().decode()


def test_a_sealed_secret_shows_nothing_of_itself_and_opens_again(keys: Callable[..., None]) -> None:
    keys(new_key())
    sealed = vault.seal(SECRET)
    assert SECRET not in sealed
    assert vault.seal(SECRET) != sealed
    assert vault.open_sealed(sealed) == SECRET


def test_keys_rotate_the_first_seals_and_every_one_opens(keys: Callable[..., None]) -> None:
    old, new = new_key(), new_key()
    keys(old)
    sealed = vault.seal(SECRET)
    keys(new, old)
    assert vault.open_sealed(sealed) == SECRET
    again = vault.seal(SECRET)
    keys(new)
    assert vault.open_sealed(again) == SECRET
    with pytest.raises(VaultError, match="add the key it was sealed with"):
        vault.open_sealed(sealed)


def test_what_is_resealed_opens_with_the_first_key_alone(keys: Callable[..., None]) -> None:
    old, new = new_key(), new_key()
    keys(old)
    sealed = vault.seal(SECRET)
    keys(new, old)
    again = vault.reseal(sealed)
    keys(new)
    assert vault.open_sealed(again) == SECRET
    with pytest.raises(VaultError, match="add the key it was sealed with"):
        vault.reseal(sealed)


def test_without_a_key_nothing_is_sealed_and_the_error_says_what_to_do(keys: Callable[..., None]) -> None:
    keys()
    with pytest.raises(VaultError, match="CLEANPLATE_SECRET_KEYS is not set"):
        vault.seal(SECRET)


def test_a_secret_that_was_tampered_with_does_not_open_and_is_not_told(keys: Callable[..., None]) -> None:
    keys(new_key())
    sealed = vault.seal(SECRET)
    other = "B" if sealed[20] == "A" else "A"
    for broken in ("", "nonsense", sealed[:-4], sealed[:20] + other + sealed[21:]):
        with pytest.raises(VaultError) as caught:
            vault.open_sealed(broken)
        assert SECRET not in str(caught.value)
