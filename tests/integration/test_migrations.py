"""The schema's history: there, back, there again, and the same as the models say."""

from collections.abc import Iterator

import pytest
from alembic import command
from sqlalchemy import Engine, inspect, text

from cleanplate import db
from cleanplate.db import alembic_config
from cleanplate.models import Base
from tests.servers import fresh_database
from tests.threads import at_once

TABLES = {table.name for table in Base.metadata.sorted_tables}


@pytest.fixture
def empty_url(postgres_url: str) -> Iterator[str]:
    with fresh_database(postgres_url) as url:
        yield url


@pytest.fixture
def engine(empty_url: str) -> Iterator[Engine]:
    engine = db.connect(empty_url)
    yield engine
    engine.dispose()


def tables(engine: Engine) -> set[str]:
    return set(inspect(engine).get_table_names()) - {"alembic_version"}


def downgrade(engine: Engine, revision: str) -> None:
    config = alembic_config()
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, revision)
        connection.commit()


def test_up_and_down_and_up_again_leaves_the_same_schema_and_nothing_behind(empty_url: str, engine: Engine) -> None:
    db.migrate(empty_url)
    assert tables(engine) == TABLES
    downgrade(engine, "base")
    assert tables(engine) == set()
    with engine.connect() as connection:
        left = connection.execute(text("SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace")).all()
    assert left == []
    db.migrate(empty_url)
    assert tables(engine) == TABLES


def test_each_step_down_can_be_taken_alone(empty_url: str, engine: Engine) -> None:
    db.migrate(empty_url)
    while tables(engine):
        downgrade(engine, "-1")
    db.migrate(empty_url)
    assert tables(engine) == TABLES


def test_the_models_and_the_migrations_agree(migrated_url: str) -> None:
    engine = db.connect(migrated_url)
    config = alembic_config()
    try:
        with engine.connect() as connection:
            config.attributes["connection"] = connection
            command.check(config)
    finally:
        engine.dispose()


def test_the_checks_that_alembic_does_not_compare_are_the_same_too(migrated_url: str, postgres_url: str) -> None:
    def checks(url: str) -> set[tuple[str, str]]:
        engine = db.connect(url)
        query = text("SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'c'")
        indexes = text(
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
        )
        with engine.connect() as connection:
            found = {tuple(row) for row in [*connection.execute(query), *connection.execute(indexes)]}
        engine.dispose()
        return found

    with fresh_database(postgres_url) as url:
        engine = db.connect(url)
        Base.metadata.create_all(engine)
        engine.dispose()
        assert checks(url) == checks(migrated_url)


def test_several_may_migrate_at_once(empty_url: str, engine: Engine) -> None:
    at_once([lambda: db.migrate(empty_url)] * 4)
    assert tables(engine) == TABLES
    with engine.connect() as connection:
        locks = connection.execute(text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")).scalar()
    assert locks == 0
