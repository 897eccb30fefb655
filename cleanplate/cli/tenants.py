"""``cleanplate tenants``: how the teams share the slots, by whoever may write to the database."""

from typing import Annotated

import typer

from cleanplate.cli.database import database
from cleanplate.cli.exits import Code

app = typer.Typer(
    help="See and change the weights by which tenants share the slots. Works on the database, not over the API.",
    no_args_is_help=True,
)


@app.command("list")
def list_() -> None:
    """List all tenants with their weights, one a line, separated by a tab."""
    from cleanplate import tenants

    with database() as tx:
        lines = [f"{tenant.name}\t{tenant.weight:g}" for tenant in tenants.list_tenants(tx)]
    for line in lines:
        typer.echo(line)


@app.command()
def weigh(
    name: Annotated[str, typer.Argument(help="The tenant, as `cleanplate tenants list` shows it.")],
    weight: Annotated[
        float, typer.Argument(min=0.001, max=1000, help="Its share beside others: 2 is twice that of 1.")
    ],
) -> None:
    """Change a tenant's weight. It holds for what is uploaded from then on."""
    from cleanplate import tenants

    with database() as tx:
        known = tenants.weigh(tx, name, weight)
    if not known:
        typer.echo(f"cleanplate: there is no tenant {name}; `cleanplate tenants list` shows them", err=True)
        raise typer.Exit(Code.USAGE)
    typer.echo(f"{name} has weight {weight:g} from now on", err=True)
