"""``cleanplate keys``: API keys, made and revoked by whoever may write to the database."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from cleanplate.api_keys import Scope
from cleanplate.cli.database import database
from cleanplate.cli.exits import Code
from cleanplate.cli.table import moment, print_table

app = typer.Typer(help="Make, list and revoke API keys. Works on the database, not over the API.", no_args_is_help=True)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What the key is for, to know it by in the list.")] = "key",
    tenant: Annotated[
        str, typer.Option(help="The team it belongs to; made if there is none of that name.")
    ] = "default",
    scope: Annotated[
        Scope, typer.Option(help="`read` looks and changes nothing, `write` does the work, `admin` makes keys, too.")
    ] = Scope.WRITE,
    days: Annotated[int | None, typer.Option(min=1, help="How long it works; without, until it is revoked.")] = None,
) -> None:
    """Make a key and print it, this once: only its hash is stored."""
    from cleanplate import tenants

    expires_at = datetime.now(UTC) + timedelta(days=days) if days else None
    with database() as tx:
        key, secret = tenants.create_key(tx, tenant, name, scope, expires_at)
    typer.echo(f"{key.id}: a {scope} key of tenant {tenant}; it is not shown again", err=True)
    typer.echo(secret)


@app.command("list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="One JSON array.")] = False) -> None:
    """List all keys, by their first characters."""
    import json

    from cleanplate import tenants

    with database() as tx:
        rows = [
            {
                "id": key.id,
                "prefix": key.prefix,
                "tenant": tenant.name,
                "name": key.name,
                "scope": key.scope,
                "created_at": moment(key.created_at),
                "expires_at": moment(key.expires_at),
                "last_used_at": moment(key.last_used_at),
                "revoked_at": moment(key.revoked_at),
            }
            for key, tenant in tenants.list_keys(tx)
        ]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
    elif rows:
        print_table(rows)
    else:
        typer.echo("there are no keys yet; `cleanplate keys create` makes one", err=True)


@app.command()
def revoke(key: Annotated[str, typer.Argument(help="Its id or prefix, as `cleanplate keys list` shows them.")]) -> None:
    """Revoke a key: within seconds nothing is answered to it any more."""
    from cleanplate import tenants

    with database() as tx:
        revoked = tenants.revoke(tx, key)
    if not revoked:
        typer.echo(f"cleanplate: there is no key {key}; `cleanplate keys list` shows them", err=True)
        raise typer.Exit(Code.USAGE)
    for row in revoked:
        typer.echo(f"{row.id} ({row.prefix}..., {row.name}) is revoked", err=True)


@app.command()
def fernet() -> None:
    """Print a new key for CLEANPLATE_SECRET_KEYS, which encrypts webhook secrets in the database."""
    from cryptography.fernet import Fernet

    typer.echo(Fernet.generate_key().decode())


@app.command("rotate-vault")
def rotate_vault() -> None:
    """Encrypt every secret in the database with the first of CLEANPLATE_SECRET_KEYS, so that the others can go.

    First put a new key in front, restart every process with that, and only then run this.
    """
    from cleanplate import resealing, vault

    try:
        with database() as tx:
            resealed, unopened = resealing.reseal_all(tx)
    except vault.VaultError as error:
        typer.echo(f"cleanplate: {error}", err=True)
        raise typer.Exit(Code.USAGE) from None
    typer.echo(f"{resealed} secrets are encrypted with the first key now", err=True)
    if unopened:
        typer.echo(f"cleanplate: none of the keys opens what is kept for {', '.join(unopened)}", err=True)
        raise typer.Exit(Code.SOME_FAILED)
