import pytest

from cleanplate.local import environment
from cleanplate.settings import Settings


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for field in Settings.model_fields.values():
        monkeypatch.delenv(str(field.alias), raising=False)


def test_defaults_are_not_exported() -> None:
    assert environment.exported(Settings()) == {}


def test_every_setting_reads_the_same_in_a_process_that_gets_the_exported_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "BFL_API_KEYS": "one=key;slots=3;region=eu,two=other",
        "BFL_HOSTS": ".one.example,two.example",
        "BFL_MAX_IN_FLIGHT": "7",
        "CLEANPLATE_ALLOW_PRIVATE_NETWORKS": "127.0.0.0/8,fd00::/8",
        "CLEANPLATE_COST_CREDITS": "2.5",
        "CLEANPLATE_DATA_DIR": "/srv/clean plate",
        "CLEANPLATE_SECRET_KEYS": "first,second",
        "CLEANPLATE_UNCONFIRMED": "fail",
        "DATABASE_URL": "postgresql://user:word@host/name?a=b",
    }
    there = Settings(**values)
    exported = environment.exported(there)
    assert set(exported) == set(values)
    for name, value in exported.items():
        monkeypatch.setenv(name, value)
    assert Settings() == there


def test_the_simulators_ready_line_becomes_the_settings_of_the_upstream(monkeypatch: pytest.MonkeyPatch) -> None:
    sites = ("base_url", "polling_url", "delivery_url")
    ready = {site: f"http://127.0.0.{host}:9" for host, site in enumerate(sites, start=1)}
    for name, value in environment.of_simulator(ready).items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.bfl_base_url == "http://127.0.0.1:9"
    assert settings.bfl_hosts == ("127.0.0.1", "127.0.0.2")
    assert settings.bfl_delivery_hosts == ("127.0.0.3",)
    assert settings.bfl_api_key
    assert settings.bfl_api_key.get_secret_value() == "simulator"
