"""Public ids: a prefix that tells the kind, and a UUIDv7 in hex, so that ids sort by the time they were made."""

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
    KEY = "key"
    TENANT = "ten"


def new(kind: Kind) -> str:
    """Return a fresh id such as ``job_0198f2...``: 36 characters, sortable by time."""
    return f"{kind}_{uuid_utils.uuid7().hex}"
