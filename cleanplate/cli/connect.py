"""The client that commands talk through, from the settings."""

from pathlib import Path
from urllib.parse import urlsplit

from cleanplate import settings
from cleanplate.cli.exits import UsageError
from cleanplate.cli.progress import Progress
from cleanplate.client import Client
from cleanplate.connection import LOOPBACK


def connect(url: str | None, progress: Progress) -> Client:
    """Return a client of ``url``, or of CLEANPLATE_URL. Raises :class:`UsageError` when that is no http(s) address.

    The key is CLEANPLATE_API_KEY; without one, for a server on this machine, that of ``cleanplate up`` in the data
    directory. A key is never taken from the command line, where others could see it.
    """
    here = settings.get()
    address = url or here.url
    try:
        key = here.api_key.get_secret_value() if here.api_key else _local_key(address, here.data_dir)
        return Client(address, key, on_wait=progress.note)
    except ValueError as error:
        raise UsageError(f"CLEANPLATE_URL or --url: {error}") from error


def _local_key(url: str, data_dir: Path) -> str | None:
    from cleanplate.local.stack import key_file

    file = key_file(data_dir)
    if urlsplit(url).hostname not in LOOPBACK or not file.is_file():
        return None
    return file.read_text(encoding="utf-8").strip()
