"""The environment that a stack gives its processes: all that was set, and what it made up for the rest."""

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from cleanplate.local.files import write_private
from cleanplate.settings import Settings

SIMULATOR_KEY = "simulator"


def exported(settings: Settings) -> dict[str, str]:
    """Return the variables that make another process read these very settings; defaults are left out."""
    fields = type(settings).model_fields
    values = {fields[name].alias: getattr(settings, name) for name in settings.model_fields_set}
    return {alias: _text(value) for alias, value in values.items() if alias and value is not None}


def base(settings: Settings, data_dir: Path) -> dict[str, str]:
    """Return what every process of ours gets, whichever servers it will talk to."""
    mine = {"CLEANPLATE_DATA_DIR": str(data_dir), "PYTHONUNBUFFERED": "1"}
    if "storage_url" not in settings.model_fields_set:
        mine["STORAGE_URL"] = (data_dir / "objects").as_uri()
    if not settings.secret_keys:
        mine["CLEANPLATE_SECRET_KEYS"] = _secret_key(data_dir / "secret-key")
    return {**os.environ, **exported(settings), **mine}


def of_simulator(urls: Mapping[str, str]) -> dict[str, str]:
    """Return what makes a process take the simulator for the upstream, from the URLs it prints when it is ready."""
    return {
        "BFL_API_KEY": SIMULATOR_KEY,
        "BFL_BASE_URL": urls["base_url"],
        "BFL_HOSTS": ",".join(_host(urls[site]) for site in ("base_url", "polling_url")),
        "BFL_DELIVERY_HOSTS": _host(urls["delivery_url"]),
    }


def _host(url: str) -> str:
    return urlsplit(url).hostname or ""


def _secret_key(file: Path) -> str:
    from cryptography.fernet import Fernet

    if not file.exists():
        write_private(file, Fernet.generate_key().decode())
    return file.read_text(encoding="utf-8")


def _text(value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, tuple):
        return ",".join(map(_text, value))
    return str(value)
