"""Secrets that must be known again: encrypted at rest with rotatable Fernet keys, or derived from them."""

import hashlib
import hmac
from typing import Final

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from cleanplate import settings

NO_KEY_FITS: Final = "none of CLEANPLATE_SECRET_KEYS opens this secret; add the key it was sealed with"


class VaultError(RuntimeError):
    """No key is set, or none of the keys fits: set ``CLEANPLATE_SECRET_KEYS`` to what the secrets were written with."""


def _keys() -> list[str]:
    keys = settings.get().secret_keys
    if not keys:
        raise VaultError("CLEANPLATE_SECRET_KEYS is not set: make a key with `cleanplate keys fernet` and set it")
    return [key.get_secret_value() for key in keys]


def _box() -> MultiFernet:
    return MultiFernet([Fernet(key) for key in _keys()])


def seal(secret: str) -> str:
    """Return ``secret`` encrypted with the first key."""
    return _box().encrypt(secret.encode()).decode()


def open_sealed(sealed: str) -> str:
    """Return the secret that :func:`seal` was given. Raises :class:`VaultError` when no key fits."""
    try:
        return _box().decrypt(sealed.encode()).decode()
    except InvalidToken:
        raise VaultError(NO_KEY_FITS) from None


def reseal(sealed: str) -> str:
    """Return the same secret encrypted with the first key. Raises :class:`VaultError` when no key fits."""
    try:
        return _box().rotate(sealed.encode()).decode()
    except InvalidToken:
        raise VaultError(NO_KEY_FITS) from None


def derive(purpose: str) -> list[str]:
    """Return the secret of ``purpose`` by each key, in hex: the first is for use, any may be met after a rotation.

    It is HMAC-SHA256, so nothing has to be stored. Raises :class:`VaultError` when no key is set.
    """
    return [hmac.new(key.encode(), purpose.encode(), hashlib.sha256).hexdigest() for key in _keys()]
