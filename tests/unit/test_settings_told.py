"""Settings that cannot be: they are named, with what would do, and their values are not shown."""

import pytest

from cleanplate import settings
from cleanplate.settings import SettingsError

SECRET = "swordfish"


@pytest.mark.parametrize(
    ("variable", "value", "would_do"),
    [
        ("DATABASE_URL", f"mysql://me:{SECRET}@db.test/x", "postgresql:// or postgresql+psycopg:// or postgres://"),
        ("REDIS_URL", f"http://:{SECRET}@cache.test", "redis:// or rediss://"),
        ("STORAGE_URL", f"/srv/{SECRET}", "s3:// or file:///"),
        ("STORAGE_URL", f"file://{SECRET}/objects", "s3:// or file:///"),
    ],
)
def test_an_address_of_another_kind_is_refused_before_anything_is_tried(
    variable: str, value: str, would_do: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    settings.get.cache_clear()
    with pytest.raises(SettingsError) as error:
        settings.get()
    assert str(error.value) == f"{variable}: does not begin with {would_do}"
