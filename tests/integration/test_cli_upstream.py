from collections.abc import Callable

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner, Result

from cleanplate import db
from cleanplate.cli.upstream import app
from cleanplate.models import Account
from tests import rows

Run = Callable[..., Result]


@pytest.fixture
def run(database: Engine, configure: Callable[..., None]) -> Run:
    """Runs ``cleanplate upstream`` on a database with an account."""
    configure(DATABASE_URL=database.url.render_as_string(hide_password=False))
    with db.transaction() as tx:
        rows.account(tx)
    return lambda *arguments: CliRunner().invoke(app, arguments)


def reason(name: str = rows.ACCOUNT) -> tuple[str | None, str | None]:
    with db.transaction() as tx:
        row = tx.get_one(Account, name)
        return row.paused_reason, row.paused_detail


def test_a_person_pauses_with_a_reason_and_resumes(run: Run) -> None:
    paused = run("pause", "stocktaking")
    assert (paused.exit_code, paused.stdout) == (0, "")
    assert "resume" in paused.stderr
    assert reason() == ("manual", "stocktaking")
    assert "goes on" in run("resume").stderr
    assert reason() == (None, None)
    assert "not paused" in run("resume").stderr


def test_one_of_several_accounts_is_paused_and_resumed_by_its_name(run: Run) -> None:
    with db.transaction() as tx:
        rows.account(tx, name="second")
        rows.account(tx, cap=0, name="retired")
    paused = run("pause", "stocktaking", "--account", "second")
    assert "resume --account second" in paused.stderr
    assert (reason(), reason("second")) == ((None, None), ("manual", "stocktaking"))
    assert "not paused" in run("resume", "--account", "default").stderr
    assert "goes on" in run("resume").stderr
    assert reason("second") == (None, None)


def test_without_a_name_every_account_in_use_is_paused(run: Run) -> None:
    with db.transaction() as tx:
        rows.account(tx, name="second")
        rows.account(tx, cap=0, name="retired")
    run("pause")
    assert [reason(name)[0] for name in ("default", "second", "retired")] == ["manual", "manual", None]


def test_an_account_that_is_not_there_is_a_usage_error_that_names_those_that_are(run: Run) -> None:
    result = run("pause", "--account", "nobody")
    assert result.exit_code == 2
    assert "default" in result.stderr
    assert reason() == (None, None)
