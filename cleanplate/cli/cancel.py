"""``cleanplate cancel``: stop a batch or a job, and hear what that saves."""

from typing import Annotated

import typer

from cleanplate.cancelled import CancelledBatch, CancelledJob
from cleanplate.cli.connect import connect
from cleanplate.cli.exits import Code, end, is_batch
from cleanplate.cli.progress import Progress
from cleanplate.states import InFlight

POLICIES = {
    InFlight.FINISH: "come to their ends",
    InFlight.ABANDON: "are abandoned: paid, and their results not stored",
}


def cancel(
    id_: Annotated[str, typer.Argument(metavar="BATCH_ID|JOB_ID")],
    *,
    abandon: Annotated[
        bool, typer.Option("--abandon", help="Do not store what is in flight either; it is paid all the same.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The API's answer on stdout.")] = False,
    url: Annotated[str | None, typer.Option(help="The API, if not CLEANPLATE_URL.")] = None,
) -> None:
    """Stop what was not submitted yet, for good; what is in flight is finished, or abandoned.

    Photos that were stopped are sent again by the `erase` that sent them, with --retry-failed.
    """

    def work() -> Code:
        in_flight = InFlight.ABANDON if abandon else InFlight.FINISH
        with Progress("cancelling") as progress, connect(url, progress) as client:
            call = client.cancel_batch if is_batch(id_) else client.cancel_job
            answer = call(id_, in_flight)
        typer.echo(answer.model_dump_json() if as_json else described(answer))
        return Code.OK

    end(work, resumable=False)


def described(answer: CancelledBatch | CancelledJob) -> str:
    """Return what a person should know of what was saved."""
    saved = answer.saved
    told = f"{saved.stopped} stopped before they cost anything (about {saved.credits:g} credits saved)"
    return told + (f"; {saved.in_flight} in flight {POLICIES[saved.in_flight_policy]}" if saved.in_flight else "")
