"""Connections that wait in the pool while the server ends them, and what they bring."""

import json
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, cast, func, select, text
from sqlalchemy.dialects.postgresql import JSONB

from cleanplate import db


def pid(connection: Connection) -> int:
    found = connection.scalar(select(func.pg_backend_pid()))
    assert found is not None
    return found


def test_connections_that_were_ended_in_the_pool_are_replaced_before_they_are_used(database: Engine) -> None:
    engine = db.connect(database.url.render_as_string(hide_password=False))
    with engine.connect() as one, engine.connect() as other:
        ended = {pid(one), pid(other)}
    with database.connect() as killer:
        for number in ended:
            assert killer.scalar(text("SELECT pg_terminate_backend(:pid, 60000)"), {"pid": number})
    with engine.connect() as one, engine.connect() as other:
        assert not {pid(one), pid(other)} & ended
    engine.dispose()


def test_a_connection_that_was_told_something_is_used_further(database: Engine) -> None:
    engine = db.connect(database.url.render_as_string(hide_password=False))
    with engine.connect() as one:
        first = pid(one)
        one.execute(text("LISTEN told"))
        one.commit()
    with database.connect() as other:
        other.execute(text("NOTIFY told"))
        other.commit()
    with engine.connect() as one:
        assert pid(one) == first
    engine.dispose()


@pytest.mark.parametrize(
    "value",
    [
        {"Größe": ["\U0001f600", '\t"\\', ""]},
        [10**40, -1.5e-7, 0.1, True, None],
        json.loads("[" * 200 + "]" * 200),
        "",
        0,
    ],
)
def test_json_comes_back_as_it_was_written(database: Engine, value: Any) -> None:
    engine = db.connect(database.url.render_as_string(hide_password=False))
    with engine.connect() as connection:
        assert connection.scalar(select(cast(value, JSONB))) == value
    engine.dispose()
