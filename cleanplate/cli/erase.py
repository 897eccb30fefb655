"""``cleanplate erase``: a folder of photos in, a folder of erased photos out."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from pydantic import ValidationError

from cleanplate import settings
from cleanplate.cli import plan as planning
from cleanplate.cli.connect import connect
from cleanplate.cli.exits import Code, UsageError, end
from cleanplate.cli.manifest import Manifest
from cleanplate.cli.plan import Photos, Plan
from cleanplate.cli.progress import Progress
from cleanplate.cli.report import Report, described, listed
from cleanplate.cli.run import Run
from cleanplate.cli.start import start
from cleanplate.resources import BatchOptions, Params


def erase(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", exists=True, file_okay=False, help="Photos and their masks.")
    ],
    out: Annotated[Path, typer.Option(file_okay=False, help="Where the results go.")],
    dilate: Annotated[int, typer.Option(min=0, max=100, help="Pixels by which each mask grows.")] = 10,
    output_format: Annotated[Literal["png", "jpeg", "webp"], typer.Option("--format", help="Of the results.")] = "png",
    mask_suffix: Annotated[str, typer.Option(help="NAME_mask.png is the mask of NAME.jpg.")] = "_mask",
    name: Annotated[str | None, typer.Option(help="The batch's name on the server; DIR's if not given.")] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Send again what failed in earlier runs.")
    ] = False,
    canary: Annotated[int | None, typer.Option(min=1, help="Stop after so many, until they are released.")] = None,
    budget: Annotated[float | None, typer.Option(help="Credits that what is sent now may cost.")] = None,
    no_reuse: Annotated[
        bool,
        typer.Option("--no-reuse", help="Pay anew also for a photo that your team has had erased in the same way."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent; send nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON lines on stdout: items, then a summary.")] = False,
    url: Annotated[str | None, typer.Option(help="The API, if not CLEANPLATE_URL.")] = None,
    once: Annotated[bool, typer.Option("--once", hidden=True, help="There will be no server to resume with.")] = False,
) -> None:
    """Erase what the masks cover from every photo in DIR and its subfolders.

    NAME.jpg is paired with NAME_mask.png. Results are saved as they come, under the same names. Run the same command
    again after an interrupt or a crash: nothing is uploaded, paid for or downloaded twice. Photos that are new or have
    changed, and other params, make a further batch of just these. The key is read from CLEANPLATE_API_KEY.
    """

    def work() -> Code:
        params = {"dilate_pixels": dilate, "output_format": output_format}
        limits = {"canary": canary, "budget_credits": budget}
        how = {"name": name or folder.resolve().name[:200], "mask_suffix": mask_suffix, "reuse": not no_reuse}
        options = _options(**how, params=params, seal=False, **limits)
        with Progress("erasing") as progress:
            photos = _look(folder, out, mask_suffix, progress)
            if dry_run:
                return _dry_run(photos, out, options.params, retry_failed=retry_failed)
            with Manifest(out) as manifest, connect(url, progress) as client:
                report = Report(as_json=as_json)
                plan = planning.make(photos, out, manifest.items, options.params, retry_failed=retry_failed)
                _tell_earlier(plan, report, progress)
                run = Run(client, progress, report, manifest)
                try:
                    start(run, client, manifest, plan, photos, options, progress)
                    run.until_settled()
                except KeyboardInterrupt:
                    for batch_id in () if once else run.going_on():
                        progress.say(f"the server goes on; `cleanplate cancel {batch_id}` stops it")
                    raise
        report.summary(out=out, batches=list(manifest.batches), alone=photos.alone)
        return Code.SOME_FAILED if report.failures else Code.OK

    end(work, resumable=not once)


def _options(**given: Any) -> BatchOptions:
    try:
        return BatchOptions.model_validate(given)
    except ValidationError as error:
        wrong = error.errors()[0]
        raise UsageError(f"{wrong['loc'][-1]}: {wrong['msg']}") from error


def _look(folder: Path, out: Path, mask_suffix: str, progress: Progress) -> Photos:
    if folder.resolve().is_relative_to(out.resolve()):
        raise UsageError(f"{out} holds the photos themselves; name another folder in --out")
    photos = planning.look(folder, out, mask_suffix)
    if photos.alone:
        lines = [f"{fault.item}: {fault.detail}" for fault in photos.alone]
        progress.say(listed(f"{len(lines)} files are left aside:", lines))
    if not photos.pairs:
        raise UsageError(f"there are no pairs in {folder}: NAME.jpg needs NAME{mask_suffix}.png beside it")
    return photos


def _dry_run(photos: Photos, out: Path, params: Params, *, retry_failed: bool) -> Code:
    if not (manifest := Manifest(out)).path.exists():
        plan = planning.make(photos, out, {}, params, retry_failed=retry_failed)
    else:
        with manifest:
            plan = planning.make(photos, out, manifest.items, params, retry_failed=retry_failed)
    megabytes = sum(map(photos.bytes, plan.send)) / 1e6
    credits_ = len(plan.send) * settings.get().cost_credits
    typer.echo(
        f"{len(photos.pairs)} pairs: {len(plan.send)} to send ({megabytes:.1f} MB, about {credits_:g} credits), "
        f"{len(plan.follow)} on their way, {len(plan.fetch)} to download again, "
        f"{len(plan.done)} done, {len(plan.failed)} failed"
    )
    return Code.OK


def _tell_earlier(plan: Plan, report: Report, progress: Progress) -> None:
    for line in plan.done + plan.failed:
        report.item(line, earlier=True)
    if plan.failed:
        heading = f"{len(plan.failed)} failed in an earlier run (--retry-failed sends them again):"
        progress.say(listed(heading, [described(line) for line in plan.failed]))
