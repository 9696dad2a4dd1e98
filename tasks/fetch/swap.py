"""The statements of a rebuild: temporary tables that stand before the real ones, and the swap at the end.

PostgreSQL looks for a name among the temporary tables first, so `rocket_launches` is the temporary one here, and
`public.rocket_launches` the real one.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from psycopg2.extensions import connection as Connection  # noqa: N812  # it is a class

EXAMPLES = 10  # of launches that differ

ROWS = """
    SELECT id, requested_at, coalesce(run_at, requested_at) AS run_at, url, status, error, object_key, sha256,
           error IS NULL AND added + changed > 0
    FROM public.fetches
    ORDER BY run_at, requested_at, id
"""

# The state at the start: of each fact, what it was before the first change since then.
STAND_BEFORE = """
    CREATE TEMPORARY TABLE rocket_launches (LIKE public.rocket_launches INCLUDING ALL);
    CREATE TEMPORARY TABLE launch_changes (LIKE public.launch_changes INCLUDING ALL);
    CREATE TEMPORARY TABLE fetches (LIKE public.fetches INCLUDING ALL);

    WITH undone AS (
        SELECT DISTINCT ON (launch_id, field) launch_id, field, old_value
        FROM public.launch_changes
        WHERE seen_at >= %(start)s
        ORDER BY launch_id, field, seen_at, id
    ), facts AS (
        SELECT launch_id, jsonb_object_agg(field, old_value) AS before FROM undone GROUP BY launch_id
    )
    INSERT INTO rocket_launches (id, launch_id, name, net, net_precision, status, image_url, last_updated, details,
                                 object_key, position, first_seen_at, last_seen_at, asked_at, withdrawn_at)
    SELECT r.id, r.launch_id,
           CASE WHEN f.before ? 'name' THEN f.before ->> 'name' ELSE r.name END,
           CASE WHEN f.before ? 'net' THEN (f.before ->> 'net')::timestamptz ELSE r.net END,
           CASE WHEN f.before ? 'net_precision' THEN f.before ->> 'net_precision' ELSE r.net_precision END,
           CASE WHEN f.before ? 'status' THEN f.before ->> 'status' ELSE r.status END,
           CASE WHEN f.before ? 'image_url' THEN f.before ->> 'image_url' ELSE r.image_url END,
           r.last_updated, r.details, r.object_key, r.position, r.first_seen_at, r.last_seen_at, r.asked_at,
           r.withdrawn_at
    FROM public.rocket_launches AS r
    LEFT JOIN facts AS f USING (launch_id)
    WHERE r.first_seen_at < %(start)s;

    INSERT INTO fetches OVERRIDING SYSTEM VALUE
    SELECT * FROM public.fetches WHERE coalesce(run_at, requested_at) < %(start)s;

    SELECT setval(pg_get_serial_sequence('pg_temp.rocket_launches', 'id'), coalesce(max(id), 0) + 1)
    FROM public.rocket_launches;
    SELECT setval(pg_get_serial_sequence('pg_temp.fetches', 'id'), coalesce(max(id), 0) + 1) FROM public.fetches;
"""

KEEP = """
    INSERT INTO fetches (requested_at, run_at, url, status, error, object_key, sha256, seen, added, changed, unchanged,
                         unreadable, warnings)
    SELECT requested_at, run_at, url, status, error, object_key, sha256, seen, added, changed, unchanged, unreadable,
           warnings
    FROM public.fetches
    WHERE id = ANY(%(ids)s)
    ORDER BY id
"""

CHANGES_GONE = """
    DELETE FROM public.launch_changes AS old
    WHERE seen_at >= %(start)s
      AND NOT EXISTS (
        SELECT FROM launch_changes AS new
        WHERE (new.launch_id, new.field, new.seen_at) = (old.launch_id, old.field, old.seen_at)
          AND (new.old_value, new.new_value) IS NOT DISTINCT FROM (old.old_value, old.new_value)
      )
"""

LAUNCHES = """
    MERGE INTO public.rocket_launches AS old
    USING rocket_launches AS new ON old.launch_id = new.launch_id
    WHEN MATCHED AND (old.name, old.net, old.net_precision, old.status, old.image_url, old.last_updated, old.details,
                      old.object_key, old.position, old.first_seen_at, old.last_seen_at, old.asked_at,
                      old.withdrawn_at)
        IS DISTINCT FROM (new.name, new.net, new.net_precision, new.status, new.image_url, new.last_updated,
                          new.details, new.object_key, new.position, new.first_seen_at, new.last_seen_at,
                          new.asked_at, new.withdrawn_at)
        THEN UPDATE SET
            name = new.name,
            net = new.net,
            net_precision = new.net_precision,
            status = new.status,
            image_url = new.image_url,
            last_updated = new.last_updated,
            details = new.details,
            object_key = new.object_key,
            position = new.position,
            first_seen_at = new.first_seen_at,
            last_seen_at = new.last_seen_at,
            asked_at = new.asked_at,
            withdrawn_at = new.withdrawn_at
    WHEN NOT MATCHED THEN INSERT (launch_id, name, net, net_precision, status, image_url, last_updated, details,
                                  object_key, position, first_seen_at, last_seen_at, asked_at, withdrawn_at)
        VALUES (new.launch_id, new.name, new.net, new.net_precision, new.status, new.image_url, new.last_updated,
                new.details, new.object_key, new.position, new.first_seen_at, new.last_seen_at, new.asked_at,
                new.withdrawn_at)
    RETURNING merge_action(), new.launch_id, new.name
"""

CHANGES_NEW = """
    INSERT INTO public.launch_changes (launch_id, field, old_value, new_value, seen_at)
    SELECT launch_id, field, old_value, new_value, seen_at
    FROM launch_changes AS new
    WHERE NOT EXISTS (
        SELECT FROM public.launch_changes AS old
        WHERE (new.launch_id, new.field, new.seen_at) = (old.launch_id, old.field, old.seen_at)
    )
    ORDER BY id
"""

# What no answer has any more, in today's reading. One that was told of stays.
LAUNCHES_GONE = """
    DELETE FROM public.rocket_launches AS old
    WHERE first_seen_at >= %(start)s
      AND NOT EXISTS (SELECT FROM rocket_launches AS new WHERE new.launch_id = old.launch_id)
      AND NOT EXISTS (SELECT FROM public.notifications AS n WHERE n.launch_id = old.launch_id)
      AND NOT EXISTS (SELECT FROM public.launch_changes AS c WHERE c.launch_id = old.launch_id)
    RETURNING launch_id, name
"""

FETCHES = """
    MERGE INTO public.fetches AS old
    USING (
        SELECT o.id AS old_id, n.* FROM (
            SELECT *, row_number() OVER (PARTITION BY requested_at, url ORDER BY id) AS place
            FROM fetches
            WHERE coalesce(run_at, requested_at) >= %(start)s
        ) AS n
        LEFT JOIN (
            SELECT id, requested_at, url, row_number() OVER (PARTITION BY requested_at, url ORDER BY id) AS place
            FROM public.fetches
            WHERE coalesce(run_at, requested_at) >= %(start)s
        ) AS o USING (requested_at, url, place)
    ) AS new ON old.id = new.old_id
    WHEN MATCHED AND (old.status, old.error, old.seen, old.added, old.changed, old.unchanged, old.unreadable,
                      old.warnings)
        IS DISTINCT FROM (new.status, new.error, new.seen, new.added, new.changed, new.unchanged, new.unreadable,
                          new.warnings)
        THEN UPDATE SET
            status = new.status,
            error = new.error,
            seen = new.seen,
            added = new.added,
            changed = new.changed,
            unchanged = new.unchanged,
            unreadable = new.unreadable,
            warnings = new.warnings
    WHEN NOT MATCHED THEN INSERT (requested_at, run_at, url, status, error, object_key, sha256, seen, added, changed,
                                  unchanged, unreadable, warnings)
        VALUES (new.requested_at, new.run_at, new.url, new.status, new.error, new.object_key, new.sha256, new.seen,
                new.added, new.changed, new.unchanged, new.unreadable, new.warnings)
    RETURNING merge_action()
"""


class Row(NamedTuple):
    """A row of `fetches`; `has_changed` is whether its answer added or changed launches."""

    id: int
    requested_at: datetime
    run_at: datetime
    url: str
    status: int | None
    error: str | None
    object_key: str | None
    sha256: str | None
    has_changed: bool


class Differences(NamedTuple):
    """What a swap changes: for each table a phrase such as `2 new, 1 other, 0 gone`, and a few launches by name."""

    launches: str
    changes: str
    fetches: str
    examples: list[str]


def rows(connection: Connection) -> list[Row]:
    """Return the requests of the past, run by run."""
    with connection, connection.cursor() as cursor:
        cursor.execute(ROWS)
        return [Row(*row) for row in cursor.fetchall()]


def stand_before(connection: Connection, start: datetime) -> None:
    """Make the temporary tables, as the real ones were at the start."""
    with connection, connection.cursor() as cursor:
        cursor.execute(STAND_BEFORE, {"start": start})


def keep_as_they_are(connection: Connection, ids: Sequence[int]) -> None:
    """Take requests over from the real table."""
    with connection, connection.cursor() as cursor:
        cursor.execute(KEEP, {"ids": list(ids)})


def unstage(connection: Connection, *, known: bool = False) -> None:
    """Empty the stage, or take from it the launches that are known."""
    only = "WHERE launch_id IN (SELECT launch_id FROM rocket_launches)" if known else ""
    with connection, connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM staged {only}")  # noqa: S608  # of the two texts above


def swap(connection: Connection, start: datetime, *, dry_run: bool) -> Differences:
    """Bring the real tables to what the temporary ones have, all or nothing; `dry_run` undoes it again.

    Rows that are equal are not touched, and the ids of launches, changes and requests that were there stay.
    """
    with connection, connection.cursor() as cursor:
        cursor.execute("LOCK TABLE public.rocket_launches IN SHARE ROW EXCLUSIVE MODE")
        cursor.execute(CHANGES_GONE, {"start": start})
        changes_gone = cursor.rowcount
        cursor.execute(LAUNCHES)
        launches = cursor.fetchall()
        cursor.execute(CHANGES_NEW)
        changes_new = cursor.rowcount
        cursor.execute(LAUNCHES_GONE, {"start": start})
        gone = [("DELETE", *row) for row in cursor.fetchall()]
        cursor.execute(FETCHES, {"start": start})
        fetches = [(action, "", "") for (action,) in cursor.fetchall()]
        if dry_run:
            connection.rollback()
    words = {"INSERT": "new", "UPDATE": "other", "DELETE": "gone"}
    return Differences(
        counted([*launches, *gone]),
        f"{changes_new} new, {changes_gone} gone",
        counted(fetches),
        [f"{words[action]}: {name} ({launch_id})" for action, launch_id, name in [*launches, *gone][:EXAMPLES]],
    )


def counted(actions: Sequence[tuple[str, str, str]]) -> str:
    """Say how many rows are new, are other than they were, and are gone."""
    found = [action for action, *_ in actions]
    return f"{found.count('INSERT')} new, {found.count('UPDATE')} other, {found.count('DELETE')} gone"
