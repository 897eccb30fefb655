"""``cleanplate up``: the whole stack on this machine, until it is told to stop."""

import signal
import time
from types import FrameType
from typing import Annotated

import typer

ONE_PRESS_SECONDS = 1.0
"""A signal so soon after another is the same press of Ctrl-C: runners such as make and uv pass it on once more."""


def up(
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Loopback port of the API.")] = 8000,
    latency: Annotated[float, typer.Option(min=0, help="Seconds the simulator takes for a picture.")] = 4.0,
    seed: Annotated[int, typer.Option(help="Seed of the simulator.")] = 1,
) -> None:
    """Run everything on this machine: PostgreSQL, Redis, the API and its workers.

    What is in DATABASE_URL, REDIS_URL or STORAGE_URL is used instead of an embedded part; data is kept in
    CLEANPLATE_DATA_DIR. Without BFL_API_KEY or BFL_API_KEYS a simulator stands in for the upstream. Ctrl-C drains and
    stops all of it, a second Ctrl-C stops at once.
    """
    from cleanplate import settings
    from cleanplate.local import stack
    from cleanplate.local.errors import StackError
    from cleanplate.local.supervisor import to_stderr

    take_signals_for_ctrl_c()
    here = settings.get()
    to_stderr(f"starting, with what is kept in {here.data_dir} ...")
    try:
        with stack.running(here, port=port, simulation=stack.Simulation(latency, seed)) as running:
            try:
                typer.echo(f"cleanplate is ready at {running.url}, API key in {stack.key_file(here.data_dir)}")
                _wait()
            except KeyboardInterrupt:
                to_stderr("stopping; Ctrl-C again stops at once")
    except StackError as error:
        to_stderr(str(error))
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        to_stderr("stopped before it was ready")


def _wait() -> None:
    while True:
        signal.pause()


def take_signals_for_ctrl_c() -> None:
    """Make SIGTERM, and the end of the terminal, the KeyboardInterrupt that Ctrl-C is; one a second at most."""
    last = -ONE_PRESS_SECONDS

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= ONE_PRESS_SECONDS:
            last = now
            raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, interrupt)
