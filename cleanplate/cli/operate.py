"""What containers call: ``migrate`` once before the rest starts, ``healthcheck`` every few seconds."""

import socket
from typing import Annotated

import typer


def migrate() -> None:
    """Bring the database's schema up to date and make the bucket, where they are not there yet."""
    from cleanplate.preparing import NotReadyError, prepare

    try:
        prepare()
    except NotReadyError as error:
        typer.echo(f"cleanplate: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo("the database is at the newest schema, and the object store is there", err=True)


def healthcheck(
    what: Annotated[str, typer.Argument(help="A URL that must answer 200, or `conveyor`, or `broker`.")],
) -> None:
    """Exit 0 when it is well, else 1 with a line that says what is not."""
    fault = {"conveyor": _conveyor, "broker": _broker}.get(what, lambda: _url(what))()
    if fault:
        typer.echo(fault, err=True)
        raise typer.Exit(1)


def _url(url: str) -> str | None:
    import httpx

    try:
        status = httpx.get(url, timeout=3, trust_env=False).status_code
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return f"{url} does not answer ({type(error).__name__})"
    return None if status == httpx.codes.OK else f"{url} answers {status}"


def _conveyor() -> str | None:
    """The lease of this host's conveyor is renewed by its event loop, so it tells more than that the process lives."""
    from sqlalchemy import func, select

    from cleanplate import db
    from cleanplate.models import Worker

    here = Worker.id.startswith(f"{socket.gethostname()}:", autoescape=True)
    try:
        with db.transaction() as tx:
            alive = tx.scalar(select(func.count()).where(here, Worker.expires_at > func.now()))
    except db.AWAY as error:
        return f"the database is away ({type(error.orig).__name__})"
    return None if alive else "no conveyor of this host has a live lease"


def _broker() -> str | None:
    from redis import Redis, RedisError

    from cleanplate import settings

    try:
        Redis.from_url(settings.get().redis_url, socket_timeout=3, socket_connect_timeout=3).ping()
    except RedisError as error:
        return f"the broker does not answer ({type(error).__name__})"
    return None
