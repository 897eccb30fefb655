"""Submit: one paid POST, and what its answer means. Nothing is ever sent twice from here."""

from http import HTTPStatus
from typing import Any

from cleanplate.outcomes import Accepted, Blocked, ErrorCode, NotAccepted, Rejected, SubmitOutcome, Unconfirmed
from worker import bfl

URL_CHARS = 2048


def fields(params: dict[str, Any]) -> dict[str, Any]:
    """Return the upstream's fields for a job's params. PNG is asked for always: the stored format is made here."""
    sent = {"dilate_pixels": params.get("dilate_pixels", 10), "output_format": "png"}
    sent |= {name: params[name] for name in ("seed", "safety_tolerance") if params.get(name) is not None}
    return sent


async def submit(upstream: bfl.Upstream, body: bytes) -> SubmitOutcome:
    """POST ``body`` once and return what is now known about the task."""
    try:
        response = await upstream.submit(body)
    except bfl.NeverSentError as error:
        return NotAccepted(f"no connection to the upstream ({error})")
    except bfl.ForeignHostError as error:
        return Blocked("configuration", f"the account's address is not at one of BFL_HOSTS ({error}); nothing was sent")
    except bfl.NoAnswerError as error:
        return Unconfirmed(f"no answer to the submit ({error})")
    return _meaning(upstream, response)


def _meaning(upstream: bfl.Upstream, response: bfl.Answer) -> SubmitOutcome:
    status, words = response.status, bfl.words(response.body.decode(errors="replace"))
    match status:
        case 200 | 201 | 202:
            outcome = _accepted(upstream, response)
        case 429:
            outcome = NotAccepted("the upstream's limit (429)", over_limit=True, retry_after=bfl.retry_after(response))
        case 402:
            outcome = Blocked("credits", f"the upstream account is out of credits (402): {words}")
        case 401 | 403:
            outcome = Blocked("access", f"the upstream refuses the key ({status}): {words}")
        case 400 | 413 | 422:
            outcome = Rejected(ErrorCode.UPSTREAM_REJECTED, f"{status}: {words}")
        case _ if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            outcome = Unconfirmed(f"the upstream answered {status}")
        case _:
            outcome = Blocked("unexpected", f"the upstream answered {status} to a submit: {words}")
    return outcome


def _accepted(upstream: bfl.Upstream, response: bfl.Answer) -> SubmitOutcome:
    try:
        answer = response.json()
        task_id = answer["id"]
        url = answer.get("polling_url") or upstream.polling_url(task_id)
        return Accepted(bfl.words(task_id), bfl.words(url, URL_CHARS), bfl.cost(answer.get("cost")))
    except bfl.UNREADABLE:
        return Unconfirmed("the upstream's answer to the submit could not be read")
