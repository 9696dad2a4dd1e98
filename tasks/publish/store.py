"""What there is to publish, and what was published, in PostgreSQL."""

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from psycopg2.extensions import connection as Connection  # noqa: N812  # it is a class

from publish.history import Change, State

# Waits for another run, which may have read the tables before the newest change; the lock goes with the connection.
ALONE = "SELECT pg_advisory_lock(hashtext('publish'))"

LAUNCHES = """
    SELECT r.launch_id, r.name, r.net, r.net_precision, r.status, r.image_url, r.first_seen_at, r.last_seen_at,
           r.withdrawn_at, r.object_key, r.position,
           (p.object_key, p.position, p.reader) IS NOT DISTINCT FROM (r.object_key, r.position, %(reader)s) AS is_read,
           coalesce(p.facts, '{}') AS facts, p.event, p.ics, coalesce(p.sequence, 0) AS sequence
    FROM rocket_launches AS r
    LEFT JOIN published_launches AS p USING (launch_id)
    ORDER BY r.id
"""
DETAILS = "SELECT launch_id, details FROM rocket_launches WHERE object_key IS NULL AND details IS NOT NULL ORDER BY id"
CHANGES = "SELECT launch_id, field, old_value, new_value, seen_at FROM launch_changes ORDER BY launch_id, seen_at, id"

# Of each launch, the newest picture that was kept and that a browser can show; and a press kit that is there.
PICTURES = """
    SELECT DISTINCT ON (launch_id) launch_id, object_key, sha256, type, width, height
    FROM launch_links
    WHERE kind = 'image' AND object_key IS NOT NULL AND bytes <= %(largest)s
      AND type IN ('image/jpeg', 'image/png', 'image/webp', 'image/gif', 'image/avif')
    ORDER BY launch_id, fetched_at DESC, id DESC
"""
PRESS_KITS = """
    SELECT DISTINCT ON (launch_id) launch_id, url FROM launch_links
    WHERE kind = 'info' AND label ILIKE '%%press kit%%' AND error IS NULL AND status IN (200, 304)
    ORDER BY launch_id, id
"""

KEEP_FACTS = """
    INSERT INTO published_launches (launch_id, object_key, position, reader, facts)
    SELECT launch_id, object_key, position, %(reader)s, facts
    FROM jsonb_to_recordset(%(rows)s) AS r (launch_id text, object_key text, position integer, facts jsonb)
    ON CONFLICT (launch_id) DO UPDATE SET
        object_key = excluded.object_key,
        position = excluded.position,
        reader = excluded.reader,
        facts = excluded.facts
"""
KEEP_EVENTS = """
    INSERT INTO published_launches (launch_id, reader, facts, event, ics, sequence)
    SELECT launch_id, 0, '{}', event, ics, sequence
    FROM jsonb_to_recordset(%(rows)s) AS r (launch_id text, event text, ics text, sequence integer)
    ON CONFLICT (launch_id) DO UPDATE SET
        event = excluded.event,
        ics = excluded.ics,
        sequence = excluded.sequence
"""

FILES = "SELECT path, sha256, etag, unnamed_since FROM published_files"
KEEP_FILES = """
    INSERT INTO published_files (path, launch_id, sha256, etag, written_at)
    SELECT path, launch_id, sha256, etag, %(now)s
    FROM jsonb_to_recordset(%(rows)s) AS r (path text, launch_id text, sha256 text, etag text)
    ON CONFLICT (path) DO UPDATE SET
        launch_id = excluded.launch_id,
        sha256 = excluded.sha256,
        etag = excluded.etag,
        written_at = excluded.written_at
"""
# A file that no page names: from now on, where it was named until now; and one that is there without a row.
UNNAMED = """
    MERGE INTO published_files AS f
    USING (SELECT unnest(%(paths)s) AS path) AS n ON f.path = n.path
    WHEN MATCHED AND f.unnamed_since IS NULL THEN UPDATE SET unnamed_since = %(now)s
    WHEN NOT MATCHED THEN
        INSERT (path, sha256, etag, written_at, unnamed_since) VALUES (n.path, '', '', %(now)s, %(now)s)
"""
NAMED = "UPDATE published_files SET unnamed_since = NULL WHERE path = ANY(%(paths)s) AND unnamed_since IS NOT NULL"
FORGET = "DELETE FROM published_files WHERE path = ANY(%(paths)s)"

# What was known when, of launches that have flown: the time and its precision at a moment are those that the next
# change replaced, or else those of today. A date counts as known from the day on.
KNOWN = """
    WITH flown AS (
        SELECT r.launch_id, r.net, r.net_precision, r.first_seen_at,
               coalesce(nullif(p.facts ->> 'provider', ''), 'Unknown') AS provider,
               r.first_seen_at > (SELECT min(first_seen_at) FROM rocket_launches) AS is_seen_from_the_start
        FROM rocket_launches AS r
        LEFT JOIN published_launches AS p USING (launch_id)
        WHERE r.status IN ('Success', 'Failure', 'Partial Failure') AND r.net IS NOT NULL AND r.withdrawn_at IS NULL
    ), asked AS (
        SELECT launch_id, first_seen_at AS at, NULL::integer AS days FROM flown
        UNION
        SELECT launch_id, seen_at, NULL FROM launch_changes JOIN flown USING (launch_id)
        WHERE field IN ('net', 'net_precision') AND seen_at < net
        UNION ALL
        SELECT launch_id, net - make_interval(days => days), days
        FROM flown CROSS JOIN unnest(%(days)s) AS horizon (days)
        WHERE first_seen_at <= net - make_interval(days => days)
    ), known AS (
        SELECT f.launch_id, f.provider, f.is_seen_from_the_start, f.net, a.at, a.days,
               CASE WHEN t.launch_id IS NULL THEN f.net ELSE t.old_value::timestamptz END AS net_then,
               coalesce(CASE WHEN p.launch_id IS NULL THEN f.net_precision ELSE p.old_value END, 'minute')
                   AS precision_then
        FROM asked AS a
        JOIN flown AS f USING (launch_id)
        LEFT JOIN LATERAL (
            SELECT launch_id, old_value FROM launch_changes AS c
            WHERE c.launch_id = a.launch_id AND c.field = 'net' AND c.seen_at > a.at
            ORDER BY c.seen_at, c.id LIMIT 1
        ) AS t ON true
        LEFT JOIN LATERAL (
            SELECT launch_id, old_value FROM launch_changes AS c
            WHERE c.launch_id = a.launch_id AND c.field = 'net_precision' AND c.seen_at > a.at
            ORDER BY c.seen_at, c.id LIMIT 1
        ) AS p ON true
    ), dated AS (
        SELECT *, CASE WHEN precision_then IN ('second', 'minute', 'hour') THEN net - net_then
                       ELSE date_trunc('day', net) - date_trunc('day', net_then) END AS slip
        FROM known
        WHERE net_then IS NOT NULL
          AND precision_then IN ('second', 'minute', 'hour', 'day', 'morning', 'afternoon')
    )
"""
BY_DAYS = """
    {known}
    SELECT days, count(*),
           count(*) FILTER (WHERE abs(extract(epoch FROM slip)) > 3600),
           count(*) FILTER (WHERE abs(extract(epoch FROM slip)) > 86400),
           count(*) FILTER (WHERE abs(extract(epoch FROM slip)) > 7 * 86400),
           percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM slip)),
           percentile_cont(0.9) WITHIN GROUP (ORDER BY extract(epoch FROM slip))
    FROM dated
    WHERE days IS NOT NULL
    GROUP BY days
    ORDER BY days DESC
"""
# How far ahead a launch's day was first known: only of those that were not there when the record began.
BY_PROVIDER = """
    {known}
    , first AS (
        SELECT DISTINCT ON (launch_id) launch_id, at, slip FROM dated WHERE days IS NULL AND at < net
        ORDER BY launch_id, at
    )
    SELECT f.provider, count(*),
           count(*) FILTER (WHERE f.is_seen_from_the_start AND i.at IS NOT NULL),
           percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM f.net - i.at))
               FILTER (WHERE f.is_seen_from_the_start AND i.at IS NOT NULL),
           count(w.slip),
           count(w.slip) FILTER (WHERE abs(extract(epoch FROM w.slip)) > 86400),
           percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM w.slip)) FILTER (WHERE w.slip IS NOT NULL)
    FROM flown AS f
    LEFT JOIN first AS i USING (launch_id)
    LEFT JOIN dated AS w ON w.launch_id = f.launch_id AND w.days = %(week)s
    GROUP BY f.provider
    ORDER BY count(*) DESC, f.provider
"""


class Row(NamedTuple):
    """A launch with what was published of it; `is_read` says that its facts are those of its newest answer."""

    launch_id: str
    name: str
    net: datetime | None
    net_precision: str | None
    status: str | None
    image_url: str | None
    first_seen_at: datetime
    last_seen_at: datetime
    withdrawn_at: datetime | None
    object_key: str | None
    position: int | None
    is_read: bool
    facts: dict[str, Any]
    event: str | None
    ics: str | None
    sequence: int

    @property
    def state(self) -> State:
        """Return what is told of it when it changes."""
        return State(self.name, self.net, self.net_precision, self.status, self.image_url)


class Picture(NamedTuple):
    """A picture that was kept; its size in pixels, where that is known."""

    object_key: str
    sha256: str
    type: str
    width: int | None
    height: int | None


class Written(NamedTuple):
    """A file as it was last written."""

    sha256: str
    etag: str
    unnamed_since: datetime | None


class ByDays(NamedTuple):
    """Of the launches that were to fly in so many days, how many moved by more than an hour, a day, a week."""

    days: int
    launches: int
    by_hour: int
    by_day: int
    by_week: int
    median: timedelta
    ninth_decile: timedelta


class ByProvider(NamedTuple):
    """How far ahead a provider's launches were dated, of so many; and how many moved by more than a day in a week."""

    provider: str
    launches: int
    dated: int
    ahead: timedelta | None
    planned: int
    moved: int
    median: timedelta | None


@dataclass
class Tables:
    """What one version of the site is made of, as of one moment."""

    launches: list[Row]
    changes: dict[str, list[Change]]
    pictures: dict[str, Picture]
    press_kits: dict[str, str]


class Store:
    """The tables of this step. Each method is one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def lock(self) -> None:
        """Wait for another run."""
        self._do(ALONE)

    def unread(self, reader: int) -> tuple[list[Row], list[tuple[str, Any]]]:
        """Return the launches whose answer has to be read, and the details of those that PostgreSQL has."""
        rows = [Row(*row) for row in self._do(LAUNCHES, reader=reader)]
        return [row for row in rows if row.object_key and not row.is_read], self._do(DETAILS)

    def keep_facts(self, rows: Iterable[dict[str, Any]], reader: int) -> None:
        """Keep what was read: launch_id, object_key, position, facts."""
        self._do(KEEP_FACTS, rows=json.dumps(list(rows)), reader=reader)

    def tables(self, reader: int, largest: int) -> Tables:
        """Return everything as of one moment; pictures up to so many bytes."""
        with self._connection, self._connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            cursor.execute(LAUNCHES, {"reader": reader})
            launches = [Row(*row) for row in cursor.fetchall()]
            changes: dict[str, list[Change]] = defaultdict(list)
            cursor.execute(CHANGES)
            for row in cursor:
                changes[row[0]].append(Change(*row))
            cursor.execute(PICTURES, {"largest": largest})
            pictures = {launch_id: Picture(*row) for launch_id, *row in cursor.fetchall()}
            cursor.execute(PRESS_KITS, {})
            return Tables(launches, changes, pictures, dict(cursor.fetchall()))

    def by_days(self, days: list[int]) -> list[ByDays]:
        """Return how much launches moved, so many days before."""
        return [
            ByDays(*row[:5], *(timedelta(seconds=float(seconds)) for seconds in row[5:]))
            for row in self._do(BY_DAYS.format(known=KNOWN), days=days)
        ]

    def by_provider(self, week: int) -> list[ByProvider]:
        """Return how far ahead providers date their launches, and how many move in the last so many days."""
        return [
            ByProvider(name, launches, dated, as_time(ahead), planned, moved, as_time(median))
            for name, launches, dated, ahead, planned, moved, median in self._do(
                BY_PROVIDER.format(known=KNOWN), days=[week], week=week
            )
        ]

    def keep_events(self, rows: list[dict[str, Any]]) -> None:
        """Keep how events were revised: launch_id, event, ics, sequence."""
        self._do(KEEP_EVENTS, rows=json.dumps(rows))

    def files(self) -> dict[str, Written]:
        """Return what was written, by its path."""
        return {path: Written(*row) for path, *row in self._do(FILES)}

    def keep_files(self, rows: list[dict[str, Any]], now: datetime) -> None:
        """Keep what was written now: path, launch_id, sha256, etag."""
        self._do(KEEP_FILES, rows=json.dumps(rows), now=now)

    def named(self, paths: list[str]) -> None:
        """Take note that these are named again."""
        self._do(NAMED, paths=paths)

    def unnamed(self, paths: list[str], now: datetime) -> None:
        """Take note of files that nothing names any more."""
        self._do(UNNAMED, paths=paths, now=now)

    def forget(self, paths: list[str]) -> None:
        """Forget files that were deleted."""
        self._do(FORGET, paths=paths)

    def _do(self, statement: str, **values: Any) -> list[Any]:  # noqa: ANN401  # a parameter of SQL
        with self._connection, self._connection.cursor() as cursor:
            cursor.execute(statement, values)
            return list(cursor.fetchall()) if cursor.description else []


def as_time(seconds: float | None) -> timedelta | None:
    """Return a length of time that may not be known."""
    return None if seconds is None else timedelta(seconds=float(seconds))
