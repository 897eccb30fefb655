"""Upstream accounts as the settings name them."""

import traceback

import pytest
from pydantic import ValidationError

from cleanplate import settings
from cleanplate.settings import Settings, SettingsError

SECRET = "sk-3c9f"


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for field in Settings.model_fields.values():
        monkeypatch.delenv(str(field.alias), raising=False)


def accounts(entries: str, **more: str) -> list[tuple[str, str, str, int]]:
    """Read ``BFL_API_KEYS``."""
    return [
        (account.name, account.key.get_secret_value(), account.base_url, account.slots)
        for account in Settings(BFL_API_KEYS=entries, **more).upstream_accounts
    ]


def test_one_key_is_the_account_that_is_named_default() -> None:
    here = Settings(BFL_API_KEY=SECRET, BFL_MAX_IN_FLIGHT="7", BFL_BASE_URL="https://api.eu.bfl.ai")
    (account,) = here.upstream_accounts
    assert (account.name, account.base_url, account.slots) == ("default", "https://api.eu.bfl.ai", 7)
    assert account.key.get_secret_value() == SECRET
    assert (here.slots, here.keyless) == (7, False)


def test_without_a_key_there_is_still_one_account_and_everybody_can_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BFL_API_KEY", "BFL_API_KEYS"):
        monkeypatch.setenv(name, "")
    here = Settings()
    assert [account.name for account in here.upstream_accounts] == ["default"]
    assert here.keyless


def test_each_entry_has_a_name_a_key_and_what_it_says_of_its_slots_and_its_region() -> None:
    given = "studio=one;slots=48;region=eu, archive=two==;region=us;slots=3,third=3"
    assert accounts(given) == [
        ("studio", "one", "https://api.eu.bfl.ai", 48),
        ("archive", "two==", "https://api.us.bfl.ai", 3),
        ("third", "3", "https://api.bfl.ai", 24),
    ]
    assert Settings(BFL_API_KEYS=given).slots == 75


def test_what_an_entry_does_not_say_is_what_the_settings_say() -> None:
    more = {"BFL_MAX_IN_FLIGHT": "5", "BFL_BASE_URL": "http://127.0.0.1:9090"}
    assert accounts("a=1,b=2;slots=6;url=https://proxy.example/bfl,c=3;region=global", **more) == [
        ("a", "1", "http://127.0.0.1:9090", 5),
        ("b", "2", "https://proxy.example/bfl", 6),
        ("c", "3", "https://api.bfl.ai", 5),
    ]


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        (SECRET, "entry 1 .*NAME="),
        (f"{SECRET}=", "entry 1 .*no key"),
        ("a=1,b=", "entry 2 .*no key"),
        ("a=1,b= ", "entry 2 .*no key"),
        (f"a={SECRET} {SECRET}", "entry 1 .*no key"),
        ("sk3c9f==", "entry 1 .*no key"),
        (f"={SECRET}", "entry 1 .*NAME="),
        (f"Team A={SECRET}", "entry 1 .*NAME="),
        (f"a={SECRET};slots=0", "slots="),
        (f"a={SECRET};slots=10001", "slots="),
        (f"a={SECRET};slots={SECRET}", "slots="),
        (f"a={SECRET};region=asia", "region="),
        (f"a={SECRET};region=eu;url=https://x.example", "both"),
        (f"a={SECRET};url={SECRET}", "url="),
        (f"a={SECRET};url=https://me:{SECRET}@x.example", "url="),
        (f"a={SECRET};url=http://[{SECRET}", "url="),
        (f"a={SECRET};url=http://{SECRET}\N{CARE OF}.example", "url="),
        (f"a={SECRET};{SECRET}", "semicolon"),
        (f"a={SECRET};slots=1;slots=2", "semicolon"),
        (f"a={SECRET},a=other", "same name"),
        (f"a={SECRET},b={SECRET}", "same key"),
    ],
)
def test_an_entry_that_is_wrong_is_told_by_its_number_and_never_shown(
    entries: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValidationError, match=why) as invalid:
        Settings(BFL_API_KEYS=entries)
    monkeypatch.setenv("BFL_API_KEYS", entries)
    settings.get.cache_clear()
    with pytest.raises(SettingsError, match=why) as told:
        settings.get()
    traces = ["".join(traceback.format_exception(error.value)) for error in (invalid, told)]
    for text in (str(invalid.value), repr(invalid.value), str(told.value), *traces):
        assert "3c9f" not in text


def test_a_key_beside_a_list_of_keys_is_refused_with_the_way_out() -> None:
    with pytest.raises(ValidationError, match="as default=KEY") as error:
        Settings(BFL_API_KEY=SECRET, BFL_API_KEYS="a=1")
    assert SECRET not in str(error.value)


def test_no_key_is_shown_by_printing_settings() -> None:
    here = Settings(BFL_API_KEYS=f"a={SECRET}")
    assert SECRET not in f"{here} {here!r} {here.upstream_accounts}"


def test_other_settings_that_cannot_be_used_are_named_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BFL_MAX_IN_FLIGHT", SECRET)
    settings.get.cache_clear()
    with pytest.raises(SettingsError, match=r"BFL_MAX_IN_FLIGHT: .*integer") as error:
        settings.get()
    assert SECRET not in str(error.value)
