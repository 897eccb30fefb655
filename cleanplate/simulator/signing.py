"""Signed, expiring links in the manner of Azure's shared access signatures, and the signature of a callback."""

import base64
import hashlib
import hmac
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import urlencode

STAMP = "%Y-%m-%dT%H:%M:%SZ"


def sign_link(secret: bytes, path: str, expires_at: float) -> str:
    """Return the query that opens ``path`` until ``expires_at`` (seconds since the epoch; rounded up to whole ones)."""
    stamp = datetime.fromtimestamp(math.ceil(expires_at), UTC).strftime(STAMP)
    return urlencode({"se": stamp, "sp": "r", "sig": _link_signature(secret, path, stamp)})


def opens(secret: bytes, path: str, query: Mapping[str, str], now: float) -> bool:
    """Tell whether ``query`` opens ``path`` at ``now``."""
    stamp = query.get("se", "")
    if not hmac.compare_digest(_link_signature(secret, path, stamp).encode(), query.get("sig", "").encode()):
        return False
    return now < datetime.strptime(stamp, STAMP).replace(tzinfo=UTC).timestamp()


def sign_body(secret: str, body: bytes) -> str:
    """Return the value of ``X-BFL-Signature``."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def _link_signature(secret: bytes, path: str, stamp: str) -> str:
    return base64.b64encode(hmac.digest(secret, f"r\n{stamp}\n{path}".encode(), "sha256")).decode()
