"""The keys of the vault are changed: everything that is sealed opens with the new one alone, and nothing is lost."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import Engine, func
from typer.testing import CliRunner, Result

from cleanplate import db, vault
from cleanplate.cli.keys import app
from cleanplate.idempotency import IdempotencyKey
from cleanplate.models import Endpoint
from tests import rows

OLD, NEW, LOST = (Fernet.generate_key().decode() for _ in range(3))


@pytest.fixture
def run(database: Engine, configure: Callable[..., None]) -> Callable[[str], Result]:
    """Runs the command with these keys; all that is written in the test is sealed with the old one."""
    url = database.url.render_as_string(hide_password=False)
    configure(DATABASE_URL=url, CLEANPLATE_SECRET_KEYS=OLD)

    def rotate(keys: str) -> Result:
        configure(CLEANPLATE_SECRET_KEYS=keys)
        return CliRunner().invoke(app, ["rotate-vault"])

    return rotate


def test_every_secret_opens_with_the_new_key_alone(
    run: Callable[[str], Result], configure: Callable[..., None]
) -> None:
    with db.transaction() as tx:
        before = {"previous_secret_encrypted": vault.seal("before"), "previous_secret_until": func.now()}
        ids = [rows.endpoint(tx), rows.endpoint(tx, **before)]
        facts = {"tenant_id": rows.TENANT, "fingerprint": "x", "leased_until": func.now() + timedelta(hours=1)}
        tx.add(IdempotencyKey(key="secret", body=vault.seal("an answer"), sealed=True, **facts))
        tx.add(IdempotencyKey(key="plain", body="{}", **facts))
    result = run(f"{NEW},{OLD}")
    assert (result.exit_code, result.stderr) == (0, "4 secrets are encrypted with the first key now\n")
    configure(CLEANPLATE_SECRET_KEYS=NEW)
    with db.transaction() as tx:
        for id_ in ids:
            assert vault.open_sealed(tx.get_one(Endpoint, id_).secret_encrypted) == rows.SIGNING_SECRET
        assert vault.open_sealed(tx.get_one(Endpoint, ids[1]).previous_secret_encrypted or "") == "before"
        assert vault.open_sealed(tx.get_one(IdempotencyKey, (rows.TENANT, "secret")).body or "") == "an answer"
        assert tx.get_one(IdempotencyKey, (rows.TENANT, "plain")).body == "{}"


def test_what_no_key_opens_stays_and_is_named(run: Callable[[str], Result], configure: Callable[..., None]) -> None:
    with db.transaction() as tx:
        good = rows.endpoint(tx)
        configure(CLEANPLATE_SECRET_KEYS=LOST)
        lost = rows.endpoint(tx)
        sealed = tx.get_one(Endpoint, lost).secret_encrypted
    result = run(f"{NEW},{OLD}")
    assert result.exit_code == 1
    assert lost in result.stderr
    assert good not in result.stderr
    with db.transaction() as tx:
        assert tx.get_one(Endpoint, lost).secret_encrypted == sealed


def test_very_many_are_resealed(run: Callable[[str], Result]) -> None:
    with db.transaction() as tx:
        for _ in range(450):
            rows.endpoint(tx)
    assert run(f"{NEW},{OLD}").stderr == "450 secrets are encrypted with the first key now\n"
    assert run(NEW).exit_code == 0


def test_without_a_key_there_is_nothing_to_do_it_with(run: Callable[[str], Result]) -> None:
    result = run("")
    assert result.exit_code == 2
    assert "CLEANPLATE_SECRET_KEYS is not set" in result.stderr
