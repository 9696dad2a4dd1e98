"""What to tell, and what was told: `rocket_launches` is read, `notifications` is written."""

import json
from datetime import datetime
from typing import Any, NamedTuple

from psycopg2.extensions import connection as Connection  # noqa: N812  # it is a class

# What a message shows that can change; the message is edited when one of these does.
FACTS = """
    jsonb_build_object('name', r.name, 'net', r.net, 'net_precision', r.net_precision, 'status', r.status,
                       'image_url', r.image_url)
"""

OUTDATED = f"""
    SELECT r.launch_id, r.name, r.net, r.net_precision, r.status, r.image_url, r.details, {FACTS} AS facts,
           n.message_id, n.attempted_at
    FROM notifications AS n
    JOIN rocket_launches AS r USING (launch_id)
    WHERE n.webhook_id = %(webhook_id)s AND n.message_id IS NOT NULL AND n.facts IS DISTINCT FROM {FACTS}
    ORDER BY r.net
"""  # noqa: S608  # FACTS is the text above

# The nearest launch is the one whose time is up first: a placeholder such as "in December", which the Launch Library
# writes as the last day of that period at 00:00Z, is up at the period's end. (2.0.0 has no precision; there a TBD at
# midnight is such a placeholder.) The nearest launch is on every page, ordered as pages are by NET: one that the last
# page no longer had has slipped, or was merged into another, and is not it.
NEXT = f"""
    WITH upcoming AS (
        SELECT r.*, CASE
            WHEN r.net_precision IS NULL AND r.status = 'TBD' AND r.net = date_trunc('day', r.net)
                THEN date_trunc('month', r.net) + interval '1 month'
            WHEN r.net_precision IS NULL OR r.net_precision IN ('second', 'minute', 'hour') THEN r.net
            WHEN r.net_precision IN ('day', 'morning', 'afternoon') THEN date_trunc('day', r.net) + interval '1 day'
            WHEN r.net_precision = 'week' THEN date_trunc('week', r.net) + interval '1 week'
            WHEN r.net_precision = 'month' THEN date_trunc('month', r.net) + interval '1 month'
            WHEN r.net_precision = 'quarter' THEN date_trunc('quarter', r.net) + interval '3 months'
            WHEN r.net_precision = 'half' AND extract(month FROM r.net) <= 6
                THEN date_trunc('year', r.net) + interval '6 months'
            ELSE date_trunc('year', r.net) + interval '1 year'
        END AS up_at
        FROM rocket_launches AS r
        WHERE r.net > %(now)s - interval '1 year'
    )
    SELECT r.launch_id, r.name, r.net, r.net_precision, r.status, r.image_url, r.details, {FACTS} AS facts,
           n.message_id, n.attempted_at
    FROM upcoming AS r
    LEFT JOIN notifications AS n ON n.launch_id = r.launch_id AND n.webhook_id = %(webhook_id)s
    WHERE r.up_at > %(now)s
        AND r.last_seen_at = (SELECT max(last_seen_at) FROM rocket_launches)
        AND coalesce(r.status, '') NOT IN
            ('Hold', 'In Flight', 'Success', 'Failure', 'Partial Failure', 'Payload Deployed')
    ORDER BY r.up_at, r.net, r.launch_id
    LIMIT 1
"""  # noqa: S608  # the same

ATTEMPT = """
    INSERT INTO notifications (launch_id, webhook_id, facts, attempted_at)
    VALUES (%(launch_id)s, %(webhook_id)s, %(facts)s, %(now)s)
    ON CONFLICT (launch_id, webhook_id) DO UPDATE SET
        message_id = NULL,
        facts = excluded.facts,
        attempted_at = excluded.attempted_at,
        posted_at = NULL,
        edited_at = NULL
"""
POSTED = """
    UPDATE notifications SET message_id = %(message_id)s, posted_at = %(now)s, attempted_at = NULL
    WHERE launch_id = %(launch_id)s AND webhook_id = %(webhook_id)s
"""
REFUSED = """
    UPDATE notifications SET attempted_at = %(earlier)s
    WHERE launch_id = %(launch_id)s AND webhook_id = %(webhook_id)s
"""
EDITED = """
    UPDATE notifications SET facts = %(facts)s, edited_at = %(now)s
    WHERE launch_id = %(launch_id)s AND webhook_id = %(webhook_id)s
"""
GONE = """
    UPDATE notifications SET message_id = NULL
    WHERE launch_id = %(launch_id)s AND webhook_id = %(webhook_id)s
"""


class Launch(NamedTuple):
    """A launch to tell of; `message_id` is that of the message that shows it.

    `attempted_at` is when a message was sent whose answer nobody got.
    """

    launch_id: str
    name: str
    net: datetime | None
    net_precision: str | None
    status: str | None
    image_url: str | None
    details: Any
    facts: dict[str, Any]
    message_id: str | None
    attempted_at: datetime | None


class Store:
    """The database as one run for one webhook sees it; each call is a transaction of its own."""

    def __init__(self, connection: Connection, webhook_id: str, now: datetime) -> None:
        self._connection = connection
        self._always = {"webhook_id": webhook_id, "now": now}

    def lock(self) -> None:
        """Wait for another run, so that two at once do not both post; the lock goes with the connection."""
        with self._connection, self._connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(hashtext('notify'))")

    def outdated(self) -> list[Launch]:
        """Return the launches whose message shows something that has changed."""
        return self._launches(OUTDATED)

    def next(self) -> Launch | None:
        """Return the nearest launch that is still to come."""
        return next(iter(self._launches(NEXT)), None)

    def attempt(self, launch: Launch) -> None:
        """Say, before a message is sent, that it will be: if its answer is lost, the next run knows that."""
        self._execute(ATTEMPT, launch)

    def posted(self, launch: Launch, message_id: str) -> None:
        """Keep the message's id."""
        self._execute(POSTED, launch, message_id=message_id)

    def refused(self, launch: Launch) -> None:
        """Take an attempt back: Discord did not take the message. What became of an earlier one is still unknown."""
        self._execute(REFUSED, launch, earlier=launch.attempted_at)

    def edited(self, launch: Launch) -> None:
        """Keep what the message shows now."""
        self._execute(EDITED, launch)

    def gone(self, launch: Launch) -> None:
        """Forget a message that somebody has deleted."""
        self._execute(GONE, launch)

    def _launches(self, query: str) -> list[Launch]:
        with self._connection, self._connection.cursor() as cursor:
            cursor.execute(query, self._always)
            return [Launch(*row) for row in cursor.fetchall()]

    def _execute(self, statement: str, launch: Launch, **values: object) -> None:
        with self._connection, self._connection.cursor() as cursor:
            facts = json.dumps(launch.facts)
            cursor.execute(statement, {"launch_id": launch.launch_id, "facts": facts} | self._always | values)
