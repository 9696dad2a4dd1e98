"""The launches in PostgreSQL, each with a digest of all that its document is made of."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import NamedTuple, TypeVar

from psycopg2.extensions import ISOLATION_LEVEL_REPEATABLE_READ
from psycopg2.extensions import connection as Connection  # noqa: N812  # it is a class

T = TypeVar("T")

BATCH = 200  # rows that are read at once: their details are large

# Of two runs, the second waits: a run reads the tables after the one before it has written the index.
ALONE = "SELECT pg_advisory_lock(hashtext('index'))"

# A digest has 62 bits: a sum of four million halves is one that a double has exactly. In the order of bytes, as the
# index sorts.
LAUNCHES = """
    SELECT r.launch_id, r.name, r.net, r.net_precision, r.status, r.image_url, r.withdrawn_at,
           r.details::text AS details, r.object_key, r.position, s.slips, p.pages,
           4611686018427387903 & hashtextextended(
               row(r.name, r.net, r.net_precision, r.status, r.image_url, r.withdrawn_at, r.details, r.object_key,
                   r.position, s.slips, p.pages)::text, %(version)s
           ) AS digest
    FROM rocket_launches AS r
    CROSS JOIN LATERAL (
        SELECT count(*) AS slips FROM launch_changes AS c
        WHERE c.launch_id = r.launch_id AND c.field = 'net' AND c.new_value > c.old_value
    ) AS s
    CROSS JOIN LATERAL (
        SELECT array_agg(concat_ws(E'\n', l.title, l.description, left(l.text, %(longest)s)) ORDER BY l.id) AS pages
        FROM launch_links AS l
        WHERE l.launch_id = r.launch_id AND l.text IS NOT NULL
    ) AS p
    WHERE octet_length(r.launch_id) <= 512 -- a longer id, which no real one is, would fail all that is sent with it
    ORDER BY r.launch_id COLLATE "C"
"""
# One row: what tells whether the index has all of it, and when this was so, in microseconds.
STATE = """
    SELECT count(*), coalesce(sum(digest >> 31), 0)::bigint, coalesce(sum(digest & 2147483647), 0)::bigint,
           (extract(epoch FROM now()) * 1000000)::bigint
    FROM ({launches}) AS launch
"""
LONGEST = 20_000  # characters of a page


class State(NamedTuple):
    """The number of launches, and the sums of the halves of their digests."""

    launches: int
    high: int
    low: int


class Row(NamedTuple):
    """A launch; its details are JSON as text, or None where the object store has them."""

    launch_id: str
    name: str
    net: datetime | None
    net_precision: str | None
    status: str | None
    image_url: str | None
    withdrawn_at: datetime | None
    details: str | None
    object_key: str | None
    position: int | None
    slips: int
    pages: list[str] | None
    digest: int


class Store:
    """The tables as they are at one moment. `version` is that of the mapping, which all digests depend on."""

    def __init__(self, connection: Connection, version: int) -> None:
        self._connection = connection
        self._values = {"version": version, "longest": LONGEST}
        with connection, connection.cursor() as cursor:
            cursor.execute(ALONE)
        connection.set_session(isolation_level=ISOLATION_LEVEL_REPEATABLE_READ, readonly=True)

    def state(self) -> tuple[State, int]:
        """Return what there is, and the time of that moment in microseconds, by the database's clock."""
        with self._connection.cursor() as cursor:
            cursor.execute(STATE.format(launches=LAUNCHES), self._values)
            [(launches, high, low, at)] = cursor.fetchall()
            return State(launches, high, low), at

    def launches(self) -> Iterator[Row]:
        """Yield the launches in the order of their ids."""
        with self._connection.cursor("rows") as cursor:
            cursor.execute(LAUNCHES, self._values)
            for rows in ahead(iter(partial(cursor.fetchmany, BATCH), [])):
                yield from map(Row._make, rows)


def ahead(items: Iterator[T]) -> Iterator[T]:
    """Yield the items, each made in a thread while the one before is worked on."""
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = thread.submit(next, items, None)
            yield item
