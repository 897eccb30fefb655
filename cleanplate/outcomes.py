"""What a step may return: a closed vocabulary of frozen dataclasses, and the error codes a job can end with.

Steps write nothing. Whoever runs a step maps its outcome to a transition, and each ``match`` over a union below
is checked for completeness by the type checker. Standard library only.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class ErrorCode(StrEnum):
    """Why a job failed. The values are part of the public contract; README.md lists them (a test compares)."""

    UPSTREAM_REJECTED = "upstream_rejected"
    UPSTREAM_ERROR = "upstream_error"
    UPSTREAM_TIMEOUT = "upstream_timeout"
    UPSTREAM_CHANGED = "upstream_changed"
    REQUEST_MODERATED = "request_moderated"
    CONTENT_MODERATED = "content_moderated"
    TASK_NOT_FOUND = "task_not_found"
    FOREIGN_HOST = "foreign_host"
    SUBMIT_UNCONFIRMED = "submit_unconfirmed"
    RESULT_INVALID = "result_invalid"
    RESULT_EXPIRED = "result_expired"
    INPUT_MISSING = "input_missing"
    INPUT_INVALID = "input_invalid"
    INPUT_UNREACHABLE = "input_unreachable"
    INPUT_FORBIDDEN = "input_forbidden"
    WORKER_CRASHED = "worker_crashed"


ERROR_MEANINGS: dict[ErrorCode, str] = {
    ErrorCode.UPSTREAM_REJECTED: "The upstream refused the request as invalid (400 or 422); its words are in `detail`.",
    ErrorCode.UPSTREAM_ERROR: "The upstream accepted the task and then ended it with an error.",
    ErrorCode.UPSTREAM_TIMEOUT: "The task stayed pending for longer than the set time. Retry it.",
    ErrorCode.UPSTREAM_CHANGED: "The upstream answered something it has not answered before. Tell the operator.",
    ErrorCode.REQUEST_MODERATED: "The upstream's moderation refused the input.",
    ErrorCode.CONTENT_MODERATED: "The upstream's moderation refused the result.",
    ErrorCode.TASK_NOT_FOUND: "The upstream no longer knows the task that it had accepted. Retry it.",
    ErrorCode.FOREIGN_HOST: "The upstream named a host that is not one of its own; nothing was sent there.",
    ErrorCode.SUBMIT_UNCONFIRMED: "The answer to the submit was lost, and the policy is not to pay twice. Retry it.",
    ErrorCode.RESULT_INVALID: "The result could not be used: damaged, or of another size. Retry it.",
    ErrorCode.RESULT_EXPIRED: "The upstream forgot the result before it could be stored. Retry it.",
    ErrorCode.INPUT_MISSING: "The image or mask is not in the store, or no longer. Upload the pair again.",
    ErrorCode.INPUT_INVALID: "The pair cannot be worked on; `detail` begins with the code of what is wrong with it.",
    ErrorCode.INPUT_UNREACHABLE: "The image or mask could not be fetched; `detail` says what came in its place.",
    ErrorCode.INPUT_FORBIDDEN: "The address of the image or mask is one that nothing is fetched from here.",
    ErrorCode.WORKER_CRASHED: "The picture brought a worker down more than once, so it is left alone.",
}


# -- submit ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Accepted:
    """The upstream has the task and bills it. ``cost`` is in credits, or None when it was not told."""

    task_id: str
    polling_url: str
    cost: float | None


@dataclass(frozen=True, slots=True)
class NotAccepted:
    """The upstream certainly has no task: the connection was never made, or it said 429. Safe to send again."""

    detail: str
    over_limit: bool = False
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Blocked:
    """The account cannot submit at all: no credits (402) or no access (401, 403), which a poll may be told first."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """This job will never be accepted as it is."""

    code: ErrorCode
    detail: str


@dataclass(frozen=True, slots=True)
class Unconfirmed:
    """The request went out and no usable answer came back: the task may exist and be billed."""

    detail: str


SubmitOutcome = Accepted | NotAccepted | Blocked | Rejected | Unconfirmed


# -- poll --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pending:
    """Not yet. ``progress`` is 0 to 1, or None."""

    progress: float | None = None


@dataclass(frozen=True, slots=True)
class ResultReady:
    """The result waits at ``sample_url``, a secret: whoever has it may download."""

    sample_url: str
    cost: float | None


@dataclass(frozen=True, slots=True)
class Ended:
    """The task is over without a result."""

    code: ErrorCode
    detail: str


@dataclass(frozen=True, slots=True)
class NotFound:
    """The upstream does not know the task. Just after the submit that can pass; later it does not."""


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """This poll told nothing (network, 5xx, 429, a broken body). ``retry_after`` is in seconds."""

    detail: str
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Garbled:
    """A 200 that could not be read. Once can be the network; again and again is a change of the upstream."""

    detail: str


PollOutcome = Pending | ResultReady | Ended | NotFound | NoAnswer | Blocked | Garbled


# -- import -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Imported:
    """Image and mask are stored; ``columns`` of the job tell what they are and where they lie."""

    columns: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class NotFetched:
    """Where an input lies did not hand it out now; it may later."""

    detail: str


# -- finalize ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Stored:
    """The result lies in the object store under ``key``."""

    key: str
    width: int
    height: int
    format: str
    bytes: int
    sha256: str
    outside_mask_max_delta: int


@dataclass(frozen=True, slots=True)
class Unusable:
    """What was downloaded is not the result, or its URL no longer works: a fresh URL is needed."""

    code: ErrorCode
    detail: str


@dataclass(frozen=True, slots=True)
class NotDownloaded:
    """The delivery host did not hand the result out now; it may later, for as long as the result's window runs."""

    detail: str


@dataclass(frozen=True, slots=True)
class TryLater:
    """Something that passes is in the way: the network, the store."""

    detail: str


DownloadFailure = NotDownloaded | Unusable
ImportOutcome = Imported | Rejected | NotFetched | TryLater
FinalizeOutcome = Stored | Unusable | Rejected | TryLater


# -- notify ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Delivered:
    """The receiver answered 2xx; ``answer`` is how its body begins."""

    status: int
    answer: str = ""


@dataclass(frozen=True, slots=True)
class Undelivered:
    """Anything else. ``gone`` is 410: the receiver asks to be left alone. ``retry_after`` is in seconds."""

    detail: str
    status: int | None = None
    gone: bool = False
    retry_after: float | None = None
    answer: str | None = None


NotifyOutcome = Delivered | Undelivered
