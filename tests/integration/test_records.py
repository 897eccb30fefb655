"""Statements that change many rows."""

import pytest
from sqlalchemy import func, select, text, update

from cleanplate import db
from cleanplate.models import Job
from cleanplate.records import page
from tests import rows

pytestmark = pytest.mark.usefixtures("database")


def test_a_page_is_locked_once_even_where_the_planner_would_look_for_it_again_for_every_row() -> None:
    with db.transaction() as tx:
        for _ in range(8):
            rows.job(tx)
        for kind in ("hashjoin", "mergejoin", "material", "hashagg", "sort"):
            tx.execute(text(f"SET LOCAL enable_{kind} = off"))
        few = select(Job.id).limit(2).with_for_update(skip_locked=True)
        tx.execute(update(Job).where(Job.id.in_(page(few))).values(custom_id=Job.id))
        assert tx.scalar(select(func.count(Job.custom_id))) == 2
