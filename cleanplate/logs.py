"""Logging: one line an event on stderr, and no secret in any of them."""

import logging
import re
import sys
from typing import Final

FORMAT: Final = "%(asctime)s %(levelname)s %(name)s %(message)s"
SECRETS: Final = re.compile(
    r"\b(?P<key>cp_|whsec_)[A-Za-z0-9_\-+/=]+"
    r"|(?P<param>[?&;](?:sig|signature|token|X-Amz-(?:Signature|Credential|Security-Token))=)[^&\s\"']+"
    r"|(?P<userinfo>://[^/\s:@]*:)[^/\s?#]+(?=@)",
    re.IGNORECASE,
)
QUIET: Final = ("httpx", "httpcore", "botocore", "boto3", "urllib3", "aiohttp.access", "kombu", "multipart", "alembic")


class Redacting(logging.Formatter):
    """Blanks what looks like a key, a signature in an address or a password, traces included."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return SECRETS.sub(_blank, super().format(record))


def _blank(match: re.Match[str]) -> str:
    kept = match["key"] or match["param"] or match["userinfo"] or ""
    return f"{kept}***"


def setup(level: str) -> None:
    """Send everything of ``level`` and above to stderr, libraries that are chatty from WARNING on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Redacting(FORMAT))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
