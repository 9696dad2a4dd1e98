"""What was odd about an answer that was stored all the same."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Give every request a list of warnings; those made so far have none."""
    op.execute("""
        ALTER TABLE fetches ADD warnings text[] NOT NULL DEFAULT '{}';
        COMMENT ON COLUMN fetches.warnings IS
            'What was odd about an answer that was stored, in printable lines, as the log has them';
    """)


def downgrade() -> None:
    """Remove the warnings; the log of each run has them, too."""
    op.execute("ALTER TABLE fetches DROP warnings")
