"""The store step: launches a second, against COPY and a statement each; and a page's time, by what is stored already.

The launches are those of the stand-in's page, about 3.7 KB of JSON each, with names and identities of their own.
"""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg2
import psycopg2.extras

from bench.measure import ROOT, Measure, interleaved
from fetch import launch, launch_library, store
from standins.launch_library import LaunchLibrary
from standins.postgres import FETCH, OWNER, Postgres

Connection = psycopg2.extensions.connection
psycopg2.extensions.register_adapter(dict, psycopg2.extras.Json)  # for the statement a launch

LAUNCHES = 100_000
ONE_BY_ONE = 1_000  # a statement and a commit each: 100,000 would take minutes, and say the same
STORED = (1_000, 10_000, 100_000, 1_000_000)
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
COLUMNS = ", ".join((*launch.Launch.__slots__, "first_seen_at", "last_seen_at"))


def launches(count: int, *, slipped: bool = False) -> list[launch.Launch]:
    """Return so many launches, an hour apart, as the fetch step has read them; slipped ones are an hour later."""
    with LaunchLibrary() as library:
        originals = library.launches()
    found = []
    for number in range(count):
        original = originals[number % len(originals)]
        net = datetime.fromisoformat(original["net"]) + timedelta(hours=number + slipped)
        details = original | {"id": f"{number:08}-{original['id']}", "net": f"{net:%Y-%m-%dT%H:%M:%SZ}"}
        found.append(launch.read(details))
    return found


def store_all(connection: Connection, pages: list[list[launch.Launch]]) -> float:
    """Store pages of 100 as the step does, and return the seconds."""
    started = time.perf_counter()
    store.prepare(connection)
    requests = []
    for number, page in enumerate(pages, 1):
        request = launch_library.Request(number, NOW, "http://localhost/", 200)
        store.stage(connection, request, enumerate(page))
        requests.append(request)
    store.merge(connection, requests, NOW)
    seconds = time.perf_counter() - started
    with connection, connection.cursor() as cursor:
        cursor.execute("DROP TABLE staged")
    return seconds


def one_by_one(connection: Connection, page: list[launch.Launch]) -> float:
    """Store launches as tutorials do, each by a statement that is committed by itself, and return the seconds."""
    started = time.perf_counter()
    with connection.cursor() as cursor:
        for one in page:
            cursor.execute(
                f"INSERT INTO tutorial ({COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
                " ON CONFLICT (launch_id) DO UPDATE SET name = excluded.name, net = excluded.net,"
                " net_precision = excluded.net_precision, status = excluded.status, image_url = excluded.image_url,"
                " last_updated = excluded.last_updated, details = excluded.details,"
                " last_seen_at = excluded.last_seen_at",
                row(one),
            )
    return time.perf_counter() - started


def pages(all_launches: list[launch.Launch]) -> list[list[launch.Launch]]:
    """Return launches as they come, a hundred at a time."""
    return [all_launches[start : start + 100] for start in range(0, len(all_launches), 100)]


def row(one: launch.Launch) -> tuple[Any, ...]:
    """Return a launch as COLUMNS has it."""
    return (*(getattr(one, name) for name in launch.Launch.__slots__), NOW, NOW)


def write_copy(path: Path, all_launches: list[launch.Launch]) -> None:
    """Write launches in COPY's text format, so that COPY's own time has none of Python's in it."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines("\t".join(map(store.copy_value, row(one))) + "\n" for one in all_launches)


def copy(connection: Connection, path: Path) -> float:
    """Store the same rows by COPY into an equal table, and return the seconds; the connection commits by itself."""
    with path.open(encoding="utf-8") as file, connection.cursor() as cursor:
        started = time.perf_counter()
        cursor.copy_expert(f"COPY copied ({COLUMNS}) FROM STDIN", file)
        return time.perf_counter() - started


def measures(rounds: int) -> Iterator[Measure]:
    """Measure the store step on a PostgreSQL of its own, which waits for the disk as a real one does."""
    with Postgres(fsync=True) as server, TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "init_schema"]
        subprocess.run(command, cwd=ROOT / "tasks", env=server.env(OWNER), check=True, stdout=subprocess.DEVNULL)
        env = server.env(FETCH)
        step_connection = psycopg2.connect(
            host=env["PGHOST"],
            port=env["PGPORT"],
            dbname=env["PGDATABASE"],
            user=env["PGUSER"],
            password=env["PGPASSWORD"],
        )
        with contextlib.closing(server.superuser()) as superuser, contextlib.closing(step_connection) as connection:
            superuser.autocommit = True
            yield from rows_a_second(rounds, superuser, connection, Path(folder) / "copy")
            yield from cost_against_size(superuser, connection)


def rows_a_second(rounds: int, superuser: Connection, connection: Connection, path: Path) -> Iterator[Measure]:
    """Store the same launches by COPY, as new ones, when none has changed, when all have, and one by one."""
    new = pages(launches(LAUNCHES))
    slipped = pages(launches(LAUNCHES, slipped=True))
    write_copy(path, [one for page in new for one in page])
    with superuser.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE copied (LIKE rocket_launches INCLUDING ALL);"
            "CREATE TABLE tutorial (LIKE rocket_launches INCLUDING ALL)"
        )

        def empty(*tables: str) -> None:
            cursor.execute(f"TRUNCATE {', '.join(tables)} CASCADE; CHECKPOINT")

        rewritten: list[float] = []

        def copied() -> float:
            empty("copied")
            return LAUNCHES / copy(superuser, path)

        def added() -> float:
            empty("rocket_launches")
            return LAUNCHES / store_all(connection, new)

        def unchanged() -> float:
            cursor.execute("CHECKPOINT")
            before = written(connection)
            rate = LAUNCHES / store_all(connection, new)
            rewritten.append((written(connection) - before) / LAUNCHES)
            return rate

        def changed() -> float:
            cursor.execute("CHECKPOINT")
            return LAUNCHES / store_all(connection, slipped)

        def by_tutorial() -> float:
            empty("tutorial")
            return ONE_BY_ONE / one_by_one(superuser, [one for page in new[: ONE_BY_ONE // 100] for one in page])

        rates = interleaved(rounds, copy=copied, new=added, none=unchanged, all=changed, tutorial=by_tutorial)
    for name, what, goal in (("new", "new", "≥ 0.5"), ("none", "none changed", ""), ("all", "all changed", "")):
        yield Measure(f"store {LAUNCHES:,} launches, {what}", "COPY", goal, rates[name], rates["copy"])
    yield Measure("tuples written for an unchanged launch", "", "1: it was seen", rewritten)
    for name, what, goal in (("new", f"store {LAUNCHES:,} launches, new", "≥ 20"), ("copy", "… COPY itself", "")):
        yield Measure(what, "a row and a commit each", goal, rates[name], rates["tutorial"])


def written(connection: Connection) -> int:
    """Return how many tuples have ever been written of the launches, with what is out of line for its size (TOAST)."""
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT sum(n_tup_ins + n_tup_upd) FROM pg_stat_all_tables WHERE relid IN ("
            " SELECT unnest(ARRAY[oid, reltoastrelid]) FROM pg_class WHERE relname = 'rocket_launches')"
        )
        return int(cursor.fetchone()[0])  # type: ignore[index]  # an aggregate has a row


def cost_against_size(superuser: Connection, connection: Connection) -> Iterator[Measure]:
    """Let one page of 100 arrive, again and again, at tables of several sizes."""
    there = [pages(launches(100)), pages(launches(100, slipped=True))]
    with superuser.cursor() as cursor:
        cursor.execute("TRUNCATE rocket_launches CASCADE")
        store_all(connection, there[0])
        seconds: dict[int, list[float]] = {}
        for before, size in pairwise((100, *STORED)):
            cursor.execute(
                f"INSERT INTO rocket_launches ({COLUMNS})"
                f" SELECT 'stored-' || number, {COLUMNS.partition(', ')[2]}"
                " FROM generate_series(%s, %s) AS number"
                " JOIN (SELECT *, row_number() OVER (ORDER BY id) - 1 AS place FROM rocket_launches ORDER BY id"
                "       LIMIT 100) AS first ON place = number %% 100",
                (before + 1, size),
            )
            cursor.execute("VACUUM ANALYZE rocket_launches")
            cursor.execute("CHECKPOINT")
            seconds[size] = [store_all(connection, there[turn % 2]) for turn in range(1, 16)]
    smallest = seconds[STORED[0]]
    for size in STORED[1:]:
        yield Measure(f"a page of 100 into {size:,} launches", f"into {STORED[0]:,}", "flat", seconds[size], smallest)
