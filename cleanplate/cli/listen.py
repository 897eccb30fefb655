"""``cleanplate listen``: a team's events on the screen, and as webhooks at a service that is being written."""

import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from typing import Annotated, Final

import httpx
import typer

from cleanplate.cli.connect import connect
from cleanplate.cli.exits import Code, end
from cleanplate.cli.progress import Progress
from cleanplate.client import Client
from cleanplate.client_errors import ClientError, NotFoundError
from cleanplate.webhooks import HeardEvent, Listener

FORWARD_SECONDS: Final = 15.0
"""As long as a webhook would wait for its answer."""


def listen(
    *,
    forward_to: Annotated[
        str | None, typer.Option(metavar="URL", help="POST each event there, such as http://localhost:3000/hooks.")
    ] = None,
    event: Annotated[list[str] | None, typer.Option(help="Only this one; repeatable. Without: everything.")] = None,
    print_secret: Annotated[bool, typer.Option(help="Print the signing secret and leave.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON lines on stdout: the events, with headers.")] = False,
    url: Annotated[str | None, typer.Option(help="The API, if not CLEANPLATE_URL.")] = None,
) -> None:
    """Show events as they happen, until Ctrl-C, and forward them to a service that you are writing.

    The signatures are real: the service verifies them with the secret that is told first, which stays the same.
    """
    target = forward_to and _address(forward_to)

    def work() -> Code:
        with (
            Progress("listening") as progress,
            connect(url, progress) as client,
            httpx.Client(timeout=FORWARD_SECONDS, trust_env=False) as service,
        ):
            listener = client.create_listener()
            try:
                if print_secret:
                    typer.echo(listener.secret)
                    return Code.OK
                typer.echo(f"listening at {client.url}; the signing secret is {listener.secret}", err=True)
                for one in _events(client, listener):
                    if not event or one.type in event:
                        typer.echo(one.model_dump_json() if as_json else f"{_now()} --> {one.type} [{one.id}]")
                        if target:
                            typer.echo(f"{_now()} <-- {_forward(service, target, one)} [{one.id}]", err=as_json)
            except KeyboardInterrupt:
                return Code.OK
            finally:
                with suppress(ClientError):  # it is forgotten by itself soon
                    client.delete_listener(listener.id)
        return Code.OK

    end(work, resumable=False)


def _events(client: Client, listener: Listener) -> Iterator[HeardEvent]:
    """Yield every event from now on; one that was forgotten is made anew, which is told."""
    cursor = None
    while True:
        try:
            heard = client.hear(listener.id, cursor)
        except NotFoundError:
            listener.id, cursor = client.create_listener().id, None
            typer.echo(f"{_now()} it was forgotten, having asked for nothing for two minutes; listening anew", err=True)
            continue
        yield from heard.data
        cursor = heard.next_cursor


def _forward(service: httpx.Client, url: str, event: HeardEvent) -> str:
    """POST the event as a webhook and say what came of it."""
    began = time.monotonic()
    try:
        status = service.post(url, content=event.body.encode(), headers=event.headers).status_code
    except httpx.HTTPError as error:
        return f"[no answer: {type(error).__name__}] POST {url}"
    return f"[{status}] POST {url} ({(time.monotonic() - began) * 1000:.0f} ms)"


def _address(given: str) -> str:
    """Return the URL, or that of a port or a host that was given alone."""
    url = f"http://localhost:{given}" if given.isdecimal() else given if "://" in given else f"http://{given}"
    with suppress(httpx.InvalidURL):
        parsed = httpx.URL(url)
        if parsed.scheme in {"http", "https"} and parsed.host:
            return url
    raise typer.BadParameter("--forward-to takes an http(s) address, or a port of this machine")


def _now() -> str:
    return datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
