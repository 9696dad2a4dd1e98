"""initialize_schema against a real PostgreSQL: what its tests share."""

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg2
import pytest

from standins.postgres import FETCH, NOTIFY, OWNER, Postgres
from tests.conftest import Database

NEW_YORK = "America/New_York"
TABLES = {
    *("alembic_version", "crawled_hosts", "fetches", "launch_changes", "launch_links", "notifications"),
    *("published_files", "published_launches", "rocket_launches"),
}
PROMISED = "SELECT id, launch_id, name, net, image_url FROM rocket_launches;"

# What the original project may have stored: launch_id, name, net, image_url, details.
ORIGINAL = [
    ("12345", "Falcon 9 | One", "2025-01-17 06:00:00", "https://example.org/1.png", '{"rocket": "Falcon 9"}'),
    ("2", "a fraction, and the hour that New York skips", "2025-03-09 02:30:00.123456", None, "{}"),
    ("3", "null details, no date", None, None, None),
    (None, "null launch_id", "2025-07-01 12:00:00", None, "{}"),
    (None, "another one", "2025-07-01 12:00:00", None, "{}"),
    ("6", None, "2025-07-01 12:00:00", "https://example.org/6.png", '{"no": "name"}'),
    (None, None, None, None, None),
    ("8", "an escaped NUL", None, None, r'{"mission": "\u0000", "n": 1}'),
    ("9", "a lone surrogate", None, None, r'{"mission": "\ud800"}'),
    ("10", "a whole surrogate pair", None, None, r'{"mission": "\ud83d\ude80"}'),
    ("11", "a key twice", None, None, '{"a": 1, "a": 2}'),
    ("12", "an array", None, None, "[1, 2]"),
    ("13", "JSON's null", None, None, "null"),
    ("14", "''; DROP TABLE rocket_launches; -- %s :name", None, None, '"a string"'),
    ("15", "a number that no float holds", None, None, '{"n": 123456789012345678901234567890.5}'),
]


def create_original(database: Database, text: str = "text", rows: list[tuple[str | None, ...]] | None = None) -> None:
    """Make the original project's table as the owner's role did, with a gap in its ids."""
    create = f"""
        SET ROLE {OWNER};
        CREATE TABLE rocket_launches (
            id serial PRIMARY KEY, launch_id varchar UNIQUE, name {text}, net timestamp, image_url text, details json
        );
        INSERT INTO rocket_launches (launch_id) SELECT 'gone' || n FROM generate_series(1, 3) AS n;
        DELETE FROM rocket_launches
    """
    database.query(create)
    for row in ORIGINAL if rows is None else rows:
        database.query(
            "INSERT INTO rocket_launches (launch_id, name, net, image_url, details) VALUES (%s, %s, %s, %s, %s)", *row
        )


def dump(database: Database, *options: str) -> list[str]:
    """Return all of a database as pg_dump writes it, but for the token that is new each time."""
    server = database.server
    program = [str(server._server.bin_path / "pg_dump"), "-h", str(server._data), "-p", str(server.port)]
    command = [*program, "-U", "postgres", *options, database.name]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [line for line in done.stdout.splitlines() if "restrict " not in line]


def revision(database: Database) -> list[Any]:
    return [number for (number,) in database.query("SELECT version_num FROM alembic_version")]


def tables(database: Database) -> set[str]:
    return {name for (name,) in database.query("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}


@contextlib.contextmanager
def locked(database: Database, statement: str) -> Iterator[psycopg2.extensions.connection]:
    """Hold a lock as another session does."""
    with contextlib.closing(database.server.superuser(database.name)) as connection:
        connection.cursor().execute(statement)
        yield connection


def until_waiting(database: Database) -> int:
    """Wait until the step waits for a lock; return its backend's process id."""
    for _ in range(200):
        statement = "SELECT pid FROM pg_stat_activity WHERE usename = %s AND datname = %s AND wait_event_type = 'Lock'"
        if rows := database.query(statement, OWNER, database.name):
            return int(rows[0][0])
        time.sleep(0.05)
    raise AssertionError("the step waits for no lock")


@pytest.fixture(scope="module")
def shared_database(new_database: Callable[..., Database]) -> Database:
    """A database with the schema, for tests that change nothing."""
    return new_database()


@pytest.fixture(scope="module")
def scratch(new_database: Callable[..., Database]) -> Database:
    return new_database(empty=True)


@pytest.fixture
def empty_database(scratch: Database) -> Database:
    """A database with nothing in it; the same one each time, since making one takes longer than most tests here."""
    reset = f"""
        DROP TABLE IF EXISTS rocket_launches CASCADE;
        DROP OWNED BY {OWNER} CASCADE;
        ALTER DATABASE {scratch.name} RESET ALL;
        ALTER ROLE {OWNER} IN DATABASE {scratch.name} RESET ALL
    """
    scratch.query(reset)
    assert tables(scratch) == set()
    return scratch


@pytest.fixture
def database(empty_database: Database) -> Database:
    """The same one with the schema."""
    assert empty_database.run("init_schema").code == 0
    return empty_database


@pytest.fixture(scope="module")
def own_server() -> Iterator[Postgres]:
    """A server that may be stopped, and that has the owner's role only."""
    with Postgres() as server:
        with contextlib.closing(server.superuser("postgres")) as connection, connection, connection.cursor() as cursor:
            cursor.execute(f"DROP ROLE {FETCH}, {NOTIFY}")
        yield server
