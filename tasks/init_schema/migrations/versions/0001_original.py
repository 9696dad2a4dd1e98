"""The table of the original project: made here, or adopted with its rows where it is already there."""

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Do nothing where the table is: its columns are the ones below."""
    op.execute("""
        CREATE TABLE IF NOT EXISTS rocket_launches (
            id        serial PRIMARY KEY,
            launch_id text UNIQUE,
            name      text,
            net       timestamp,
            image_url text,
            details   json
        )
    """)


def downgrade() -> None:
    """Remove the table and all launches."""
    op.execute("DROP TABLE rocket_launches")
