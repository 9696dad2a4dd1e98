"""What launches link to, in PostgreSQL: which addresses are due, and what came of asking."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, NamedTuple

from psycopg2.extensions import connection as Connection  # noqa: N812  # it is a class

from crawl.links import Link
from crawl.read import Facts

ALONE = "SELECT pg_try_advisory_lock(hashtext('crawl'))"

# The launches of the next 30 days and the last 7, the nearest first.
LAUNCHES = """
    SELECT launch_id, details, object_key, position FROM rocket_launches
    WHERE net BETWEEN %(now)s - interval '7 days' AND %(now)s + interval '30 days' AND withdrawn_at IS NULL
    ORDER BY abs(extract(epoch FROM net - %(now)s)), launch_id
"""

NAMED = """
    CREATE TEMPORARY TABLE named (
        place     integer NOT NULL,
        launch_id text NOT NULL,
        kind      text NOT NULL,
        url       text NOT NULL,
        label     text
    );
    INSERT INTO named
    SELECT * FROM jsonb_to_recordset(%(links)s) AS l (place integer, launch_id text, kind text, url text, label text)
"""

# An address that another launch has is known already.
ADD = """
    MERGE INTO launch_links AS l
    USING (
        SELECT n.*, k.attempted_at, k.fetched_at, k.next_at, k.times_same, k.status, k.error, k.final_url, k.etag,
               k.last_modified, k.object_key, k.sha256, k.type, k.bytes, k.width, k.height, k.title, k.description,
               k.published_at, k.language, k.text
        FROM named AS n
        LEFT JOIN LATERAL (SELECT * FROM launch_links AS o WHERE o.url = n.url ORDER BY o.id LIMIT 1) AS k ON true
    ) AS n ON (l.launch_id, l.url, l.kind) = (n.launch_id, n.url, n.kind)
    WHEN MATCHED AND l.label IS DISTINCT FROM n.label THEN UPDATE SET label = n.label
    WHEN NOT MATCHED THEN INSERT (
        launch_id, url, kind, label, first_seen_at, attempted_at, fetched_at, next_at, times_same, status, error,
        final_url, etag, last_modified, object_key, sha256, type, bytes, width, height, title, description,
        published_at, language, text
    ) VALUES (
        n.launch_id, n.url, n.kind, n.label, %(now)s, n.attempted_at, n.fetched_at, n.next_at,
        coalesce(n.times_same, 0), n.status, n.error, n.final_url, n.etag, n.last_modified, n.object_key, n.sha256,
        n.type, n.bytes, n.width, n.height, n.title, n.description, n.published_at, n.language, n.text
    )
"""

# Of the links that launches have now, those that are due: new ones first, by the nearest launch.
DUE = """
    SELECT url, times_same, error, etag, last_modified, sha256
    FROM (
        SELECT DISTINCT ON (l.url) l.*, n.place
        FROM launch_links AS l
        JOIN named AS n USING (launch_id, url, kind)
        WHERE l.next_at IS NULL OR l.next_at <= %(now)s
        ORDER BY l.url, n.place
    ) AS due
    ORDER BY next_at IS NOT NULL, place
"""

HOSTS = "SELECT host, asked_at, robots, robots_at, not_before, reason FROM crawled_hosts WHERE host = ANY(%(hosts)s)"

# Written before a request: a run that dies does not ask again, or too soon.
CLAIM = "UPDATE launch_links SET attempted_at = %(now)s, next_at = %(now)s + interval '1 day' WHERE url = %(url)s"
ASKED = """
    INSERT INTO crawled_hosts (host, asked_at) VALUES (%(host)s, %(now)s)
    ON CONFLICT (host) DO UPDATE SET asked_at = excluded.asked_at
"""

HOST = """
    INSERT INTO crawled_hosts (host, robots, robots_at, not_before, reason)
    VALUES (%(host)s, %(robots)s, %(robots_at)s, %(not_before)s, %(reason)s)
    ON CONFLICT (host) DO UPDATE SET
        robots = excluded.robots,
        robots_at = excluded.robots_at,
        not_before = excluded.not_before,
        reason = excluded.reason
"""

POSTPONE = "UPDATE launch_links SET next_at = %(at)s, error = %(reason)s WHERE url = ANY(%(urls)s)"

# The body, and what it says, are as they were where the answer had none.
OUTCOME = """
    UPDATE launch_links SET
        fetched_at = %(now)s,
        next_at = %(next_at)s,
        times_same = %(times_same)s,
        status = %(status)s,
        error = %(error)s
    WHERE url = %(url)s
"""
BODY = """
    UPDATE launch_links SET
        final_url = %(final_url)s,
        etag = %(etag)s,
        last_modified = %(last_modified)s,
        object_key = %(object_key)s,
        sha256 = %(sha256)s,
        bytes = %(bytes)s,
        type = %(type)s,
        width = %(width)s,
        height = %(height)s,
        title = %(title)s,
        description = %(description)s,
        published_at = %(published_at)s,
        language = %(language)s,
        text = %(text)s
    WHERE url = %(url)s
"""

UNFINISHED = """
    SELECT DISTINCT url, attempted_at FROM launch_links
    WHERE attempted_at > coalesce(fetched_at, '-infinity') AND attempted_at > %(now)s - interval '2 days'
"""
KEPT = "SELECT DISTINCT object_key FROM launch_links WHERE object_key IS NOT NULL"


class Launch(NamedTuple):
    """Where a launch's details are: here, or in the object store."""

    launch_id: str
    details: Any
    object_key: str | None
    position: int | None


class Due(NamedTuple):
    """An address to ask for, and what is known of it."""

    url: str
    times_same: int = 0
    error: str | None = None
    etag: str | None = None
    last_modified: str | None = None
    sha256: str | None = None


@dataclass(slots=True)
class Host:
    """How a host wants to be asked; `robots` is None until it is known, and empty where there is none."""

    host: str
    asked_at: datetime | None = None
    robots: str | None = None
    robots_at: datetime | None = None
    not_before: datetime | None = None
    reason: str | None = None


@dataclass(slots=True)
class Body:
    """What an answer had in it."""

    final_url: str
    etag: str | None
    last_modified: str | None
    object_key: str | None
    sha256: str
    bytes: int
    facts: Facts


class Store:
    """The tables of this step. Each method is one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def is_alone(self) -> bool:
        """Take the lock that goes with the connection, and tell whether nobody else has it."""
        return self._rows(ALONE) == [(True,)]

    def launches(self, now: datetime) -> list[Launch]:
        """Return the launches around now."""
        return [Launch(*row) for row in self._rows(LAUNCHES, now=now)]

    def due(self, links: Iterable[Link], now: datetime) -> list[Due]:
        """Take note of all links, and return those that are due."""
        rows = [{"place": place, **link._asdict()} for place, link in enumerate(links)]
        with self._connection, self._connection.cursor() as cursor:
            cursor.execute(NAMED, {"links": json.dumps(rows, ensure_ascii=False)})
            cursor.execute(ADD, {"now": now})
            cursor.execute(DUE, {"now": now})
            return [Due(*row) for row in cursor.fetchall()]

    def hosts(self, hosts: Iterable[str]) -> dict[str, Host]:
        """Return what is known of hosts, by their names."""
        return {row[0]: Host(*row) for row in self._rows(HOSTS, hosts=list(hosts))}

    def claim(self, url: str | None, host: str, now: datetime) -> None:
        """Say that an address is being asked for; None is its host's robots.txt."""
        with self._connection, self._connection.cursor() as cursor:
            cursor.execute(ASKED, {"host": host, "now": now})
            if url:
                cursor.execute(CLAIM, {"url": url, "now": now})

    def keep_host(self, host: Host) -> None:
        """Keep what a host wants."""
        self._do(HOST, **asdict(host))

    def postpone(self, urls: Iterable[str], at: datetime, reason: str) -> None:
        """Put off addresses that are not asked for now."""
        self._do(POSTPONE, urls=list(urls), at=at, reason=reason)

    def outcome(  # noqa: PLR0913  # the columns
        self,
        url: str,
        *,
        now: datetime,
        next_at: datetime,
        times_same: int,
        status: int | None,
        error: str | None,
        body: Body | None,
    ) -> None:
        """Keep what came of asking."""
        with self._connection, self._connection.cursor() as cursor:
            given = {"url": url, "now": now, "next_at": next_at, "times_same": times_same}
            cursor.execute(OUTCOME, given | {"status": status, "error": error})
            if body:
                values = asdict(body)
                cursor.execute(BODY, values | values.pop("facts") | {"url": url})

    def unfinished(self, now: datetime) -> dict[str, datetime]:
        """Return the addresses that a run asked for which has died, and when."""
        return dict(self._rows(UNFINISHED, now=now))

    def kept(self) -> set[str]:
        """Return the objects that have a row."""
        return {key for (key,) in self._rows(KEPT)}

    def _rows(self, statement: str, **values: Any) -> list[Any]:  # noqa: ANN401  # a parameter of SQL
        with self._connection, self._connection.cursor() as cursor:
            cursor.execute(statement, values)
            return list(cursor.fetchall())

    def _do(self, statement: str, **values: Any) -> None:  # noqa: ANN401  # the same
        with self._connection, self._connection.cursor() as cursor:
            cursor.execute(statement, values)
