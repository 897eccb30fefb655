"""Poll: one look at a task, and what its answer means."""

from json import JSONDecodeError

import httpx

from cleanplate.outcomes import Ended, ErrorCode, Garbled, NoAnswer, NotFound, Pending, PollOutcome, ResultReady
from worker import bfl

DETAIL_CHARS = 500
ENDINGS = {
    "Error": ErrorCode.UPSTREAM_ERROR,
    "Request Moderated": ErrorCode.REQUEST_MODERATED,
    "Content Moderated": ErrorCode.CONTENT_MODERATED,
}


async def poll(upstream: bfl.Upstream, polling_url: str, delivery_hosts: tuple[str, ...]) -> PollOutcome:
    """GET the task's state once. ``delivery_hosts`` are those a result may lie on."""
    try:
        response = await upstream.poll(polling_url)
    except bfl.ForeignHostError as error:
        return Ended(ErrorCode.FOREIGN_HOST, f"the polling address is on a foreign host: {error}")
    except (bfl.NeverSentError, bfl.NoAnswerError) as error:
        return NoAnswer(f"no answer to a poll ({error})")
    if response.status_code == httpx.codes.NOT_FOUND:
        return NotFound()
    if response.status_code != httpx.codes.OK:
        return NoAnswer(f"the upstream answered {response.status_code} to a poll", bfl.retry_after(response))
    return _meaning(response, delivery_hosts)


def _meaning(response: httpx.Response, delivery_hosts: tuple[str, ...]) -> PollOutcome:
    try:
        answer = response.json()
        status = answer["status"]
        if status == "Pending":
            return Pending(answer.get("progress"))
        if status == "Ready":
            return _ready(answer["result"]["sample"], answer.get("cost"), delivery_hosts)
    except (JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError, AttributeError):
        return Garbled("the upstream's answer to a poll could not be read")
    if status == "Task not found":
        return NotFound()
    if status in ENDINGS:
        return Ended(ENDINGS[status], f"{status}: {answer.get('details') or 'no details'}"[:DETAIL_CHARS])
    return Ended(ErrorCode.UPSTREAM_CHANGED, f"the upstream gave an unknown status: {str(status)[:100]!r}")


def _ready(sample_url: object, cost: object, delivery_hosts: tuple[str, ...]) -> PollOutcome:
    if not isinstance(sample_url, str):
        return Garbled("the upstream named no result")
    if not bfl.host_allowed(sample_url, delivery_hosts):
        return Ended(ErrorCode.FOREIGN_HOST, "the result lies on a foreign host; nothing was fetched from there")
    return ResultReady(sample_url, float(cost) if isinstance(cost, int | float) else None)
