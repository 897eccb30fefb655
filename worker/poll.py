"""Poll: one look at a task, and what its answer means."""

from http import HTTPStatus

from cleanplate.outcomes import (
    Blocked,
    Ended,
    ErrorCode,
    Garbled,
    NoAnswer,
    NotFound,
    Pending,
    PollOutcome,
    ResultReady,
)
from worker import bfl

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
    if response.status == HTTPStatus.NOT_FOUND:
        return NotFound()
    if response.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return Blocked("access", f"the upstream refuses the key ({response.status}) to a poll")
    if response.status != HTTPStatus.OK:
        return NoAnswer(f"the upstream answered {response.status} to a poll", bfl.retry_after(response))
    return _meaning(response, delivery_hosts)


def _meaning(response: bfl.Answer, delivery_hosts: tuple[str, ...]) -> PollOutcome:
    try:
        answer = response.json()
        status = answer["status"]
        if status == "Ready":
            return _ready(answer["result"]["sample"], answer.get("cost"), delivery_hosts)
    except bfl.UNREADABLE:
        return Garbled("the upstream's answer to a poll could not be read")
    if not isinstance(status, str):
        return Garbled("the upstream named no status")
    if status == "Pending":
        return Pending(answer.get("progress"))
    if status == "Task not found":
        return NotFound()
    code = ENDINGS.get(status, ErrorCode.UPSTREAM_CHANGED)
    return Ended(code, bfl.words(f"{status}: {answer.get('details') or 'no details'}"))


def _ready(sample_url: object, cost: object, delivery_hosts: tuple[str, ...]) -> PollOutcome:
    if not isinstance(sample_url, str):
        return Garbled("the upstream named no result")
    if not bfl.host_allowed(sample_url, delivery_hosts):
        return Ended(ErrorCode.FOREIGN_HOST, "the result lies on a foreign host; nothing was fetched from there")
    return ResultReady(sample_url, bfl.cost(cost))
