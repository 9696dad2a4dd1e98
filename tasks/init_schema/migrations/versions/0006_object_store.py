"""The object store has the answers; PostgreSQL says where."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Make room for where each answer is. What is in `details` stays, until fetch_and_store_data moves it."""
    op.execute("""
        ALTER TABLE fetches
            ADD run_at     timestamptz,
            ADD object_key text,
            ADD sha256     text;
        CREATE INDEX ON fetches (sha256);
        COMMENT ON COLUMN fetches.run_at IS
            'When its run began, which is when the run''s launches were seen. Unknown in rows of an earlier version';
        COMMENT ON COLUMN fetches.object_key IS
            'Where the answer is in the object store; null where none came, or it is kept no longer';
        COMMENT ON COLUMN fetches.sha256 IS 'The digest of the answer as it was received, in hexadecimal digits';

        ALTER TABLE rocket_launches
            ALTER details DROP NOT NULL,
            ADD object_key text,
            ADD position   integer,
            ADD CHECK ((details IS NULL) = (object_key IS NOT NULL));
        COMMENT ON COLUMN rocket_launches.details IS
            'The launch as last received; null where the object store has it';
        COMMENT ON COLUMN rocket_launches.object_key IS
            'The object with the answer that this launch was last read from; null where details has it';
        COMMENT ON COLUMN rocket_launches.position IS
            'Its place in the results of that answer, from 0; null where the answer is the launch';
    """)


def downgrade() -> None:
    """Forget the object store. Refused while it alone has the details of a launch."""
    op.execute("""
        DO $$
        BEGIN
            IF EXISTS (SELECT FROM rocket_launches WHERE details IS NULL) THEN
                RAISE EXCEPTION 'the details of launches are in the object store'
                    USING ERRCODE = 'object_not_in_prerequisite_state';
            END IF;
        END $$;
        ALTER TABLE rocket_launches
            DROP object_key,
            DROP position,
            ALTER details SET NOT NULL;
        COMMENT ON COLUMN rocket_launches.details IS 'The launch as last received';
        ALTER TABLE fetches
            DROP run_at,
            DROP object_key,
            DROP sha256;
    """)
