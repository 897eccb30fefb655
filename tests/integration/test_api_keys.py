import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import Engine
from typer.testing import CliRunner, Result

from cleanplate import db, settings, tenants
from cleanplate.cli.keys import app
from cleanplate.local.stack import database_file
from tests.servers import fresh_database

Run = Callable[..., Result]


@pytest.fixture
def run(database: Engine, configure: Callable[..., None]) -> Run:
    """Runs ``cleanplate keys`` on an empty database."""
    configure(DATABASE_URL=database.url.render_as_string(hide_password=False))
    return lambda *arguments: CliRunner().invoke(app, arguments)


def test_a_key_is_alone_on_stdout_and_works(run: Run) -> None:
    result = run("create", "laptop", "--tenant", "shoes", "--scope", "read")
    assert result.exit_code == 0
    secret = result.stdout.removesuffix("\n")
    assert secret.startswith("cp_")
    assert len(secret) >= 43
    assert secret not in result.stderr
    (key,) = json.loads(run("list", "--json").stdout)
    assert (key["tenant"], key["name"], key["scope"], key["revoked_at"]) == ("shoes", "laptop", "read", None)
    assert secret.startswith(key["prefix"])
    assert len(key["prefix"]) == tenants.PREFIX_LENGTH


def test_a_key_of_the_command_does_the_work_until_it_is_revoked_or_for_so_many_days(run: Run) -> None:
    run("create", "endless")
    run("create", "brief", "--days", "2", "--scope", "admin")
    endless, brief = json.loads(run("list", "--json").stdout)
    assert (endless["scope"], endless["expires_at"], endless["last_used_at"]) == ("write", None, None)
    left = datetime.fromisoformat(brief["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=1) < left < timedelta(days=2)
    assert brief["scope"] == "admin"


def test_the_table_shows_every_key_and_no_secret(run: Run) -> None:
    secrets = [run("create", name).stdout.strip() for name in ("[bold]one", "two")]
    table = run("list").stdout
    assert "[bold]one" in table
    assert "two" in table
    assert not any(secret in table for secret in secrets)


def test_no_keys_are_an_empty_list_and_a_hint(run: Run) -> None:
    assert json.loads(run("list", "--json").stdout) == []
    assert run("list").stdout == ""
    assert "keys create" in run("list").stderr


@pytest.mark.parametrize("by", ["id", "prefix"])
def test_a_revoked_key_stays_revoked_since_then(run: Run, by: str) -> None:
    run("create", "one")
    run("create", "two")
    first, second = json.loads(run("list", "--json").stdout)
    assert run("revoke", first[by]).exit_code == 0
    revoked, other = json.loads(run("list", "--json").stdout)
    assert revoked["revoked_at"]
    assert other == second
    run("revoke", first[by])
    assert json.loads(run("list", "--json").stdout)[0] == revoked


def test_what_is_not_there_cannot_be_revoked(run: Run) -> None:
    result = run("revoke", "cp_nothing")
    assert result.exit_code == 2
    assert "keys list" in result.stderr


def test_a_fernet_key_is_one(run: Run) -> None:
    assert Fernet(run("fernet").stdout.strip())


def test_without_a_database_url_that_of_a_running_stack_is_used(
    run: Run, configure: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run("create", "here")
    database_file(tmp_path).write_text(f"{settings.get().database_url}\n", encoding="utf-8")
    monkeypatch.delenv("DATABASE_URL")
    configure(CLEANPLATE_DATA_DIR=str(tmp_path))
    assert [key["name"] for key in json.loads(run("list", "--json").stdout)] == ["here"]


def test_a_database_that_is_away_or_empty_is_told_in_words(
    run: Run, configure: Callable[..., None], postgres_url: str
) -> None:
    configure(DATABASE_URL="postgresql://me:swordfish@127.0.0.1:9/nothing")
    result = run("list")
    assert (result.exit_code, result.stdout) == (5, "")
    assert "does not answer" in result.stderr
    assert "swordfish" not in result.stderr
    with fresh_database(postgres_url) as empty:
        configure(DATABASE_URL=empty)
        result = run("list")
    assert result.exit_code == 2
    assert "tables" in result.stderr


@pytest.mark.usefixtures("database")
def test_the_first_key_stays_the_same_from_start_to_start() -> None:
    def ensure(secret: str | None) -> str:
        with db.transaction() as tx:
            return tenants.ensure_key(tx, tenant="default", name="cleanplate up", secret=secret)

    first = ensure(None)
    assert ensure(first) == first
    with db.transaction() as tx:
        assert len(tenants.list_keys(tx)) == 1
        assert tenants.find(tx, tenants.digest(first))
    assert ensure("not a key") != "not a key"


@pytest.mark.usefixtures("database")
def test_a_key_in_a_file_outlives_its_database_but_not_its_revocation() -> None:
    secret = tenants.new_secret()
    with db.transaction() as tx:
        assert tenants.ensure_key(tx, tenant="default", name="x", secret=secret) == secret
        found = tenants.find(tx, tenants.digest(secret))
        assert found is not None
        assert tenants.revoke(tx, found.id)
    with db.transaction() as tx:
        assert tenants.find(tx, tenants.digest(secret)) is None
        other = tenants.ensure_key(tx, tenant="default", name="x", secret=secret)
        assert other != secret
        assert tenants.find(tx, tenants.digest(other)) is not None
