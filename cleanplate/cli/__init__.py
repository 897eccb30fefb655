"""The command line: ``cleanplate`` and ``python -m cleanplate``."""

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from cleanplate.cli import keys, tenants, upstream, webhooks
from cleanplate.cli.cancel import cancel
from cleanplate.cli.demo.command import demo
from cleanplate.cli.doctor import doctor
from cleanplate.cli.erase import erase
from cleanplate.cli.exits import CODES, Code
from cleanplate.cli.listen import listen
from cleanplate.cli.operate import healthcheck, migrate
from cleanplate.cli.release import release
from cleanplate.cli.retry import retry
from cleanplate.cli.up import up
from cleanplate.cli.watch import download, watch
from cleanplate.settings import SettingsError

main = typer.Typer(
    name="cleanplate",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",  # which wraps paragraphs at the width of the terminal
    pretty_exceptions_enable=False,  # they would print local variables, and with them keys
)
for command in (demo, up, erase, watch, download, cancel, release, retry, listen, doctor, migrate, healthcheck):
    main.command(epilog=CODES if command in {erase, watch, download} else None)(command)
main.add_typer(keys.app, name="keys")
main.add_typer(tenants.app, name="tenants")
main.add_typer(upstream.app, name="upstream")
main.add_typer(webhooks.app, name="webhooks")


def _tell_version(asked: bool) -> None:
    if asked:
        typer.echo(f"cleanplate {version('cleanplate')}")
        raise typer.Exit


@main.callback()
def _options(
    *,
    _: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Show it and exit.")
    ] = False,
) -> None:
    """Erases unwanted things from product photographs, by the thousand."""


def program() -> None:
    """Run the command line of this process; settings that cannot be used end it in a line."""
    try:
        main()
    except SettingsError as error:
        typer.echo(f"cleanplate: {error}", err=True)
        sys.exit(Code.USAGE)
