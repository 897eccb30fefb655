"""A folder of photos, sent a few pairs at a time."""

from collections.abc import Callable, Sequence
from pathlib import Path

from cleanplate import settings
from cleanplate.cli import plan as planning
from cleanplate.cli.exits import UsageError
from cleanplate.cli.manifest import Manifest
from cleanplate.cli.plan import Plan
from cleanplate.cli.progress import Progress
from cleanplate.cli.report import Report, described, listed
from cleanplate.cli.run import Run
from cleanplate.cli.saving import place
from cleanplate.cli.start import start
from cleanplate.client import Client
from cleanplate.resources import BatchOptions, Rejection


class Folder:
    """The photos of a folder, with the options of the batch that they would go into, and where results go."""

    def __init__(self, path: Path, out: Path, options: BatchOptions, progress: Progress, *, retry_failed: bool) -> None:
        if path.resolve().is_relative_to(out.resolve()):
            raise UsageError(f"{out} holds the photos themselves; name another folder in --out")
        self._photos = planning.look(path, out, options.mask_suffix)
        self._out = out
        self._options = options
        self._progress = progress
        self._retry_failed = retry_failed
        if self._photos.alone:
            lines = [f"{fault.item}: {fault.detail}" for fault in self._photos.alone]
            progress.say(listed(f"{len(lines)} files are left aside:", lines))
        if not self._photos.pairs:
            raise UsageError(f"there are no pairs in {path}: NAME.jpg needs NAME{options.mask_suffix}.png beside it")

    def dry_run(self, manifest: Manifest, _: Callable[[], Client]) -> str:
        """Tell from the disk alone: to let the server look would be to upload everything."""
        if manifest.path.exists():
            with manifest:
                plan = self._plan(manifest)
        else:
            plan = self._plan(manifest)
        self._check(plan, manifest)
        megabytes = sum(map(self._photos.bytes, plan.send)) / 1e6
        credits_ = len(plan.send) * settings.get().cost_credits
        send = f"{len(plan.send)} to send ({megabytes:.1f} MB, about {credits_:g} credits)"
        unreadable = f", {len(plan.unreadable)} that cannot be read" if plan.unreadable else ""
        return (
            f"{len(self._photos.pairs)} pairs: {send}, {len(plan.follow)} on their way, "
            f"{len(plan.fetch)} to download again, {len(plan.done)} done, {len(plan.failed)} failed{unreadable}"
        )

    def start(self, run: Run, client: Client, manifest: Manifest, report: Report) -> None:
        """Sort the pairs by what is known of them, and send those that are left."""
        plan = self._plan(manifest)
        self._check(plan, manifest)
        for line in plan.done + plan.failed + plan.unreadable:
            report.item(line, earlier=True)
        if plan.unreadable:
            heading = f"{len(plan.unreadable)} cannot be read:"
            self._progress.say(listed(heading, [described(line) for line in plan.unreadable]))
        if plan.failed:
            heading = f"{len(plan.failed)} failed in an earlier run (--retry-failed sends them again):"
            self._progress.say(listed(heading, [described(line) for line in plan.failed]))
        start(run, client, manifest, plan, self._photos, self._options, self._progress)

    def alone(self, _: Report) -> Sequence[Rejection]:
        """Return the files without a partner."""
        return self._photos.alone

    def _plan(self, manifest: Manifest) -> Plan:
        params = self._options.params
        return planning.make(self._photos, self._out, manifest.items, params, retry_failed=self._retry_failed)

    def _check(self, plan: Plan, manifest: Manifest) -> None:
        """Raise :class:`UsageError` before anything is paid whose result would go over a file of somebody else's."""
        outputs = [place(pair.name, self._options.params.output_format, "") for pair in plan.send]
        others = [output for output in outputs if (self._out / output).exists() and not manifest.is_saved(output)]
        if others:
            heading = (
                f"{len(others)} files in {self._out} are not what this command saved there, and would be overwritten"
            )
            raise UsageError(listed(f"{heading}; name another folder in --out, or move them away:", others))
