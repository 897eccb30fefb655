"""``cleanplate watch`` and ``cleanplate download``: a batch that is on the server already."""

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from cleanplate.cli.connect import connect
from cleanplate.cli.exits import Code, end
from cleanplate.cli.manifest import Manifest
from cleanplate.cli.progress import Progress
from cleanplate.cli.refused import settle
from cleanplate.cli.report import Report
from cleanplate.cli.run import Run
from cleanplate.cli.stream import Stream

BatchId = Annotated[str, typer.Argument(metavar="BATCH_ID")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON lines on stdout: items, then a summary.")]
Url = Annotated[str | None, typer.Option(help="The API, if not CLEANPLATE_URL.")]


def watch(batch_id: BatchId, *, as_json: AsJson = False, url: Url = None) -> None:
    """Show how a batch goes on until it has ended."""
    end(lambda: _to_its_end(batch_id, None, as_json=as_json, url=url))


def download(
    batch_id: BatchId,
    out: Annotated[Path, typer.Option(file_okay=False, help="Where the results go.")],
    *,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Save the results of a batch as they come, until it has ended; what is there already stays.

    A file of the same name that this command has not saved there is spared, and told: move it away and run it again.
    """
    end(lambda: _to_its_end(batch_id, out, as_json=as_json, url=url))


def _to_its_end(batch_id: str, out: Path | None, *, as_json: bool, url: str | None) -> Code:
    report = Report(as_json=as_json)
    with (
        Progress("saving" if out else "watching") as progress,
        connect(url, progress) as client,
        Manifest(out) if out else nullcontext() as manifest,
    ):
        run = Run(client, progress, report, manifest)
        follower = Stream(client, client.batch(batch_id))
        run.follow(follower)
        run.until_settled()
        alone = settle([follower.batch], report, progress)
    report.summary(out=out, batches=[batch_id], alone=alone)
    return Code.SOME_FAILED if report.failures else Code.OK
