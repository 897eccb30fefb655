"""``cleanplate upstream``: stop and go on submitting, by whoever may write to the database."""

from typing import Annotated

import typer

from cleanplate.cli.database import database

app = typer.Typer(
    help="Pause and resume submitting to the upstream. Works on the database, not over the API.", no_args_is_help=True
)


@app.command()
def pause(reason: Annotated[str, typer.Argument(help="Why, for whoever looks at /v1/upstream.")] = "by hand") -> None:
    """Submit nothing more until `resume`; what is in flight comes back as ever, and uploads are taken."""
    from cleanplate import accounts

    with database() as tx:
        accounts.pause(tx, accounts.BY_HAND, reason)
    typer.echo("nothing more is submitted; `cleanplate upstream resume` goes on", err=True)


@app.command()
def resume() -> None:
    """Go on submitting, whatever stopped it; if that is not mended, it stops again at the next answer."""
    from cleanplate import accounts

    with database() as tx:
        resumed = accounts.resume(tx)
    typer.echo("submitting goes on" if resumed else "submitting was not paused", err=True)
