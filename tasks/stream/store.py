"""What is in PostgreSQL, as the values of records: JSON that it writes itself."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, NamedTuple

from psycopg2.extensions import ISOLATION_LEVEL_REPEATABLE_READ
from psycopg2.extensions import connection as Connection  # noqa: N812  # it is a class

BATCH = 2_000  # rows that are read at once

# How times are written: those of the Launch Library have no fractions, ours do.
ISO_8601 = {"second": 'YYYY-MM-DD"T"HH24:MI:SS"Z"', "microsecond": 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'}

# Columns that change with every fetch, and say nothing of the launch, are left out.
LAUNCHES = """
    SELECT launch_id, row_to_json(launch)::text AS value
    FROM (
        SELECT launch_id, name, to_char(net, %(second)s) AS net, net_precision, status, image_url,
               to_char(last_updated, %(second)s) AS last_updated,
               to_char(first_seen_at, %(microsecond)s) AS first_seen_at,
               to_char(withdrawn_at, %(microsecond)s) AS withdrawn_at
        FROM rocket_launches
    ) AS launch
    ORDER BY launch_id
"""

CHANGES = """
    SELECT c.id, c.launch_id, c.seen_at, row_to_json(change)::text AS value
    FROM launch_changes AS c
    JOIN rocket_launches AS r USING (launch_id)
    CROSS JOIN LATERAL (
        SELECT c.launch_id, r.name, c.field, c.old_value, c.new_value, to_char(c.seen_at, %(microsecond)s) AS seen_at
    ) AS change
    WHERE c.id > %(after)s AND c.id <= %(until)s
    ORDER BY c.id
"""

# One row: what tells whether there is anything to do, without reading the topics.
STATE = """
    SELECT (SELECT coalesce(max(id), 0) FROM launch_changes) AS newest, count(*) AS launches,
           encode(sha256(coalesce(string_agg(sha256(convert_to(value, 'UTF8')), '' ORDER BY launch_id), '')), 'hex')
               AS digest
    FROM ({launches}) AS launch
"""
COUNT = "SELECT count(*) FROM launch_changes WHERE id <= %(until)s AND seen_at > %(since)s"

LAST = 2**63 - 1  # a bigint's


class State(NamedTuple):
    """What PostgreSQL has: the newest change, the number of launches, and a digest of what they are."""

    newest: int
    launches: int
    digest: str


class Change(NamedTuple):
    """A row of launch_changes, and its JSON."""

    id: int
    launch_id: str
    seen_at: datetime
    value: str


class Store:
    """The tables as they are at one moment: that of the first question after `look_again`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        connection.set_session(isolation_level=ISOLATION_LEVEL_REPEATABLE_READ, readonly=True)

    def look_again(self) -> None:
        """Let go of that moment."""
        self._connection.rollback()

    def state(self) -> State:
        """Return what there is."""
        return State(*self._rows(STATE.format(launches=LAUNCHES))[0])

    def change(self, number: int) -> Change | None:
        """Return a change by its id."""
        rows = self._rows(CHANGES, after=number - 1, until=number)
        return Change(*rows[0]) if rows else None

    def kept(self, number: int, since: datetime) -> int:
        """Count the changes up to this one that were seen since then."""
        return int(self._rows(COUNT, until=number, since=since)[0][0])

    def changes(self, after: int) -> Iterator[Change]:
        """Yield the changes after this one, in their order."""
        return map(Change._make, self._each(CHANGES, after=after, until=LAST))

    def launches(self) -> Iterator[tuple[str, str]]:
        """Yield each launch's id and JSON."""
        return self._each(LAUNCHES)

    def _rows(self, statement: str, **values: object) -> list[Any]:
        with self._connection.cursor() as cursor:
            cursor.execute(statement, ISO_8601 | values)
            return cursor.fetchall()

    def _each(self, statement: str, **values: object) -> Iterator[Any]:
        with self._connection.cursor("rows") as cursor, ThreadPoolExecutor(1) as ahead:
            cursor.execute(statement, ISO_8601 | values)
            coming = ahead.submit(cursor.fetchmany, BATCH)
            while rows := coming.result():
                coming = ahead.submit(cursor.fetchmany, BATCH)  # PostgreSQL makes them while these are written
                yield from rows
