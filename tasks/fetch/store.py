"""Launches into PostgreSQL: pages are staged as they come, and merged in one transaction at the end."""

import io
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any, NamedTuple

from psycopg2.extensions import connection as Connection  # noqa: N812  # it is a class

from fetch import locks
from fetch.launch import Launch
from fetch.launch_library import Request
from page import clean

log = logging.getLogger(__name__)

BATCH_CHARACTERS = 1024 * 1024  # staged at once: a page of 100, or 20 launches of a detailed one

# A temporary table: what is staged by a step that dies is gone with its connection.
STAGE = """
    CREATE TEMPORARY TABLE staged (
        launch_id     text PRIMARY KEY,
        request       integer NOT NULL,
        name          text NOT NULL,
        net           timestamptz,
        net_precision text,
        status        text,
        image_url     text,
        last_updated  timestamptz,
        details       jsonb,
        object_key    text,
        position      integer
    )
"""

# Pages can overlap, since NET moves between two requests: the later one is right.
REPLACE = "DELETE FROM staged WHERE launch_id = ANY(%(launch_ids)s)"
COPY = f"COPY staged (request, object_key, position, {', '.join(Launch.__slots__)}) FROM STDIN"

# All parts see the tables as they were before the statement. A launch whose facts are as they were gets nothing but a
# new last_seen_at; one whose other details differ (a counter of its pad, say) gets these, and is no change.
MERGE = """
    WITH before AS (
        SELECT r.launch_id, r.name, r.net, r.net_precision, r.status, r.image_url
        FROM rocket_launches AS r
        JOIN staged USING (launch_id)
    ), changes AS (
        INSERT INTO launch_changes (launch_id, field, old_value, new_value, seen_at)
        SELECT b.launch_id, fact.field, fact.old_value, fact.new_value, %(seen_at)s
        FROM before AS b
        JOIN staged AS s USING (launch_id)
        CROSS JOIN LATERAL (VALUES
            ('name', b.name, s.name),
            ('net', to_char(b.net, %(iso_8601)s), to_char(s.net, %(iso_8601)s)),
            ('net_precision', b.net_precision, s.net_precision),
            ('status', b.status, s.status),
            ('image_url', b.image_url, s.image_url)
        ) AS fact (field, old_value, new_value)
        WHERE fact.old_value IS DISTINCT FROM fact.new_value
        RETURNING launch_id
    ), merged AS (
        MERGE INTO rocket_launches AS r
        USING staged AS s ON r.launch_id = s.launch_id
        WHEN MATCHED AND (r.name, r.net, r.net_precision, r.status, r.image_url, r.last_updated, r.details,
                          r.object_key, r.position)
            IS DISTINCT FROM (s.name, s.net, s.net_precision, s.status, s.image_url, s.last_updated, s.details,
                              s.object_key, s.position)
            THEN UPDATE SET
                name = s.name,
                net = s.net,
                net_precision = s.net_precision,
                status = s.status,
                image_url = s.image_url,
                last_updated = s.last_updated,
                details = s.details,
                object_key = s.object_key,
                position = s.position,
                last_seen_at = %(seen_at)s,
                withdrawn_at = NULL
        WHEN MATCHED
            THEN UPDATE SET last_seen_at = %(seen_at)s, withdrawn_at = NULL
        WHEN NOT MATCHED
            THEN INSERT (launch_id, name, net, net_precision, status, image_url, last_updated, details,
                         object_key, position, first_seen_at, last_seen_at)
            VALUES (s.launch_id, s.name, s.net, s.net_precision, s.status, s.image_url, s.last_updated, s.details,
                    s.object_key, s.position, %(seen_at)s, %(seen_at)s)
    ), counted AS (
        SELECT
            s.request,
            count(*) AS seen,
            count(*) FILTER (WHERE b.launch_id IS NULL) AS added,
            count(c.launch_id) AS changed,
            count(b.launch_id) - count(c.launch_id) AS unchanged
        FROM staged AS s
        LEFT JOIN before AS b USING (launch_id)
        LEFT JOIN (SELECT DISTINCT launch_id FROM changes) AS c USING (launch_id)
        GROUP BY s.request
    )
    INSERT INTO fetches (requested_at, run_at, url, status, error, object_key, sha256,
                         seen, added, changed, unchanged, unreadable, warnings)
    SELECT r.requested_at, %(seen_at)s, r.url, r.status, r.error, r.object_key, r.sha256,
           coalesce(c.seen, 0), coalesce(c.added, 0), coalesce(c.changed, 0), coalesce(c.unchanged, 0),
           r.unreadable, r.warnings
    FROM jsonb_to_recordset(%(requests)s) AS r (
        number integer, requested_at timestamptz, url text, status integer, error text, object_key text, sha256 text,
        unreadable integer, warnings text[]
    )
    LEFT JOIN counted AS c ON c.request = r.number
    ORDER BY r.number
    RETURNING seen, added, changed, unchanged, unreadable
"""

# Launches that a message shows, that no page of this run has, and that have no outcome yet. The further one is from its
# time, the less often it is asked for: an eighth of that distance apart, an hour at least, a week at most.
TO_FOLLOW = """
    SELECT launch_id FROM rocket_launches AS r
    WHERE coalesce(status, '') NOT IN ('Success', 'Failure', 'Partial Failure')
      AND withdrawn_at IS NULL
      AND EXISTS (SELECT FROM notifications AS n WHERE n.launch_id = r.launch_id AND n.message_id IS NOT NULL)
      AND NOT EXISTS (SELECT FROM staged AS s WHERE s.launch_id = r.launch_id)
      AND %(now)s - greatest(last_seen_at, asked_at)
          >= least(greatest(greatest(%(now)s - net, net - %(now)s) / 8, interval '1 hour'), interval '7 days')
    ORDER BY greatest(last_seen_at, asked_at), id
    LIMIT 3
"""

FOLLOWED = """
    UPDATE rocket_launches
    SET asked_at = %(now)s,
        withdrawn_at = CASE WHEN launch_id = ANY(%(withdrawn)s) THEN %(now)s END
    WHERE launch_id = ANY(%(asked)s)
"""

# When a request was spent and when the next one is due. Five minutes less than an hour: a scheduled run that begins a
# little earlier than the last one did is not one too early.
CADENCE = """
    SELECT
        (SELECT count(*) FROM fetches WHERE requested_at > %(now)s - interval '1 hour') AS spent,
        (SELECT min(requested_at) FROM fetches WHERE requested_at > %(now)s - interval '1 hour') + interval '1 hour'
            AS free_at,
        (SELECT max(requested_at) FROM fetches WHERE error IS NULL) AS good_at,
        least(
            (SELECT coalesce(max(requested_at) + interval '55 minutes', %(now)s) FROM fetches WHERE error IS NULL),
            (SELECT min(net) - interval '2 hours' FROM rocket_launches
             WHERE net >= %(now)s - interval '2 hours'
               AND net_precision IN ('second', 'minute', 'hour')
               AND withdrawn_at IS NULL)
        ) AS due_at
"""

# How many launches the address had when it was last read.
LAST_COUNT = """
    SELECT seen + unreadable FROM fetches
    WHERE url = %(url)s AND error IS NULL
    ORDER BY id DESC
    LIMIT 1
"""

# An answer that came before, to the same request.
SAME = """
    SELECT object_key FROM fetches
    WHERE sha256 = %(sha256)s AND url = %(url)s AND object_key IS NOT NULL
    ORDER BY id DESC
    LIMIT 1
"""

# What PostgreSQL has of launches, and how it gets into the object store and back.
DETAILS = "SELECT launch_id, details::text FROM rocket_launches WHERE details IS NOT NULL ORDER BY id"
POINT = """
    UPDATE rocket_launches AS r
    SET object_key = %(key)s, position = place.number - 1, details = NULL
    FROM unnest(%(launch_ids)s) WITH ORDINALITY AS place (launch_id, number)
    WHERE r.launch_id = place.launch_id
"""
PLACES = """
    SELECT object_key, jsonb_object_agg(launch_id, position)
    FROM rocket_launches
    WHERE object_key IS NOT NULL
    GROUP BY object_key
    ORDER BY object_key
"""
FILL = """
    UPDATE rocket_launches AS r
    SET details = found.value, object_key = NULL, position = NULL
    FROM jsonb_each(%(details)s) AS found
    WHERE r.launch_id = found.key
"""

FAILED = """
    INSERT INTO fetches (requested_at, run_at, url, status, unreadable, error, object_key, sha256)
    SELECT requested_at, %(run_at)s, url, status, unreadable, coalesce(r.error, %(error)s), object_key, sha256
    FROM jsonb_to_recordset(%(requests)s) AS r (
        number integer, requested_at timestamptz, url text, status integer, error text, unreadable integer,
        object_key text, sha256 text
    )
    ORDER BY number
"""


class Counts(NamedTuple):
    """How many launches were seen; and of these were new, changed in a fact that matters, or did not."""

    seen: int
    added: int
    changed: int
    unchanged: int
    unreadable: int


class Cadence(NamedTuple):
    """How many requests the last hour had, when it has one less, and when a scheduled run is to make the next.

    `good_at` is when a page was last read, None before the first one.
    """

    spent: int
    free_at: datetime | None
    good_at: datetime | None
    due_at: datetime


def prepare(connection: Connection) -> None:
    """Make room for the pages, and fail now, before a request is spent, where the schema is not there."""
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT warnings, position FROM rocket_launches, launch_changes, fetches LIMIT 0")
        cursor.execute(STAGE)


def cadence(connection: Connection, now: datetime) -> Cadence:
    """Return how the requests are spread over the time before this one."""
    with connection, connection.cursor() as cursor:
        cursor.execute(CADENCE, {"now": now})
        return Cadence(*cursor.fetchone())  # type: ignore[misc]  # it has one row


def last_count(connection: Connection, request: Request) -> int:
    """Return how many launches this address had when it was last read; 0 where it never was."""
    with connection, connection.cursor() as cursor:
        cursor.execute(LAST_COUNT, {"url": request.url})
        return int((cursor.fetchone() or [0])[0])


def key_of_same(connection: Connection, request: Request) -> str | None:
    """Return the key of an answer that is the same, to the same request; None where there is none."""
    with connection, connection.cursor() as cursor:
        cursor.execute(SAME, {"sha256": request.sha256, "url": request.url})
        return (cursor.fetchone() or [None])[0]


def stage(connection: Connection, request: Request, launches: Iterable[tuple[int | None, Launch]]) -> int:
    """Keep a page's launches for `merge`, and return their number. If one is there twice, the later counts.

    Each comes with its place in the page's results, from 0; None where the answer is the launch.
    """
    launch_ids: set[str] = set()
    batch: dict[str, str] = {}
    size = 0
    for position, launch in launches:
        launch_ids.add(launch.launch_id)
        batch[launch.launch_id] = line = copy_line(request, position, launch)
        size += len(line)
        if size > BATCH_CHARACTERS:
            stage_batch(connection, batch)
            batch, size = {}, 0
    stage_batch(connection, batch)
    return len(launch_ids)


def stage_batch(connection: Connection, lines: dict[str, str]) -> None:
    """Keep some launches, each as a line of COPY by its id, in place of what is staged of them."""
    with connection, connection.cursor() as cursor:
        cursor.execute(REPLACE, {"launch_ids": list(lines)})
        cursor.copy_expert(COPY, io.BytesIO("".join(lines.values()).encode()))


def to_follow(connection: Connection, now: datetime) -> list[str]:
    """Return the ids of launches to ask for, the one that was not asked for the longest first."""
    with connection, connection.cursor() as cursor:
        cursor.execute(TO_FOLLOW, {"now": now})
        return [launch_id for (launch_id,) in cursor.fetchall()]


def merge(
    connection: Connection,
    requests: Sequence[Request],
    seen_at: datetime,
    asked: Sequence[str] = (),
    withdrawn: Sequence[str] = (),
) -> Counts:
    """Store all that was staged, what changed by it, and a row a request: all of it or nothing.

    `asked` and `withdrawn` are the ids of launches that were asked for, and of those that are not known any more.
    """
    with connection, connection.cursor() as cursor:
        locks.change_launches(cursor)
        cursor.execute("LOCK TABLE rocket_launches IN SHARE ROW EXCLUSIVE MODE")
        parameters = {"seen_at": seen_at, "requests": as_json([asdict(request) for request in requests])}
        cursor.execute(MERGE, parameters | {"iso_8601": 'YYYY-MM-DD"T"HH24:MI:SS"Z"'})
        rows = cursor.fetchall() or [(0, 0, 0, 0, 0)]
        counts = Counts(*map(sum, zip(*rows, strict=True)))
        cursor.execute(FOLLOWED, {"now": seen_at, "asked": list(asked), "withdrawn": list(withdrawn)})
        return counts


def details(connection: Connection) -> Iterator[tuple[str, str]]:
    """Yield the launches whose details are here, and these as JSON, in a transaction that keeps others waiting."""
    with connection.cursor() as cursor:
        locks.change_launches(cursor)
    with connection.cursor("details") as cursor:
        cursor.itersize = 20  # a detailed launch has 50 kB
        cursor.execute(DETAILS)
        yield from cursor


def point(connection: Connection, key: str, launch_ids: Sequence[str]) -> None:
    """Say that these launches are in this object, in this order, and forget their details here."""
    with connection.cursor() as cursor:
        cursor.execute(POINT, {"key": key, "launch_ids": list(launch_ids)})


def places(connection: Connection) -> list[tuple[str, dict[str, int | None]]]:
    """Return the objects that launches point to, each with its launches' places."""
    with connection, connection.cursor() as cursor:
        cursor.execute(PLACES)
        return cursor.fetchall()


def fill(connection: Connection, details: dict[str, Any]) -> None:
    """Keep the details of launches here, and point to no object any more."""
    with connection, connection.cursor() as cursor:
        locks.change_launches(cursor)
        cursor.execute(FILL, {"details": json.dumps(details, ensure_ascii=False)})


def record_failure(connection: Connection, requests: Sequence[Request], run_at: datetime, error: str) -> None:
    """Store a row a request and no launch."""
    with connection, connection.cursor() as cursor:
        requests_json = as_json([asdict(request) for request in requests])
        # The error may quote an answer.
        cursor.execute(FAILED, {"requests": requests_json, "run_at": run_at, "error": clean(error)})


def copy_line(request: Request, position: int | None, launch: Launch) -> str:
    """Write a launch in the text format of COPY, by which PostgreSQL parses it once and not twice.

    Where the object store has the answer, that has the details.
    """
    where: tuple[str | None, int | None] = (None, None)
    if request.object_key:
        launch, where = replace(launch, details=None), (request.object_key, position)
    values = [request.number, *where, *(getattr(launch, name) for name in Launch.__slots__)]
    return "\t".join(map(copy_value, values)) + "\n"


def copy_value(value: object) -> str:
    """Escape what means something there; see "File Formats" of COPY in PostgreSQL's manual."""
    if value is None:
        return r"\N"
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)
    return text.replace("\\", r"\\").replace("\t", r"\t").replace("\n", r"\n").replace("\r", r"\r")


def as_json(rows: list[dict[str, object]]) -> str:
    """Write rows for `jsonb_to_recordset`; times as ISO 8601."""
    return json.dumps(rows, ensure_ascii=False, default=datetime.isoformat)
