"""Public ids: a prefix that tells the kind, and a UUIDv7 in hex, so that ids sort by the time they were made."""

from datetime import datetime
from enum import StrEnum

import uuid_utils


class Kind(StrEnum):
    """The kinds of ids that clients see."""

    JOB = "job"
    BATCH = "bat"
    UPLOAD = "upl"
    ENDPOINT = "whe"
    EVENT = "evt"
    DELIVERY = "dlv"
    LISTENER = "lsn"
    KEY = "key"
    TENANT = "ten"


def new(kind: Kind) -> str:
    """Return a fresh id such as ``job_0198f2...``: 36 characters, sortable by time."""
    return f"{kind}_{uuid_utils.uuid7().hex}"


def least(kind: Kind, at: datetime, *, plus_seconds: float = 0.0) -> str:
    """Return what sorts before every id of ``kind`` that is made at this time or later, by the maker's clock.

    A UUIDv7 begins with 48 bits of milliseconds since 1970 (RFC 9562).
    """
    return f"{kind}_{max(0, int((at.timestamp() + plus_seconds) * 1000)):012x}"
