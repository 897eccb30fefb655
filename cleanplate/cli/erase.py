"""``cleanplate erase``: a folder or a ZIP of photos in, a folder of erased photos out."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import typer
from pydantic import ValidationError

from cleanplate.cli.archive import Archive
from cleanplate.cli.connect import connect
from cleanplate.cli.exits import Code, UsageError, end
from cleanplate.cli.folder import Folder
from cleanplate.cli.manifest import Manifest
from cleanplate.cli.progress import Progress
from cleanplate.cli.report import Report
from cleanplate.cli.run import Run
from cleanplate.client import Client
from cleanplate.resources import BatchOptions, Rejection


class Source(Protocol):
    """What is to be erased. Making one raises :class:`UsageError` when there is nothing."""

    def dry_run(self, manifest: Manifest, connect: Callable[[], Client]) -> str:
        """Return what would be done, for a person; nothing is stored or paid. ``manifest`` is not open."""

    def start(self, run: Run, client: Client, manifest: Manifest, report: Report) -> None:
        """Take up what earlier runs left, and send what is left to send."""

    def alone(self, report: Report) -> Sequence[Rejection]:
        """Return the files that are no items, when all is settled; report items that never became a job."""


def erase(
    photos: Annotated[Path, typer.Argument(metavar="DIR|ZIP", exists=True, help="Photos and their masks.")],
    out: Annotated[Path, typer.Option(file_okay=False, help="Where the results go.")],
    dilate: Annotated[int, typer.Option(min=0, max=100, help="Pixels by which each mask grows.")] = 10,
    output_format: Annotated[Literal["png", "jpeg", "webp"], typer.Option("--format", help="Of the results.")] = "png",
    mask_invert: Annotated[bool, typer.Option("--mask-invert", help="The masks are black where to erase.")] = False,
    mask_suffix: Annotated[str, typer.Option(help="NAME_mask.png is the mask of NAME.jpg.")] = "_mask",
    name: Annotated[str | None, typer.Option(help="The batch's name on the server, if not that of the photos.")] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Send again what failed in earlier runs.")
    ] = False,
    canary: Annotated[int | None, typer.Option(min=1, help="Stop after so many, until they are released.")] = None,
    budget: Annotated[float | None, typer.Option(help="Credits that what is sent now may cost.")] = None,
    no_reuse: Annotated[
        bool,
        typer.Option("--no-reuse", help="Pay anew also for a photo that your team has had erased in the same way."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be sent; of a ZIP the server does.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON lines on stdout: items, then a summary.")] = False,
    url: Annotated[str | None, typer.Option(help="The API, if not CLEANPLATE_URL.")] = None,
    once: Annotated[bool, typer.Option("--once", hidden=True, help="There will be no server to resume with.")] = False,
) -> None:
    """Erase what the masks cover from every photo in DIR and its subfolders, or in ZIP.

    NAME.jpg is paired with NAME_mask.png. Results are saved as they come, under the same names. Run the same command
    again after an interrupt or a crash: nothing is uploaded, paid for or downloaded twice. Photos that are new or have
    changed, and other params, make a further batch of just these. The key is read from CLEANPLATE_API_KEY.

    A ZIP goes as one request, with its manifest.csv if it has one. Where the line breaks, or the ZIP has gigabytes,
    unpack it: a folder is sent a few photos at a time.
    """

    def work() -> Code:
        params = {"dilate_pixels": dilate, "output_format": output_format, "mask_invert": mask_invert}
        limits = {"canary": canary, "budget_credits": budget}
        how = {"name": name or photos.resolve().stem[:200], "mask_suffix": mask_suffix, "reuse": not no_reuse}
        options = _options(**how, params=params, seal=False, **limits)
        with Progress("erasing") as progress:
            if photos.is_file():
                source: Source = Archive(photos, options, progress, retry_failed=retry_failed)
            else:
                source = Folder(photos, out, options, progress, retry_failed=retry_failed)
            if dry_run:
                typer.echo(source.dry_run(Manifest(out), lambda: connect(url, progress)))
                return Code.OK
            with Manifest(out) as manifest, connect(url, progress) as client:
                report = Report(as_json=as_json)
                run = Run(client, progress, report, manifest)
                try:
                    source.start(run, client, manifest, report)
                    run.until_settled()
                except KeyboardInterrupt:
                    for batch_id in () if once else run.going_on():
                        progress.say(f"the server goes on; `cleanplate cancel {batch_id}` stops it")
                    raise
                alone = source.alone(report)
        report.summary(out=out, batches=list(manifest.batches), alone=alone)
        return Code.SOME_FAILED if report.failures else Code.OK

    end(work, resumable=not once)


def _options(**given: Any) -> BatchOptions:
    try:
        return BatchOptions.model_validate(given)
    except ValidationError as error:
        wrong = error.errors()[0]
        raise UsageError(f"{wrong['loc'][-1]}: {wrong['msg']}") from error
