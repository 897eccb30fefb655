"""The command line: ``cleanplate`` and ``python -m cleanplate``."""

import typer

from cleanplate.cli.erase import erase
from cleanplate.cli.up import up
from cleanplate.cli.watch import download, watch

main = typer.Typer(
    name="cleanplate",
    help="Erases unwanted things from product photographs, by the thousand.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they would print local variables, and with them keys
)
for command in (up, erase, watch, download):
    main.command()(command)
