"""The lock that a worker holds while it is at a job."""

from sqlalchemy import Engine, text

from cleanplate import db
from worker.alone import alone

PREPARED = text("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%pg_try_advisory_xact_lock%'")


def test_its_connection_goes_back_with_its_prepared_statements_which_a_rollback_would_drop(database: Engine) -> None:
    database.dispose()  # others have prepared theirs on its connections
    for _ in range(10):
        with alone("finalize", "job_1") as mine:
            assert mine
    with db.transaction() as tx:
        assert tx.scalar(PREPARED) == 1
