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


def reason() -> tuple[str | None, str | None]:
    with db.transaction() as tx:
        row = tx.get_one(Account, rows.ACCOUNT)
        return row.paused_reason, row.paused_detail


def test_a_person_pauses_with_a_reason_and_resumes(run: Run) -> None:
    paused = run("pause", "stocktaking")
    assert (paused.exit_code, paused.stdout) == (0, "")
    assert "resume" in paused.stderr
    assert reason() == ("manual", "stocktaking")
    assert "goes on" in run("resume").stderr
    assert reason() == (None, None)
    assert "not paused" in run("resume").stderr
