"""Messages of several kinds and to several channels, launches that leave the pages, and which quarter or half it is."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Keep every message as an announcement: notify_discord goes on editing it, and does not post it again."""
    op.execute("""
        SET LOCAL TIME ZONE 'UTC';

        ALTER TABLE notifications RENAME webhook_id TO channel;
        ALTER TABLE notifications
            ALTER launch_id DROP NOT NULL,
            ADD kind           text NOT NULL DEFAULT 'announced'
                CHECK (kind IN ('announced', 'reminder', 'slipped', 'live', 'outcome', 'board')),
            ADD attempt        bigint,
            ADD minutes_before integer,
            ADD net            timestamptz,
            DROP CONSTRAINT notifications_launch_id_webhook_id_key,
            ADD UNIQUE NULLS NOT DISTINCT (launch_id, channel, kind, attempt, minutes_before),
            ADD CHECK ((kind = 'board') = (launch_id IS NULL));
        ALTER TABLE notifications ALTER kind DROP DEFAULT;
        UPDATE notifications SET net = (facts ->> 'net')::timestamptz;

        COMMENT ON COLUMN notifications.channel IS
            'Where it went: a webhook''s id, or ID/THREAD; not the secret part of the address';
        COMMENT ON COLUMN notifications.kind IS 'announced, reminder, slipped, live, outcome, board';
        COMMENT ON COLUMN notifications.attempt IS
            'The launch attempt it is about: the id in launch_changes of the slip or hold that began it, 0 for the '
            'first. Null in a row of an earlier version, until notify_discord has seen it';
        COMMENT ON COLUMN notifications.minutes_before IS 'Of a reminder: how many minutes before NET it is due';
        COMMENT ON COLUMN notifications.net IS 'The NET that the message named when it was posted';
        COMMENT ON COLUMN notifications.facts IS 'What the message shows: the body as it was last sent';

        ALTER TABLE rocket_launches
            ADD asked_at     timestamptz,
            ADD withdrawn_at timestamptz;
        COMMENT ON COLUMN rocket_launches.asked_at IS
            'When fetch_and_store_data last asked for it by its id, since no page had it any more';
        COMMENT ON COLUMN rocket_launches.withdrawn_at IS
            'When the Launch Library did not know its id any more; null again once a page has it';

        UPDATE rocket_launches SET net_precision = 'quarter ' || extract(quarter FROM net)
        WHERE net_precision = 'quarter' AND net IS NOT NULL;
        UPDATE rocket_launches SET net_precision = 'half ' || CASE WHEN extract(month FROM net) <= 6 THEN 1 ELSE 2 END
        WHERE net_precision = 'half' AND net IS NOT NULL;
        COMMENT ON COLUMN rocket_launches.net_precision IS
            'second, minute, hour, morning, afternoon, day, week, month, quarter 1, quarter 2, quarter 3, quarter 4, '
            'half 1, half 2, year, or the Launch Library''s own word in lower case. From month on, net is the last '
            'day of the period at 00:00Z. Unknown before API 2.2.0';
    """)


def downgrade() -> None:
    """Keep the newest announcement of each launch and webhook; messages of other kinds are forgotten."""
    op.execute("""
        UPDATE rocket_launches SET net_precision = split_part(net_precision, ' ', 1)
        WHERE net_precision ~ '^(quarter|half) [1-4]$';
        COMMENT ON COLUMN rocket_launches.net_precision IS
            'second, minute, hour, morning, afternoon, day, week, month, quarter, half, year, or the Launch Library''s '
            'own word in lower case. From month on, net is the last day of the period at 00:00Z. Unknown before API '
            '2.2.0';
        ALTER TABLE rocket_launches DROP asked_at, DROP withdrawn_at;

        DELETE FROM notifications WHERE kind <> 'announced';
        UPDATE notifications SET channel = split_part(channel, '/', 1);
        DELETE FROM notifications AS n USING notifications AS newer
        WHERE newer.launch_id = n.launch_id AND newer.channel = n.channel AND newer.id > n.id;
        ALTER TABLE notifications
            DROP kind,
            DROP attempt,
            DROP minutes_before,
            DROP net,
            ALTER launch_id SET NOT NULL;
        ALTER TABLE notifications RENAME channel TO webhook_id;
        ALTER TABLE notifications ADD UNIQUE (launch_id, webhook_id);
        COMMENT ON COLUMN notifications.webhook_id IS 'Which channel it went to; not the secret part of the address';
        COMMENT ON COLUMN notifications.facts IS 'What the message shows: the columns of rocket_launches at that time';
    """)
