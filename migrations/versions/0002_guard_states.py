"""The database itself refuses moves that the state machine does not have."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

MOVES = """
    ('queued', 'claimed'), ('queued', 'cancelled'),
    ('claimed', 'sending'), ('claimed', 'queued'), ('claimed', 'failed'), ('claimed', 'cancelled'),
    ('sending', 'inflight'), ('sending', 'claimed'), ('sending', 'unconfirmed'), ('sending', 'failed'),
    ('unconfirmed', 'inflight'), ('unconfirmed', 'queued'), ('unconfirmed', 'failed'),
    ('inflight', 'ready'), ('inflight', 'failed'),
    ('ready', 'succeeded'), ('ready', 'inflight'), ('ready', 'failed')
"""


def upgrade() -> None:
    op.execute(
        f"""
        CREATE FUNCTION jobs_guard_state() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF (OLD.state, NEW.state) NOT IN ({MOVES}) THEN
                RAISE EXCEPTION 'a job cannot go from % to %', OLD.state, NEW.state USING ERRCODE = 'check_violation';
            END IF;
            RETURN NEW;
        END $$
        """
    )
    op.execute(
        """
        CREATE TRIGGER jobs_guard_state BEFORE UPDATE OF state ON jobs FOR EACH ROW
        WHEN (OLD.state IS DISTINCT FROM NEW.state) EXECUTE FUNCTION jobs_guard_state()
        """
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER jobs_guard_state ON jobs")
    op.execute("DROP FUNCTION jobs_guard_state()")
