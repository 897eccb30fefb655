"""``cleanplate retry``: send again what failed, from what is stored on the server."""

from typing import Annotated

import typer

from cleanplate.cli.connect import connect
from cleanplate.cli.exits import Code, end, is_batch
from cleanplate.cli.progress import Progress
from cleanplate.resources import Batch, Job
from cleanplate.retrying import NewParams, Retrying, RetryingBatch


def retry(
    id_: Annotated[str, typer.Argument(metavar="BATCH_ID|JOB_ID")],
    *,
    dilate: Annotated[int | None, typer.Option(min=0, max=100, help="Other than before, pixels to grow by.")] = None,
    cancelled: Annotated[bool, typer.Option("--cancelled", help="Send what was cancelled, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The API's answer on stdout.")] = False,
    url: Annotated[str | None, typer.Option(help="The API, if not CLEANPLATE_URL.")] = None,
) -> None:
    """Send again what failed, as a new batch or job with the same photos.

    `watch` and `download` follow it. A folder that `erase` sent is retried by `erase --retry-failed`.
    """

    def work() -> Code:
        params = NewParams() if dilate is None else NewParams(dilate_pixels=dilate)
        with Progress("retrying") as progress, connect(url, progress) as client:
            answer: Batch | Job
            if is_batch(id_):
                answer = client.retry_batch(id_, RetryingBatch(params=params, cancelled=cancelled))
            else:
                answer = client.retry_job(id_, Retrying(params=params, cancelled=cancelled))
        typer.echo(answer.model_dump_json() if as_json else described(answer))
        return Code.OK

    end(work, resumable=False)


def described(answer: Batch | Job) -> str:
    """Return what a person should know of what was made."""
    if isinstance(answer, Batch):
        return f"{answer.counts.total} jobs go again as batch {answer.id}"
    return f"it goes again as job {answer.id}"
