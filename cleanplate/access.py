"""How to reach each upstream account: what ``BFL_API_KEYS`` says. No message shows any part of an entry."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from pydantic import SecretStr

DEFAULT: Final = "default"
"""The name of the account of ``BFL_API_KEY``."""
REGIONS: Final = {"global": "https://api.bfl.ai", "eu": "https://api.eu.bfl.ai", "us": "https://api.us.bfl.ai"}
"""By the vendor's documentation of its endpoints."""
SLOTS_MOST: Final = 10_000
NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}", re.ASCII)
KEY: Final = re.compile(r"(?=.*[A-Za-z0-9])[!-~]+", re.ASCII)
OPTIONS: Final = ("slots", "region", "url")


@dataclass(frozen=True, slots=True)
class Access:
    """An account of ours at the upstream: ``slots`` is how many tasks it may hold at once."""

    name: str
    key: SecretStr
    base_url: str
    slots: int


def parse(entries: Sequence[SecretStr], base_url: str, slots: int) -> tuple[Access, ...]:
    """Return the accounts of ``entries``, in their order; ``base_url`` and ``slots`` are for those that name none.

    Raises ``ValueError``, which says what is wrong with which entry and shows nothing of it.
    """
    accounts = []
    for number, entry in enumerate(entries, 1):
        try:
            accounts.append(_parse(entry.get_secret_value(), base_url, slots))
        except ValueError as error:
            raise ValueError(f"entry {number} of BFL_API_KEYS {error}") from None
    if len({account.name for account in accounts}) < len(accounts):
        raise ValueError("two entries of BFL_API_KEYS have the same name")
    if len({account.key.get_secret_value() for account in accounts}) < len(accounts):
        raise ValueError("two entries of BFL_API_KEYS have the same key: its slots would be counted twice")
    return tuple(accounts)


def _parse(entry: str, base_url: str, slots: int) -> Access:
    account, *given = (part.strip() for part in entry.split(";"))
    name, equals, key = account.partition("=")
    if not equals or not NAME.fullmatch(name):
        raise ValueError("must begin with NAME=, a name of lower-case letters, digits, - and _")
    if not KEY.fullmatch(key):
        raise ValueError("has no key after its NAME=")
    options = _options(given)
    if "slots" in options:
        slots = _slots(options["slots"])
    if "region" in options:
        base_url = _region(options["region"])
    if "url" in options:
        base_url = _url(options["url"])
    return Access(name, SecretStr(key), base_url, slots)


def _options(given: Sequence[str]) -> dict[str, str]:
    options: dict[str, str] = {}
    for option in given:
        what, _, value = option.partition("=")
        if what not in OPTIONS or what in options:
            raise ValueError("has, after a semicolon, something else than one slots=, region= or url=")
        options[what] = value
    if {"region", "url"} <= options.keys():
        raise ValueError("has both a region= and a url=")
    return options


def _slots(value: str) -> int:
    if not value.isdecimal() or not 1 <= int(value) <= SLOTS_MOST:
        raise ValueError(f"has slots= that are no number from 1 to {SLOTS_MOST}")
    return int(value)


def _region(value: str) -> str:
    if value not in REGIONS:
        raise ValueError(f"has a region= that is none of {', '.join(REGIONS)}")
    return REGIONS[value]


def _url(value: str) -> str:
    wrong = ValueError("has a url= that is no address by https")
    try:
        parts = urlsplit(value)
    except ValueError:
        raise wrong from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username is not None:
        raise wrong
    return value
