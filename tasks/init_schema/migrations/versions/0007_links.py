"""What launches link to, and how each site wants to be asked."""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Make the tables of crawl_launch_pages."""
    op.execute("""
        CREATE TABLE launch_links (
            id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            launch_id     text NOT NULL,
            url           text NOT NULL,
            kind          text NOT NULL CHECK (kind IN ('image', 'patch', 'info', 'video')),
            label         text,
            first_seen_at timestamptz NOT NULL,
            attempted_at  timestamptz,
            fetched_at    timestamptz,
            next_at       timestamptz,
            times_same    integer NOT NULL DEFAULT 0,
            status        integer,
            error         text,
            final_url     text,
            etag          text,
            last_modified text,
            object_key    text,
            sha256        text,
            type          text,
            bytes         bigint,
            width         integer,
            height        integer,
            title         text,
            description   text,
            published_at  timestamptz,
            language      text,
            text          text,
            UNIQUE (launch_id, url, kind)
        );
        CREATE INDEX ON launch_links (url);
        COMMENT ON TABLE launch_links IS
            'What launches link to. An address is asked for once, whichever launches have it: their rows are alike';
        COMMENT ON COLUMN launch_links.label IS 'What the Launch Library calls it, such as Official Press Kit';
        COMMENT ON COLUMN launch_links.attempted_at IS
            'When it was last asked for; later than fetched_at if that run has died';
        COMMENT ON COLUMN launch_links.fetched_at IS 'When an answer last came, or the reason why none did';
        COMMENT ON COLUMN launch_links.next_at IS 'When it is due again';
        COMMENT ON COLUMN launch_links.times_same IS 'How often in a row the answer was as before';
        COMMENT ON COLUMN launch_links.status IS 'The HTTP status of the last answer; null where none came';
        COMMENT ON COLUMN launch_links.error IS 'Why the last answer was not read; what is kept is of an earlier one';
        COMMENT ON COLUMN launch_links.object_key IS 'Where the body is in the object store';
        COMMENT ON COLUMN launch_links.sha256 IS 'The digest of the body, in hexadecimal digits';
        COMMENT ON COLUMN launch_links.type IS 'The media type, such as image/png: of a picture what it is';
        COMMENT ON COLUMN launch_links.text IS 'The main text of a page, without what surrounds it';

        CREATE TABLE crawled_hosts (
            host         text PRIMARY KEY,
            asked_at     timestamptz,
            robots       text,
            robots_at    timestamptz,
            not_before   timestamptz,
            reason       text
        );
        COMMENT ON TABLE crawled_hosts IS 'How the sites that launches link to want to be asked';
        COMMENT ON COLUMN crawled_hosts.host IS 'Such as https://www.example.org, with the port if it is not the usual';
        COMMENT ON COLUMN crawled_hosts.robots IS 'Its robots.txt; empty where it has none';
        COMMENT ON COLUMN crawled_hosts.not_before IS 'Until when it is left alone, for the reason given';
    """)


def downgrade() -> None:
    """Forget what was crawled; the objects stay."""
    op.execute("DROP TABLE launch_links; DROP TABLE crawled_hosts;")
