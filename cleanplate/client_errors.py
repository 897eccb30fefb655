"""Why a call of the client has no answer; every text is for a person, and none holds a key."""

from typing import Any

import httpx


class ClientError(Exception):
    """What kept a call from its answer, in words for a person."""


class UnreachableError(ClientError):
    """No answer within the client's patience, or only ones that said "later"."""


class AbortedError(ClientError):
    """The client was told to give up, by ``Client.abort``."""


class CutLineError(ClientError):
    """Line after line of a stream broke before it had told anything."""


class UnusableAnswerError(ClientError):
    """The answer is not what this API answers: another server, or bytes damaged on the way."""


class ApiError(ClientError):
    """The API refused. ``code`` is stable, ``errors`` name the fields or items concerned (RFC 9457)."""

    def __init__(self, response: httpx.Response) -> None:
        try:
            problem = response.json()
        except ValueError:
            problem = None
        told: dict[str, Any] = problem if isinstance(problem, dict) else {}
        self.status = response.status_code
        self.code = str(told.get("code") or f"http_{response.status_code}")
        self.detail = str(told.get("detail") or told.get("title") or response.reason_phrase)
        self.request_id = told.get("request_id") or response.headers.get("x-request-id")
        self.errors: list[dict[str, Any]] = told.get("errors") or []
        self.retry_after = response.headers.get("retry-after")
        super().__init__(f"{self.status} {self.code}: {self.detail}")


class AuthError(ApiError):
    """401 or 403: no key, a wrong one, or one that may not do this."""


class CreditsError(ApiError):
    """402: this would cost more than there is."""


class NotFoundError(ApiError):
    """404: nothing of that id belongs to this key."""


KINDS = {401: AuthError, 402: CreditsError, 403: AuthError, 404: NotFoundError}


def refusal(response: httpx.Response) -> ApiError:
    """Return the error that an answer other than a success stands for."""
    return KINDS.get(response.status_code, ApiError)(response)
