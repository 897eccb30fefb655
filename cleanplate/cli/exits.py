"""How a command ends: its exit code, what it says on stderr, and how to go on from there."""

import shlex
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from enum import IntEnum
from pathlib import Path
from typing import Final, NoReturn

import typer

from cleanplate.cli.held import HeldError
from cleanplate.cli.manifest import ManifestError
from cleanplate.cli.run import OutOfCreditsError
from cleanplate.client_errors import AuthError, ClientError, CreditsError, NotFoundError, UnreachableError


class Code(IntEnum):
    """The exit codes of every command that talks to the API; README.md lists them."""

    OK = 0
    SOME_FAILED = 1
    USAGE = 2
    AUTH = 3
    CREDITS = 4
    UNREACHABLE = 5
    HELD = 6
    INTERRUPTED = 130


MEANINGS: Final[dict[Code, str]] = {
    Code.OK: "all well",
    Code.SOME_FAILED: "some failed or were refused",
    Code.USAGE: "usage",
    Code.AUTH: "the key was refused",
    Code.CREDITS: "the upstream account is out of credits",
    Code.UNREACHABLE: "the API cannot be reached",
    Code.HELD: "what is left is held (a canary, a budget)",
    Code.INTERRUPTED: "interrupted",
}
CODES: Final = f"Exit codes: {', '.join(f'{code:d} {meaning}' for code, meaning in MEANINGS.items())}."


class UsageError(Exception):
    """What was asked for cannot be done, in words for a person."""


INTERRUPTS = (signal.SIGTERM, signal.SIGHUP)

ENDS: dict[type[Exception], tuple[Code, str]] = {
    UsageError: (Code.USAGE, ""),
    ManifestError: (Code.USAGE, ""),
    NotFoundError: (Code.USAGE, "is it of this server, and of this key?"),
    AuthError: (Code.AUTH, "set CLEANPLATE_API_KEY; `cleanplate keys create` makes a key"),
    CreditsError: (Code.CREDITS, ""),
    OutOfCreditsError: (Code.CREDITS, "what is left waits on the server and goes on by itself once there are credits"),
    HeldError: (Code.HELD, ""),
    UnreachableError: (Code.UNREACHABLE, "is `cleanplate up` running? CLEANPLATE_URL or --url names another address"),
    ClientError: (Code.SOME_FAILED, ""),
    OSError: (Code.SOME_FAILED, "what was saved stays, and the same command goes on from there"),
}
"""The first that fits counts."""


def end(work: Callable[[], Code], *, resumable: bool = True) -> NoReturn:
    """Do the work of a command and leave with its code; SIGTERM and the end of the terminal are taken as Ctrl-C.

    What is left to do when it is ``resumable`` is picked up by the same command, so that is told.
    """
    heeded = [number for number in INTERRUPTS if signal.getsignal(number) is not signal.SIG_IGN]
    standing = {number: signal.signal(number, signal.default_int_handler) for number in heeded}
    try:
        code = work()
    except KeyboardInterrupt:
        code = Code.INTERRUPTED
        _say("interrupted")
    except tuple(ENDS) as error:
        code, hint = next(told for kind, told in ENDS.items() if isinstance(error, kind))
        _say(_words(error) + (f" ({hint})" if hint else ""))
    finally:
        for number, handler in standing.items():
            signal.signal(number, handler)
    if resumable and code not in {Code.OK, Code.USAGE, Code.SOME_FAILED}:
        _say(f"resume with: {this_command()}")
    raise typer.Exit(code)


def this_command() -> str:
    """Return the command line of this process, to be pasted into the same shell; keys are never part of it."""
    program = Path(sys.argv[0])
    start = [sys.executable, "-m", "cleanplate"] if program.name == "__main__.py" else [str(program)]
    return shlex.join([*start, *sys.argv[1:]])


def _words(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def _say(text: str) -> None:
    with suppress(OSError):  # the terminal may be gone
        typer.echo(f"cleanplate: {text}", err=True)


def is_batch(id_: str) -> bool:
    """Tell whether this is the id of a batch, and not of a job. Raises :class:`UsageError` for any other."""
    if not id_.startswith(("bat_", "job_")):
        raise UsageError(f"{id_} is the id of neither a batch (bat_...) nor a job (job_...)")
    return id_.startswith("bat_")
