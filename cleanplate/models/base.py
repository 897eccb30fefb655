"""What all tables have in common."""

from datetime import datetime
from typing import Any

from sqlalchemy import DateTime, MetaData, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase

from cleanplate.states import Hold, InFlight, State

NOW = text("now()")
CLOCK = text("clock_timestamp()")
EMPTY = text("'{}'::jsonb")
NOTHING = text("'[]'::jsonb")


class Base(DeclarativeBase):
    """Constraint names are fixed by convention, so that migrations can name them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_name)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 -- SQLAlchemy's own declaration form
        str: Text(),
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB(none_as_null=True),
        list[Any]: JSONB(none_as_null=True),
    }


def names(*states: State | InFlight | Hold) -> str:
    """Return ``('a', 'b')`` for a check or a partial index."""
    return "(" + ", ".join(f"'{state}'" for state in sorted(states)) + ")"
