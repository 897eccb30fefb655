"""The database, for commands of whoever may write to it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from cleanplate import settings
from cleanplate.cli.exits import Code

if TYPE_CHECKING:
    from cleanplate.db import Transaction  # no other command should wait for SQLAlchemy


@contextmanager
def database() -> Iterator["Transaction"]:
    """Open a transaction on DATABASE_URL, or on what a running ``cleanplate up`` uses."""
    from sqlalchemy.exc import ProgrammingError

    from cleanplate.db import AWAY, Transaction, connect, words

    engine = connect(_url())
    try:
        with Transaction(engine) as tx, tx.begin():
            yield tx
    except AWAY as error:
        typer.echo(f"cleanplate: the database does not answer ({words(error)}); set DATABASE_URL", err=True)
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
