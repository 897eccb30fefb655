"""``cleanplate release``: let go what is held of a batch."""

from typing import Annotated

import typer

from cleanplate.cli.connect import connect
from cleanplate.cli.exits import Code, end
from cleanplate.cli.progress import Progress


def release(
    batch_id: Annotated[str, typer.Argument(metavar="BATCH_ID")],
    *,
    budget: Annotated[float | None, typer.Option(min=0.0, help="Credits it may cost from now on.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The API's answer on stdout.")] = False,
    url: Annotated[str | None, typer.Option(help="The API, if not CLEANPLATE_URL.")] = None,
) -> None:
    """Let the rest of a canary go, or of a batch that reached its budget, with a higher one.

    The `erase` that sent the photos fetches their results when it is run again.
    """

    def work() -> Code:
        with Progress("releasing") as progress, connect(url, progress) as client:
            batch = client.release(batch_id, budget)
        counts = batch.counts
        told = f"{counts.total - counts.succeeded - counts.failed - counts.cancelled} jobs of {batch_id} may go"
        typer.echo(batch.model_dump_json() if as_json else told)
        return Code.OK

    end(work, resumable=False)
