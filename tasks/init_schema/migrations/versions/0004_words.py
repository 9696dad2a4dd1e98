"""All the words for status and precision, of which the comments of 0002 name some."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Name all words in the columns' comments."""
    op.execute("""
        COMMENT ON COLUMN rocket_launches.net_precision IS
            'second, minute, hour, morning, afternoon, day, week, month, quarter, half, year, or the Launch Library''s '
            'own word in lower case. From month on, net is the last day of the period at 00:00Z. Unknown before API '
            '2.2.0';
        COMMENT ON COLUMN rocket_launches.status IS
            'Go, TBD, TBC, Hold, In Flight, Success, Failure, Partial Failure, Payload Deployed, or the Launch '
            'Library''s own word';
    """)


def downgrade() -> None:
    """Go back to the comments of 0002."""
    op.execute("""
        COMMENT ON COLUMN rocket_launches.net_precision IS
            'second, minute, hour, day, week, month, quarter, half, year, or the Launch Library''s own word in '
            'lower case. From month on, net is the last day of the period at 00:00Z. Unknown before API 2.2.0';
        COMMENT ON COLUMN rocket_launches.status IS 'Go, TBD, TBC, Hold, In Flight, Success, Failure, …';
    """)
