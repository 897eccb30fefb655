"""Endpoints turned off and on, and the secrets that sign what they get."""

import json
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from cleanplate import db, endpoints
from cleanplate.models import Delivery, Endpoint
from tests import rows

pytestmark = pytest.mark.usefixtures("database")


def test_an_endpoint_is_turned_off_once_for_a_reason_and_the_tenants_others_hear_of_it() -> None:
    with db.transaction() as tx:
        broken, other = rows.deaf_endpoint(tx), rows.deaf_endpoint(tx)
        assert endpoints.disable(tx, broken, "nothing but failures")
        assert not endpoints.disable(tx, broken, "again")
    with db.transaction() as tx:
        row = tx.get_one(Endpoint, broken)
        told = {one.endpoint_id: one for one in tx.scalars(select(Delivery))}
    assert (row.enabled, row.disabled_reason) == (False, "nothing but failures")
    assert row.disabled_at is not None
    assert (told[other].event_type, told[other].state) == ("webhook_endpoint.disabled", "pending")
    data = json.loads(told[other].body)["data"]
    assert (data["id"], data["disabled_reason"], data["secret"]) == (broken, "nothing but failures", None)
    assert told.keys() == {other}


@pytest.mark.parametrize(("hours", "secrets"), [(1, ("new", "old")), (-1, ("new",))])
def test_the_last_secret_signs_too_until_its_time_is_over(hours: int, secrets: tuple[str, ...]) -> None:
    until = func.now() + timedelta(hours=hours)
    rotated = {"previous_secret_encrypted": "old", "previous_secret_until": until, "secret_encrypted": "new"}
    with db.transaction() as tx:
        row = tx.get_one(Endpoint, rows.bare_endpoint(tx, url="http://127.0.0.1:9/", **rotated))
        assert endpoints.sealed_secrets(row) == secrets


def test_without_a_rotation_there_is_one_secret() -> None:
    with db.transaction() as tx:
        assert endpoints.sealed_secrets(tx.get_one(Endpoint, rows.deaf_endpoint(tx))) == ("-",)
