from collections.abc import Callable

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner, Result

from cleanplate import db
from cleanplate.cli.tenants import app
from tests import rows

Run = Callable[..., Result]


@pytest.fixture
def run(database: Engine, configure: Callable[..., None]) -> Run:
    """Runs ``cleanplate tenants`` on a database with two."""
    configure(DATABASE_URL=database.url.render_as_string(hide_password=False))
    with db.transaction() as tx:
        rows.tenant(tx, "shoes")
        rows.tenant(tx, "hats")
    return lambda *arguments: CliRunner().invoke(app, arguments)


def test_a_weight_is_changed_and_shown(run: Run) -> None:
    assert run("list").stdout == "hats\t1\nshoes\t1\n"
    weighed = run("weigh", "shoes", "2.5")
    assert (weighed.exit_code, weighed.stdout) == (0, "")
    assert run("list").stdout == "hats\t1\nshoes\t2.5\n"


def test_a_tenant_that_is_not_there_is_told(run: Run) -> None:
    result = run("weigh", "gloves", "2")
    assert result.exit_code == 2
    assert "tenants list" in result.stderr


@pytest.mark.parametrize("weight", ["0", "-1", "1001", "much"])
def test_a_weight_that_is_none_is_refused(run: Run, weight: str) -> None:
    assert run("weigh", "--", "shoes", weight).exit_code == 2
    assert "shoes\t1\n" in run("list").stdout
