"""``cleanplate upstream``: stop and go on submitting, by whoever may write to the database."""

from typing import TYPE_CHECKING, Annotated

import typer

from cleanplate.cli.database import database
from cleanplate.cli.exits import Code

if TYPE_CHECKING:
    from cleanplate.db import Transaction  # no other command should wait for SQLAlchemy

app = typer.Typer(
    help="Pause and resume submitting to the upstream. Works on the database, not over the API.", no_args_is_help=True
)

Which = Annotated[str | None, typer.Option("--account", help="The name of one account; without it, all of them.")]


@app.command()
def pause(
    reason: Annotated[str, typer.Argument(help="Why, for whoever looks at /v1/upstream.")] = "by hand",
    account: Which = None,
) -> None:
    """Submit nothing more until `resume`; what is in flight comes back as ever, and uploads are taken."""
    from cleanplate import accounts

    with database() as tx:
        for name in _named(tx, account):
            accounts.pause(tx, name, accounts.BY_HAND, reason)
    if account:
        told = f"nothing more is submitted to {account}; `cleanplate upstream resume --account {account}` goes on"
    else:
        told = "nothing more is submitted; `cleanplate upstream resume` goes on"
    typer.echo(told, err=True)


@app.command()
def resume(account: Which = None) -> None:
    """Go on submitting, whatever stopped it; if that is not mended, it stops again at the next answer."""
    from cleanplate import accounts

    with database() as tx:
        resumed = [accounts.resume(tx, name) for name in _named(tx, account)]
    typer.echo("submitting goes on" if any(resumed) else "submitting was not paused", err=True)


def _named(tx: "Transaction", account: str | None) -> list[str]:
    from cleanplate import accounts

    accounts.lock(tx)
    known = accounts.in_use(tx)
    if account is not None and account not in known:
        typer.echo(f"cleanplate: no account is named {account}; there are: {', '.join(known) or 'none yet'}", err=True)
        raise typer.Exit(Code.USAGE)
    return known if account is None else [account]
