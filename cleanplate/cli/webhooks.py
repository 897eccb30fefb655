"""``cleanplate webhooks``: receivers of events, and what became of each event, over the API."""

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Annotated, Final

import typer

from cleanplate.cli.connect import connect
from cleanplate.cli.exits import Code, end
from cleanplate.cli.progress import Progress
from cleanplate.cli.table import moment, print_table
from cleanplate.client import Client
from cleanplate.resources import Endpoint
from cleanplate.webhooks import EVENTS, Delivery, DeliveryDetails, DeliveryStatus, EndpointChange

TEST_SECONDS: Final = 30.0
LOOK_SECONDS: Final = 0.2

app = typer.Typer(help="Who hears of what, by webhook, and what became of it.", no_args_is_help=True)

EndpointId = Annotated[str, typer.Argument(metavar="ENDPOINT_ID", help="As `cleanplate webhooks list` shows it.")]
DeliveryId = Annotated[str, typer.Argument(metavar="DELIVERY_ID", help="As `cleanplate webhooks deliveries` shows it.")]
AsJson = Annotated[bool, typer.Option("--json", help="The API's answer on stdout.")]
Url = Annotated[str | None, typer.Option("--url", help="The API, if not CLEANPLATE_URL.")]


@app.command("list")
def list_(*, as_json: AsJson = False, url: Url = None) -> None:
    """List your receivers, newest first, with those that a batch or a job named."""

    def work(client: Client) -> Code:
        found = list(_endpoints(client))
        _show(found, _endpoint_row, as_json=as_json, none="there are no endpoints yet; `create` makes one")
        return Code.OK

    _run("listing", url, work)


@app.command()
def create(
    address: Annotated[str, typer.Argument(metavar="URL", help="Where events are POSTed to.")],
    *,
    event: Annotated[list[str] | None, typer.Option(help="What it hears of; repeatable. Without: everything.")] = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Register a receiver and print its secret, this once; it verifies what comes."""
    if unknown := set(event or ()) - set(EVENTS):
        raise typer.BadParameter(f"not an event: {', '.join(sorted(unknown))}; there are {', '.join(EVENTS)}")
    _run("registering", url, lambda client: _secret(client.create_endpoint(address, event or ()), as_json=as_json))


@app.command()
def rotate(endpoint_id: EndpointId, *, as_json: AsJson = False, url: Url = None) -> None:
    """Print a new secret, this once. For 24 h more the one before signs, too, so that receivers can change over."""
    _run("rotating", url, lambda client: _secret(client.rotate_secret(endpoint_id), as_json=as_json))


@app.command()
def off(endpoint_id: EndpointId, *, as_json: AsJson = False, url: Url = None) -> None:
    """Send nothing more to a receiver; what it does not hear is kept for 30 days, see `recover`."""
    _run("turning off", url, lambda client: _turned(client, endpoint_id, enabled=False, as_json=as_json))


@app.command()
def on(endpoint_id: EndpointId, *, as_json: AsJson = False, url: Url = None) -> None:
    """Send to a receiver again, whatever it was turned off by; `recover` also sends what it missed."""
    _run("turning on", url, lambda client: _turned(client, endpoint_id, enabled=True, as_json=as_json))


@app.command()
def delete(endpoint_id: EndpointId, *, url: Url = None) -> None:
    """Forget a receiver: it hears of nothing more."""

    def work(client: Client) -> Code:
        client.delete_endpoint(endpoint_id)
        typer.echo(f"{endpoint_id} is deleted", err=True)
        return Code.OK

    _run("deleting", url, work)


@app.command("test")
def try_(endpoint_id: EndpointId, *, as_json: AsJson = False, url: Url = None) -> None:
    """Send a `webhook.test` to a receiver and say what it answered: exit code 0 when that was 2xx."""

    def work(client: Client) -> Code:
        sent = client.test_endpoint(endpoint_id)
        until = time.monotonic() + TEST_SECONDS
        while True:
            told = client.delivery(sent.id)
            if told.status != "pending" or told.last_error or time.monotonic() > until:
                break
            time.sleep(LOOK_SECONDS)
        typer.echo(told.model_dump_json() if as_json else _words(told))
        return Code.OK if told.status == "delivered" else Code.SOME_FAILED

    _run("testing", url, work)


@app.command()
def deliveries(
    endpoint_id: EndpointId,
    *,
    status: Annotated[DeliveryStatus | None, typer.Option(help="Only those.")] = None,
    event: Annotated[str | None, typer.Option(help="Only those of this event.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 50,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """List what was to be sent to a receiver, newest first."""

    def work(client: Client) -> Code:
        found = client.deliveries(endpoint_id, status=status, event_type=event, limit=limit).data
        _show(found, _delivery_row, as_json=as_json, none="nothing of that kind was to be sent to it")
        return Code.OK

    _run("listing", url, work)


@app.command()
def show(delivery_id: DeliveryId, *, as_json: AsJson = False, url: Url = None) -> None:
    """Show a delivery with its body and every try."""

    def work(client: Client) -> Code:
        told = client.delivery(delivery_id)
        if as_json:
            typer.echo(told.model_dump_json())
            return Code.OK
        typer.echo(f"{told.event_type} to {told.endpoint_id}, webhook-id {told.event_id}: {_words(told)}")
        for one in told.attempts:
            took = "no end" if one.duration_ms is None else f"{one.duration_ms} ms"
            typer.echo(
                f"  {one.number}. {moment(one.started_at)} {one.error or one.status} ({took}) {one.answer or ''}"
            )
        typer.echo(json.dumps(told.body, indent=2))
        return Code.OK

    _run("asking", url, work)


@app.command()
def redeliver(delivery_id: DeliveryId, *, as_json: AsJson = False, url: Url = None) -> None:
    """Send an event again at once, with its old `webhook-id`, whether it was delivered or not."""

    def work(client: Client) -> Code:
        again = client.redeliver(delivery_id)
        typer.echo(again.model_dump_json() if as_json else f"{again.event_type} {again.event_id} goes out again")
        return Code.OK

    _run("sending again", url, work)


@app.command()
def recover(
    endpoint_id: EndpointId,
    since: Annotated[
        datetime,
        typer.Option(
            parser=datetime.fromisoformat, metavar="TIME", help="ISO 8601; of this machine's zone if it names none."
        ),
    ],
    *,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Turn a receiver on, if it is off, and send again all that it has not taken since a time."""

    def work(client: Client) -> Code:
        recovered, more = 0, True
        while more:
            told = client.recover(endpoint_id, since.astimezone(UTC))
            recovered, more = recovered + told.recovered, told.more
        typer.echo(json.dumps({"recovered": recovered}) if as_json else f"{recovered} deliveries go out again")
        return Code.OK

    _run("recovering", url, work)


def _run(what: str, url: str | None, work: Callable[[Client], Code]) -> None:
    def connected() -> Code:
        with Progress(what) as progress, connect(url, progress) as client:
            return work(client)

    end(connected, resumable=False)


def _endpoints(client: Client) -> Iterator[Endpoint]:
    page = client.endpoints()
    yield from page.data
    while page.next_cursor:
        page = client.endpoints(cursor=page.next_cursor)
        yield from page.data


def _secret(endpoint: Endpoint, *, as_json: bool) -> Code:
    if as_json:
        typer.echo(endpoint.model_dump_json())
    else:
        typer.echo(f"{endpoint.id}: {endpoint.url}; the secret is not shown again", err=True)
        typer.echo(endpoint.secret)
    return Code.OK


def _turned(client: Client, endpoint_id: str, *, enabled: bool, as_json: bool) -> Code:
    endpoint = client.update_endpoint(endpoint_id, EndpointChange(enabled=enabled))
    typer.echo(endpoint.model_dump_json() if as_json else f"{endpoint.id} is {'on' if endpoint.enabled else 'off'}")
    return Code.OK


def _show(
    found: list[Endpoint] | list[Delivery], row: Callable[..., dict[str, str | None]], *, as_json: bool, none: str
) -> None:
    if as_json:
        typer.echo(json.dumps([one.model_dump(mode="json") for one in found], indent=2))
    elif found:
        print_table([row(one) for one in found])
    else:
        typer.echo(none, err=True)


def _endpoint_row(one: Endpoint) -> dict[str, str | None]:
    state = "on" if one.enabled else f"off: {one.disabled_reason}"
    events = "one batch or job" if one.one_off else ", ".join(one.events) or "everything"
    failing = moment(one.failing_since)
    return {"id": one.id, "url": one.url, "hears of": events, "state": state, "failing since": failing}


def _delivery_row(one: Delivery) -> dict[str, str | None]:
    return {
        "id": one.id,
        "event": one.event_type,
        "about": one.subject_id,
        "created": moment(one.created_at),
        "status": one.status,
        "tries": str(one.tries),
        "last": one.last_error or (str(one.last_status) if one.last_status else None),
        "next try": moment(one.next_try_at),
    }


def _words(told: DeliveryDetails) -> str:
    if told.status == "delivered":
        return f"delivered: the receiver answered {told.last_status}"
    if told.last_error is None:
        return "pending: nothing has tried it yet; is a notifier running?"
    again = f"; the next try is at {moment(told.next_try_at)}" if told.next_try_at else ""
    return f"{told.status}: {told.last_error}{again}"
