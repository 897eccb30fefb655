"""Connections that wait in the pool while the server ends them."""

from sqlalchemy import Connection, Engine, func, select, text

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
