"""What publish_launches has read of launches, and what it has written."""

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Make the tables of publish_launches."""
    op.execute("""
        CREATE TABLE published_launches (
            launch_id  text PRIMARY KEY,
            object_key text,
            position   integer,
            reader     integer NOT NULL,
            facts      jsonb NOT NULL,
            event      text,
            ics        text,
            sequence   integer NOT NULL DEFAULT 0
        );
        COMMENT ON TABLE published_launches IS 'What a page says of a launch, so that its answer is read once';
        COMMENT ON COLUMN published_launches.object_key IS
            'The answer that the facts are from, and with position where in it; null where rocket_launches has details';
        COMMENT ON COLUMN published_launches.reader IS 'The version of the program that has read them';
        COMMENT ON COLUMN published_launches.event IS 'The digest of what its calendar event says';
        COMMENT ON COLUMN published_launches.ics IS 'The event as it was written then';
        COMMENT ON COLUMN published_launches.sequence IS 'How often it was revised, as RFC 5545 counts';

        CREATE TABLE published_files (
            path          text PRIMARY KEY,
            launch_id     text,
            sha256        text NOT NULL,
            etag          text NOT NULL,
            written_at    timestamptz NOT NULL,
            unnamed_since timestamptz
        );
        CREATE INDEX ON published_files (launch_id);
        COMMENT ON TABLE published_files IS 'The files of the published site, which are objects below public/';
        COMMENT ON COLUMN published_files.launch_id IS 'The launch whose page it is';
        COMMENT ON COLUMN published_files.etag IS 'What the object store said when it was written';
        COMMENT ON COLUMN published_files.unnamed_since IS 'Since when no page names it; a day later it is deleted'
    """)


def downgrade() -> None:
    """Remove both; the files stay where they are."""
    op.execute("DROP TABLE published_launches, published_files")
