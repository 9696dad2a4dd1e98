"""What to tell, and what was told: `rocket_launches` and `launch_changes` are read, `notifications` is written."""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from psycopg2.extensions import connection as Connection  # noqa: N812  # it is a class

# The nearest launch is the one whose time is up first: a placeholder such as "in December", which the Launch Library
# writes as the last day of that period at 00:00Z, is up at the period's end. (2.0.0 has no precision; there a TBD at
# midnight is such a placeholder.) What is coming is on every page, ordered as pages are by NET: one that the last page
# no longer had has slipped, or was merged into another, and is not coming.
#
# Of all launches, these matter: those around now, the next ten, those that have just slipped, and those whose message
# may still have to change.
LAUNCHES = """
    WITH timed AS (
        SELECT r.*, CASE
            WHEN r.net_precision IS NULL AND r.status = 'TBD' AND r.net = date_trunc('day', r.net)
                THEN date_trunc('month', r.net) + interval '1 month'
            WHEN r.net_precision IS NULL OR r.net_precision IN ('second', 'minute', 'hour') THEN r.net
            WHEN r.net_precision IN ('day', 'morning', 'afternoon') THEN date_trunc('day', r.net) + interval '1 day'
            WHEN r.net_precision = 'week' THEN date_trunc('week', r.net) + interval '1 week'
            WHEN r.net_precision = 'month' THEN date_trunc('month', r.net) + interval '1 month'
            WHEN r.net_precision LIKE 'quarter%%' THEN date_trunc('quarter', r.net) + interval '3 months'
            WHEN r.net_precision LIKE 'half%%' AND extract(month FROM r.net) <= 6
                THEN date_trunc('year', r.net) + interval '6 months'
            ELSE date_trunc('year', r.net) + interval '1 year'
        END AS up_at
        FROM rocket_launches AS r
    ), placed AS (
        SELECT *, coalesce(
            up_at > %(now)s
            AND net > %(now)s - interval '1 year'
            AND withdrawn_at IS NULL
            AND last_seen_at = (SELECT max(last_seen_at) FROM rocket_launches)
            AND coalesce(status, '') NOT IN
                ('In Flight', 'Success', 'Failure', 'Partial Failure', 'Payload Deployed'),
            false
        ) AS is_coming
        FROM timed
    ), numbered AS (
        SELECT *, row_number() OVER (PARTITION BY is_coming ORDER BY up_at, net, launch_id) AS number
        FROM placed
    )
    SELECT launch_id, name, net, net_precision, status, image_url, details, withdrawn_at IS NOT NULL, is_coming,
           object_key, position, kit.url, kit.title, site.path
    FROM numbered AS r
    LEFT JOIN LATERAL (
        SELECT url, title FROM launch_links AS l
        WHERE l.launch_id = r.launch_id AND kind = 'info' AND label ILIKE '%%press kit%%' AND error IS NULL
            AND status IN (200, 304)
        ORDER BY id
        LIMIT 1
    ) AS kit ON true
    LEFT JOIN LATERAL (
        SELECT path FROM published_files AS f WHERE f.launch_id = r.launch_id AND unnamed_since IS NULL LIMIT 1
    ) AS site ON true
    WHERE (is_coming AND number <= 10)
        OR net BETWEEN %(now)s - interval '2 days' AND %(now)s + %(reach)s
        OR EXISTS (
            SELECT FROM launch_changes AS c
            WHERE c.launch_id = r.launch_id AND c.seen_at > %(now)s - interval '1 day' AND c.field IN ('net', 'status')
        )
        OR ((net IS NULL OR net > %(now)s - interval '7 days'
             OR coalesce(status, '') NOT IN ('Success', 'Failure', 'Partial Failure'))
            AND coalesce(withdrawn_at > %(now)s - interval '7 days', true)
            AND EXISTS (
                SELECT FROM notifications AS n
                WHERE n.launch_id = r.launch_id AND n.channel = ANY(%(channels)s)
                    AND n.kind = 'announced' AND n.message_id IS NOT NULL
            ))
    ORDER BY is_coming DESC, up_at, net, launch_id
"""

CHANGES = """
    SELECT id, launch_id, field, old_value, new_value, seen_at
    FROM launch_changes
    WHERE launch_id = ANY(%(launch_ids)s) AND field IN ('net', 'net_precision', 'status')
    ORDER BY id
"""

TOLD = """
    SELECT id, launch_id, channel, kind, attempt, minutes_before, net, message_id, facts, attempted_at, posted_at
    FROM notifications
    WHERE channel = ANY(%(channels)s) AND (launch_id = ANY(%(launch_ids)s) OR kind = 'board')
    ORDER BY id
"""

# An earlier version kept no thread, and no attempt.
ADOPT = """
    UPDATE notifications SET channel = %(channel)s
    WHERE channel = split_part(%(channel)s, '/', 1) AND attempt IS NULL AND kind = 'announced'
"""
PIN = "UPDATE notifications SET attempt = %(attempt)s WHERE id = ANY(%(ids)s)"

ATTEMPT = """
    INSERT INTO notifications (launch_id, channel, kind, attempt, minutes_before, net, facts, attempted_at)
    VALUES (%(launch_id)s, %(channel)s, %(kind)s, %(attempt)s, %(minutes_before)s, %(net)s, %(facts)s, %(now)s)
    ON CONFLICT (launch_id, channel, kind, attempt, minutes_before) DO UPDATE SET
        message_id = NULL,
        net = excluded.net,
        facts = excluded.facts,
        attempted_at = excluded.attempted_at,
        posted_at = NULL,
        edited_at = NULL
    RETURNING id
"""
POSTED = """
    UPDATE notifications SET message_id = %(message_id)s, posted_at = %(now)s, attempted_at = NULL WHERE id = %(id)s
"""
REFUSED = "UPDATE notifications SET attempted_at = %(earlier)s WHERE id = %(id)s"
EDITED = "UPDATE notifications SET facts = %(facts)s, edited_at = %(now)s WHERE id = %(id)s"
GONE = "UPDATE notifications SET message_id = NULL WHERE id = %(id)s"


class Launch(NamedTuple):
    """A launch; `is_coming` says that the newest page has it and that its time is not up.

    Its details are in the answer `object_key` of the object store, or, where that is None, in the database. Its press
    kit is one that was there when it was crawled. Its page is one that is published.
    """

    launch_id: str
    name: str
    net: datetime | None
    net_precision: str | None
    status: str | None
    image_url: str | None
    details: Any
    is_withdrawn: bool = False
    is_coming: bool = True
    object_key: str | None = None
    position: int | None = None
    press_kit: str | None = None
    press_kit_title: str | None = None
    page: str | None = None


class Change(NamedTuple):
    """A row of `launch_changes`: a time is text, such as 2026-11-24T07:08:09Z."""

    id: int
    launch_id: str
    field: str
    old_value: str | None
    new_value: str | None
    seen_at: datetime


class Told(NamedTuple):
    """A row of `notifications`; `attempted_at` is when a message was sent whose answer nobody got."""

    id: int
    launch_id: str | None
    channel: str
    kind: str
    attempt: int | None
    minutes_before: int | None
    net: datetime | None
    message_id: str | None
    facts: Any
    attempted_at: datetime | None
    posted_at: datetime | None


class Store:
    """The database as one run sees it; each call is a transaction of its own."""

    def __init__(self, connection: Connection, channels: Sequence[str], now: datetime) -> None:
        self._connection = connection
        self._always = {"channels": list(channels), "now": now}

    def lock(self) -> None:
        """Wait for another run, so that two at once do not both post; the lock goes with the connection."""
        self._execute("SELECT pg_advisory_lock(hashtext('notify'))")

    def adopt(self, channel: str) -> None:
        """Take over what an earlier version posted to this channel's webhook, which may be to its thread."""
        self._execute(ADOPT, channel=channel)

    def launches(self, reach: timedelta) -> list[Launch]:
        """Return the launches up to `reach` from now and those that a message shows; what is coming first, by time."""
        return [Launch(*row) for row in self._execute(LAUNCHES, reach=reach)]

    def changes(self, launch_ids: Sequence[str]) -> list[Change]:
        """Return how the time and the status of these launches have changed, the oldest change first."""
        return [Change(*row) for row in self._execute(CHANGES, launch_ids=list(launch_ids))]

    def told(self, launch_ids: Sequence[str]) -> list[Told]:
        """Return what was told of these launches, and the boards."""
        return [Told(*row) for row in self._execute(TOLD, launch_ids=list(launch_ids))]

    def pin(self, ids: Sequence[int], attempt: int) -> None:
        """Say that these announcements of an earlier version are of this attempt."""
        self._execute(PIN, ids=list(ids), attempt=attempt)

    def attempt(self, body: dict[str, Any], **columns: object) -> int:
        """Say, before a message is sent, that it will be: if its answer is lost, the next run knows that.

        Returns the row's id. `columns` are launch_id, channel, kind, attempt, minutes_before, net.
        """
        [(number,)] = self._execute(ATTEMPT, facts=json.dumps(body), **columns)
        return int(number)

    def posted(self, number: int, message_id: str) -> None:
        """Keep the message's id."""
        self._execute(POSTED, id=number, message_id=message_id)

    def refused(self, number: int, earlier: datetime | None) -> None:
        """Take an attempt back: Discord did not take the message. What became of an `earlier` one is still unknown."""
        self._execute(REFUSED, id=number, earlier=earlier)

    def edited(self, number: int, body: dict[str, Any]) -> None:
        """Keep what the message shows now."""
        self._execute(EDITED, id=number, facts=json.dumps(body))

    def gone(self, number: int) -> None:
        """Forget a message that somebody has deleted."""
        self._execute(GONE, id=number)

    def _execute(self, statement: str, **values: object) -> list[tuple[Any, ...]]:
        with self._connection, self._connection.cursor() as cursor:
            cursor.execute(statement, self._always | values)
            return cursor.fetchall() if cursor.description else []
