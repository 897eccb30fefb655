"""Public ids sort by the time they were made, and a time can be held against them."""

from datetime import UTC, datetime, timedelta

from cleanplate import ids
from cleanplate.ids import Kind


def test_an_id_sorts_between_the_times_before_and_after_it() -> None:
    before = datetime.now(UTC)
    made = ids.new(Kind.JOB)
    assert ids.least(Kind.JOB, before) < made < ids.least(Kind.JOB, datetime.now(UTC) + timedelta(milliseconds=2))


def test_the_first_and_the_last_moment_can_be_held_against_ids() -> None:
    made = ids.new(Kind.BATCH)
    first, last = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)
    assert ids.least(Kind.BATCH, first, plus_seconds=-86_400) < made < ids.least(Kind.BATCH, last, plus_seconds=86_400)
