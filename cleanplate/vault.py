"""Secrets that must be readable again (webhook signing secrets): encrypted at rest with rotatable Fernet keys."""

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from cleanplate import settings


class VaultError(RuntimeError):
    """No key is set, or none of the keys fits: set ``CLEANPLATE_SECRET_KEYS`` to what the secrets were written with."""


def _box() -> MultiFernet:
    keys = settings.get().secret_keys
    if not keys:
        raise VaultError("CLEANPLATE_SECRET_KEYS is not set: make a key with `cleanplate keys fernet` and set it")
    return MultiFernet([Fernet(key.get_secret_value()) for key in keys])


def seal(secret: str) -> str:
    """Return ``secret`` encrypted with the first key."""
    return _box().encrypt(secret.encode()).decode()


def open_sealed(sealed: str) -> str:
    """Return the secret that :func:`seal` was given. Raises :class:`VaultError` when no key fits."""
    try:
        return _box().decrypt(sealed.encode()).decode()
    except InvalidToken:
        raise VaultError("none of CLEANPLATE_SECRET_KEYS opens this secret; add the key it was sealed with") from None
