"""A demonstration from its first process to its last: everything it starts is stopped again."""

import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_network
from pathlib import Path

import typer

from cleanplate import settings
from cleanplate.cli import plan
from cleanplate.cli.demo import stage
from cleanplate.cli.demo.photos import make
from cleanplate.cli.demo.show import show
from cleanplate.cli.exits import Code, UsageError
from cleanplate.client_errors import ClientError
from cleanplate.local import stack
from cleanplate.local.errors import StackError
from cleanplate.settings import Settings

OWN_SERVERS = {"database_url", "redis_url", "storage_url"}
SIMULATED_SECONDS = 4.0


class Steps:
    """Says on stderr what is being done, and still knows it when that fails."""

    now = ""

    def __call__(self, text: str) -> None:
        self.now = text
        typer.echo(f"cleanplate: {text} ...", err=True)


def perform(photos: Path | None, out: Path, count: int, *, yes: bool) -> Code:
    """Erase ``photos``, or ``count`` drawn ones; results go to ``out``, the table to stdout.

    Raises ``UsageError``. What fails is told on stderr, and then the data directory stays, for its logs.
    """
    here = settings.get()
    if photos:
        count = len(plan.look(photos, out, "_mask").pairs)
    if not count:
        raise UsageError(f"there are no pairs in {photos}: NAME.jpg needs NAME_mask.png beside it")
    _agree_to_pay(here, count, yes=yes)
    _make_room(out)
    data_dir = Path(tempfile.mkdtemp(prefix="cleanplate-demo-"))
    steps = Steps()
    try:
        code = _run(_own(here, data_dir), photos, out, count, steps)
    except Exception as error:
        known = isinstance(error, (stage.DemoError, StackError, ClientError, OSError))
        why = f": {error}" if known else ""
        typer.echo(f"cleanplate: failed at {steps.now!r}{why}; the logs are in {data_dir / 'logs'}", err=True)
        if known:
            return Code.SOME_FAILED
        raise
    except KeyboardInterrupt:
        shutil.rmtree(data_dir, ignore_errors=True)
        raise
    shutil.rmtree(data_dir, ignore_errors=True)
    return code


def _make_room(out: Path) -> None:
    """Make the folder before anything is paid."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise UsageError(
            f"cannot write into {out}: {error.strerror}; name another folder (make demo OUT=dir)"
        ) from error


def _run(here: Settings, photos: Path | None, out: Path, count: int, steps: Steps) -> Code:
    folder, saved = photos or here.data_dir / "photos", here.data_dir / "erased"
    with ThreadPoolExecutor(max_workers=1) as studio:
        steps(f"starting everything on this machine{'' if photos else f', drawing {count} photographs meanwhile'}")
        drawn = None if photos else studio.submit(make, folder, count)
        with stack.running(here, port=None, simulation=stack.Simulation(SIMULATED_SECONDS)) as running:
            if drawn:
                drawn.result()
            outcome = stage.perform(running, folder, saved, steps)
            steps("drawing the contact sheet, stopping what was started")
            shown = studio.submit(show, outcome, folder, saved, out)
        result = shown.result()
    width = max(len(label) for label, _ in result.table)
    for label, value in result.table:
        typer.echo(f"{label:<{width}}  {value}")
    for fault in result.faults:
        typer.echo(f"cleanplate: {fault}", err=True)
    return Code.SOME_FAILED if result.faults else Code.OK


def _agree_to_pay(here: Settings, count: int, *, yes: bool) -> None:
    if here.keyless:
        return
    credits_ = count * here.cost_credits
    which = "BFL_API_KEYS" if here.bfl_api_keys else "BFL_API_KEY"
    what = f"{which} is set: this pays for {count} images, about {credits_:g} credits (${credits_ / 100:.2f})"
    if yes:
        typer.echo(f"cleanplate: {what}", err=True)
    elif not sys.stdin.isatty():
        raise UsageError(f"{what}; say --yes (make demo YES=1), or unset it to use the simulator")
    else:
        typer.confirm(f"{what}. Go on?", abort=True, err=True)


def _own(here: Settings, data_dir: Path) -> Settings:
    """Return the settings of a stack of its own, which may send webhooks to this machine."""
    values = {name: getattr(here, name) for name in here.model_fields_set - OWN_SERVERS}
    values |= {"data_dir": data_dir, "allow_private_networks": (ip_network("127.0.0.0/8"),)}
    return Settings.model_construct(_fields_set=set(values), **values)
