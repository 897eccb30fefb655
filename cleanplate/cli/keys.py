"""``cleanplate keys``: API keys, made and revoked by whoever may write to the database."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cleanplate import settings
from cleanplate.cli.exits import Code

if TYPE_CHECKING:
    from cleanplate.db import Transaction  # no other command should wait for SQLAlchemy

app = typer.Typer(help="Make, list and revoke API keys. Works on the database, not over the API.", no_args_is_help=True)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What the key is for, to know it by in the list.")] = "key",
    tenant: Annotated[
        str, typer.Option(help="The team it belongs to; made if there is none of that name.")
    ] = "default",
    scope: Annotated[Literal["full", "read"], typer.Option(help="`read`: it may look and not touch.")] = "full",
) -> None:
    """Make a key and print it, this once: only its hash is stored."""
    from cleanplate import tenants

    with _database() as tx:
        key, secret = tenants.create_key(tx, tenant, name, scope)
    typer.echo(f"{key.id}: a {scope} key of tenant {tenant}; it is not shown again", err=True)
    typer.echo(secret)


@app.command("list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="One JSON array.")] = False) -> None:
    """List all keys, by their first characters."""
    import json

    from cleanplate import tenants

    with _database() as tx:
        rows = [
            {
                "id": key.id,
                "prefix": key.prefix,
                "tenant": tenant.name,
                "name": key.name,
                "scope": key.scope,
                "created_at": _time(key.created_at),
                "revoked_at": _time(key.revoked_at),
            }
            for key, tenant in tenants.list_keys(tx)
        ]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
    elif rows:
        _print_table(rows)
    else:
        typer.echo("there are no keys yet; `cleanplate keys create` makes one", err=True)


@app.command()
def revoke(key: Annotated[str, typer.Argument(help="Its id or prefix, as `cleanplate keys list` shows them.")]) -> None:
    """Revoke a key: within seconds nothing is answered to it any more."""
    from cleanplate import tenants

    with _database() as tx:
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


@contextmanager
def _database() -> Iterator["Transaction"]:
    """Open a transaction on DATABASE_URL, or on what a running ``cleanplate up`` uses."""
    from sqlalchemy.exc import ProgrammingError

    from cleanplate.db import AWAY, Transaction, connect

    engine = connect(_url())
    try:
        with Transaction(engine) as tx, tx.begin():
            yield tx
    except AWAY as error:
        typer.echo(f"cleanplate: the database does not answer ({_words(error)}); set DATABASE_URL", err=True)
        raise typer.Exit(Code.UNREACHABLE) from None
    except ProgrammingError:
        typer.echo("cleanplate: the database has not our tables; `cleanplate up` or the migration makes them", err=True)
        raise typer.Exit(Code.USAGE) from None
    finally:
        engine.dispose()


def _url() -> str:
    from cleanplate.local.stack import database_file

    here = settings.get()
    file = database_file(here.data_dir)
    if "database_url" not in here.model_fields_set and file.is_file():
        return file.read_text(encoding="utf-8").strip()
    return here.database_url


def _words(error: Exception) -> str:
    """Return the first line of what the driver says; it names hosts and never passwords."""
    return str(error.__cause__ or error).partition("\n")[0]


def _time(at: datetime | None) -> str | None:
    return at.isoformat(timespec="seconds") if at else None


def _print_table(rows: list[dict[str, str | None]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(*rows[0], box=box.SIMPLE)
    for row in rows:
        table.add_row(*(value or "" for value in row.values()))
    wide = None if sys.stdout.isatty() else 200  # a file or pipe has no edge to wrap at
    Console(markup=False, width=wide).print(table)
