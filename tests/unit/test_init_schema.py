"""initialize_schema against a real PostgreSQL: up, down, twice, at once, adopting, and the bad days."""

import contextlib
import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC
from typing import Any

import psycopg2
import pytest

import step
from init_schema import schema
from standins.launch_library import LaunchLibrary
from standins.postgres import FETCH, NOTIFY, OWNER, Postgres
from step import Failure
from tests.conftest import Database, assert_stops, run_step, started

NEW_YORK = "America/New_York"
TABLES = {"alembic_version", "fetches", "launch_changes", "notifications", "rocket_launches"}
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
def locked(database: Database, statement: str) -> Iterator["psycopg2.extensions.connection"]:
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


# Up and down


def test_from_nothing_it_makes_every_table(empty_database: Database) -> None:
    result = empty_database.run("init_schema")
    assert (result.code, result.lines) == (0, ["INFO The schema is at revision 0004; it was at base"])
    assert tables(empty_database) == TABLES
    assert revision(empty_database) == ["0004"]
    assert empty_database.query(PROMISED) == []


def test_run_again_it_changes_nothing(database: Database) -> None:
    before = dump(database)
    result = database.run("init_schema")
    assert (result.code, result.last) == (0, "INFO The schema is at revision 0004, as before")
    assert dump(database) == before


@pytest.mark.parametrize(("processes", "start"), [(2, "nothing"), (5, "nothing"), (2, "the original table")])
def test_several_at_once_all_succeed(
    empty_database: Database, shared_database: Database, processes: int, start: str
) -> None:
    if start != "nothing":
        create_original(empty_database)
    with ThreadPoolExecutor(processes) as pool:
        results = list(pool.map(empty_database.run, processes * ["init_schema"]))
    assert [result.code for result in results] == processes * [0]
    assert sorted(result.last.partition(", as")[0].partition("; it")[0] for result in results) == (
        processes * ["INFO The schema is at revision 0004"]
    )
    assert sum("it was at base" in result.last for result in results) == 1
    assert dump(empty_database, "--schema-only") == dump(shared_database, "--schema-only")


def test_each_revision_down_and_up_again_leaves_the_same_schema(database: Database) -> None:
    newest = dump(database)
    for target in ("0003", "0002", "0001", "base"):
        assert database.run("init_schema", "--to", target).code == 0
        assert database.run("init_schema").code == 0
        assert dump(database) == newest


@pytest.mark.parametrize("target", ["0001", "0002", "0003"])
def test_down_again_is_as_if_never_gone_up(empty_database: Database, target: str) -> None:
    assert empty_database.run("init_schema", "--to", target).code == 0
    never_up = dump(empty_database, "--no-acl")
    assert empty_database.run("init_schema").code == 0
    assert dump(empty_database, "--no-acl") != never_up
    assert empty_database.run("init_schema", "--to", target).code == 0
    assert dump(empty_database, "--no-acl") == never_up


def test_the_requests_made_so_far_have_no_warnings(empty_database: Database) -> None:
    assert empty_database.run("init_schema", "--to", "0002").code == 0
    empty_database.query("INSERT INTO fetches (requested_at, url, status, seen) VALUES (now(), 'u', 200, 7)")
    assert empty_database.run("init_schema").code == 0
    assert empty_database.query("SELECT url, status, seen, warnings FROM fetches") == [("u", 200, 7, [])]


def test_base_removes_every_table(database: Database) -> None:
    result = database.run("init_schema", "--to", "base")
    assert (result.code, result.last) == (0, "INFO The schema is at revision base; it was at 0004")
    assert tables(database) == {"alembic_version"}
    assert revision(database) == []


def test_rows_survive_the_way_down_and_up(database: Database) -> None:
    # The columns that only the newest revision has start anew.
    kept = "SELECT id, launch_id, name, net, image_url, details FROM rocket_launches ORDER BY id"
    insert = """
        INSERT INTO rocket_launches (id, launch_id, name, net, image_url, details, status)
        VALUES (7, 'a', 'A', '2026-11-24T07:08:09.5+02', 'https://example.org/a', '{"deep": [1, null, "ü"]}', 'Go'),
               (41, 'b', 'B', NULL, NULL, '{}', NULL);
        SELECT setval(pg_get_serial_sequence('rocket_launches', 'id'), 41)
    """
    database.query(insert)
    before = database.query(kept)
    assert database.run("init_schema", "--to", "0001").code == 0
    down = database.query(kept.replace("details", "details::jsonb"))
    in_utc = [(*row[:3], row[3] and row[3].replace(tzinfo=None), *row[4:]) for row in before]
    assert down == in_utc
    assert database.query("INSERT INTO rocket_launches (launch_id) VALUES ('c') RETURNING id") == [(42,)]
    assert database.run("init_schema").code == 0
    assert database.query(kept) == [*before, (42, "c", "c", None, None, {})]
    insert = "INSERT INTO rocket_launches (launch_id, name, details) VALUES ('d', 'D', '{}') RETURNING id"
    assert database.query(insert) == [(43,)]


# What it refuses


def test_a_newer_database_is_left_alone(database: Database) -> None:
    database.query("UPDATE alembic_version SET version_num = '0009'")
    before = dump(database)
    for target in ("head", "0001", "base"):
        result = database.run("init_schema", "--to", target)
        assert result.code == 78
        assert "0009" in result.last
        assert "newer init_schema image" in result.last
        assert dump(database) == before


@pytest.mark.parametrize("target", ["0005", "", "+1", "%s\x1b[2J\nforged"])
def test_an_unknown_revision_is_refused(shared_database: Database, target: str) -> None:
    before = dump(shared_database)
    result = shared_database.run("init_schema", f"--to={target}")
    assert (result.code, len(result.lines)) == (78, 1)
    assert "base, 0001, 0002, 0003, 0004" in result.last
    assert "\x1b" not in result.last
    assert dump(shared_database) == before


# The original project's table


def adopt(database: Database, text: str = "text") -> dict[int, tuple[Any, ...]]:
    """Adopt an original table where New York's time is the custom; return its rows by id, as they were."""
    create_original(database, text)
    database.query(f"ALTER DATABASE {database.name} SET timezone = '{NEW_YORK}'")
    database.query(f"ALTER ROLE {OWNER} IN DATABASE {database.name} SET timezone = '{NEW_YORK}'")
    original = "SELECT id, launch_id, name, net, image_url, details::text FROM rocket_launches"
    before = {row[0]: row[1:] for row in database.query(original)}
    assert len(before) == len(ORIGINAL)
    assert database.run("init_schema", PGTZ=NEW_YORK, TZ=NEW_YORK).code == 0
    return before


@pytest.mark.parametrize("text", ["text", "varchar(255)"])
def test_an_original_table_is_adopted_with_every_value(
    empty_database: Database, shared_database: Database, text: str
) -> None:
    before = adopt(empty_database, text)
    assert len(empty_database.query(PROMISED)) == len(before)
    statement = "SELECT id, launch_id, name, net, image_url, details FROM rocket_launches"
    after = {row[0]: row[1:] for row in empty_database.query(statement)}
    assert after.keys() == before.keys()
    for number, (launch_id, name, net, image_url, details) in before.items():
        kept_launch_id, kept_name, *kept = after[number]
        assert kept_launch_id == launch_id or launch_id is None
        assert kept_name == (kept_launch_id if name is None else name)
        takes_jsonb = details and r"\u0000" not in details and r"\ud800" not in details
        expected = json.loads(details) if takes_jsonb else details or {}
        assert kept == [net and net.replace(tzinfo=UTC), image_url, expected]
    assert dump(empty_database, "--schema-only") == dump(shared_database, "--schema-only")

    assert empty_database.run("init_schema", "--to", "0001", PGTZ=NEW_YORK).code == 0
    nets = dict(empty_database.query("SELECT id, net FROM rocket_launches"))
    assert nets == {number: row[2] for number, row in before.items()}


def test_after_adoption_fetch_adds_and_updates(empty_database: Database) -> None:
    before = adopt(empty_database)
    launch = {"name": "Falcon 9 | Renamed", "net": "2027-01-17T06:00:00Z"}
    page = {"results": [{"id": launch_id, **launch} for launch_id in ("12345", "new")]}
    with LaunchLibrary() as library:
        library.page = json.dumps(page).encode()
        result = empty_database.run("fetch", LAUNCH_LIBRARY_URL=library.upcoming_url)
    assert result.code == 0, result.lines
    ids = dict(empty_database.query("SELECT launch_id, id FROM rocket_launches WHERE name = 'Falcon 9 | Renamed'"))
    (first,) = (number for number, row in before.items() if row[0] == "12345")
    assert ids == {"12345": first, "new": max(before) + 1}


def test_an_empty_original_table_is_adopted(empty_database: Database) -> None:
    create_original(empty_database, rows=[])
    assert empty_database.run("init_schema").code == 0
    insert = "INSERT INTO rocket_launches (launch_id, name, details) VALUES ('a', 'A', '{}') RETURNING id"
    assert empty_database.query(insert)[0][0] >= 1


def test_the_table_of_another_owner_is_left_alone(empty_database: Database) -> None:
    create_original(empty_database)
    empty_database.query("ALTER TABLE rocket_launches OWNER TO postgres")
    before = dump(empty_database)
    result = empty_database.run("init_schema")
    assert result.code == 78
    assert "Use the role that owns the database and its tables" in result.last
    assert dump(empty_database) == before


@pytest.mark.parametrize(
    ("obstacle", "named"),
    [
        ("CREATE VIEW next_launches AS SELECT id, launch_id, name, net, image_url FROM rocket_launches", "view"),
        ("ALTER TABLE rocket_launches DROP details", "details"),
        ("ALTER TABLE rocket_launches DROP CONSTRAINT rocket_launches_launch_id_key", "unique"),
        ("ALTER TABLE rocket_launches ADD status int", "status"),
    ],
)
def test_a_table_that_cannot_be_adopted_is_left_alone_with_a_sentence(
    empty_database: Database, obstacle: str, named: str
) -> None:
    create_original(empty_database)
    empty_database.query(f"SET ROLE {OWNER}; {obstacle}")
    before = dump(empty_database)
    try:
        result = empty_database.run("init_schema")
    finally:
        assert dump(empty_database) == before
    assert result.code == 78
    assert named in result.last


# Who may do what


# PostgreSQL gives these to everybody who has a role.
EVERYBODY = {
    "CONNECT ON database",
    "TEMPORARY ON database",
    "USAGE ON language plpgsql",
    "USAGE ON language sql",
    "USAGE ON schema public",
}
RIGHTS = {
    FETCH: {
        # The whole table's UPDATE, as LOCK TABLE is not content with columns.
        *(f"{right} ON rocket_launches" for right in ("SELECT", "INSERT", "UPDATE")),
        *(f"{right} ON {table}" for right in ("SELECT", "INSERT") for table in ("launch_changes", "fetches")),
    },
    NOTIFY: {
        "SELECT ON rocket_launches",
        *(f"{right} ON notifications" for right in ("SELECT", "INSERT")),
        *(
            f"UPDATE ON notifications.{column}"
            for column in ("message_id", "facts", "attempted_at", "posted_at", "edited_at")
        ),
    },
}


def table_rights() -> dict[str, str]:
    """Return a statement for each right that a role can have on a table, but for REFERENCES, which needs a table."""
    trigger = "CREATE TRIGGER mine AFTER INSERT ON {} EXECUTE FUNCTION suppress_redundant_updates_trigger()"
    forms = {
        "SELECT": "SELECT * FROM {} LIMIT 0",
        "INSERT": "INSERT INTO {} DEFAULT VALUES",
        "DELETE": "DELETE FROM {}",
        "TRUNCATE": "TRUNCATE {} CASCADE",
        "TRIGGER": trigger,
        "MAINTAIN": "REINDEX TABLE {}",
    }
    return {f"{right} ON {table}": form.format(table) for table in TABLES for right, form in forms.items()}


def refusal(database: Database, step: str, statement: str) -> str | None:
    """Run a statement as a step's role, and undo it; return the SQLSTATE if PostgreSQL refuses it."""
    names = {"PGHOST": "host", "PGPORT": "port", "PGDATABASE": "dbname", "PGUSER": "user", "PGPASSWORD": "password"}
    options: dict[str, Any] = {names[name]: value for name, value in database.env(step).items()}
    with contextlib.closing(psycopg2.connect(**options)) as connection, connection.cursor() as cursor:
        outside_of_any_transaction = ("ALTER SYSTEM", "CREATE DATABASE", "CREATE TABLESPACE")
        connection.autocommit = statement.startswith(outside_of_any_transaction)
        try:
            cursor.execute(statement)
        except psycopg2.Error as error:
            return error.pgcode
        return None


def test_each_role_has_what_it_needs_and_no_more(shared_database: Database) -> None:
    statement = """
        WITH relations AS (
            SELECT c.oid, relname::text AS name, relkind FROM pg_class AS c
            WHERE relnamespace NOT IN ('pg_catalog'::regnamespace, 'pg_toast'::regnamespace)
                AND relnamespace <> 'information_schema'::regnamespace
        )
        SELECT privilege || ' ON ' || name FROM relations, unnest(%(table_rights)s) AS privilege
        WHERE relkind NOT IN ('i', 'S', 'c') AND has_table_privilege(%(role)s, oid, privilege)
        UNION ALL
        SELECT privilege || ' ON ' || name || '.' || attname
        FROM relations JOIN pg_attribute ON attrelid = oid, unnest(%(column_rights)s) AS privilege
        WHERE relkind NOT IN ('i', 'S', 'c') AND attnum > 0 AND NOT attisdropped
            AND has_column_privilege(%(role)s, oid, attname, privilege)
            AND NOT has_table_privilege(%(role)s, oid, privilege)
        UNION ALL
        SELECT privilege || ' ON ' || name
        FROM relations, unnest(ARRAY['USAGE', 'SELECT', 'UPDATE']) AS privilege
        WHERE relkind = 'S' AND has_sequence_privilege(%(role)s, oid, privilege)
        UNION ALL
        SELECT privilege || ' ON schema ' || nspname FROM pg_namespace, unnest(ARRAY['CREATE', 'USAGE']) AS privilege
        WHERE nspname NOT IN ('pg_catalog', 'information_schema') AND has_schema_privilege(%(role)s, oid, privilege)
        UNION ALL
        SELECT privilege || ' ON database' FROM unnest(ARRAY['CREATE', 'CONNECT', 'TEMPORARY']) AS privilege
        WHERE has_database_privilege(%(role)s, current_database(), privilege)
        UNION ALL
        SELECT 'EXECUTE ON ' || oid::regprocedure FROM pg_proc
        WHERE pronamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
            AND has_function_privilege(%(role)s, oid, 'EXECUTE')
        UNION ALL
        SELECT 'USAGE ON language ' || lanname FROM pg_language
        WHERE lanpltrusted AND has_language_privilege(%(role)s, oid, 'USAGE')
        UNION ALL
        SELECT 'CREATE ON tablespace ' || spcname FROM pg_tablespace
        WHERE spcname <> 'pg_default' AND has_tablespace_privilege(%(role)s, oid, 'CREATE')
        UNION ALL
        SELECT 'SET ON ' || parname FROM pg_parameter_acl WHERE has_parameter_privilege(%(role)s, parname, 'SET')
        UNION ALL
        SELECT 'member of ' || pg_get_userbyid(roleid) FROM pg_auth_members WHERE member = %(role)s::regrole
        UNION ALL
        SELECT 'has ' || pg_get_userbyid(member) || ' as a member' FROM pg_auth_members
        WHERE roleid = %(role)s::regrole
        UNION ALL
        SELECT 'default ' || unnest(defaclacl)::text FROM pg_default_acl
        UNION ALL
        SELECT attribute FROM pg_roles, unnest(ARRAY[
            CASE WHEN rolsuper THEN 'superuser' END, CASE WHEN rolcreaterole THEN 'makes roles' END,
            CASE WHEN rolcreatedb THEN 'makes databases' END, CASE WHEN rolreplication THEN 'replicates' END,
            CASE WHEN rolbypassrls THEN 'passes row security' END
        ]) AS attribute
        WHERE rolname = %(role)s AND attribute IS NOT NULL
    """
    column_rights = ["SELECT", "INSERT", "UPDATE", "REFERENCES"]
    table_rights = [*column_rights, "DELETE", "TRUNCATE", "TRIGGER", "MAINTAIN"]

    def rights(role: str, option: str = "") -> set[str]:
        parameters = {
            "role": role,
            "table_rights": [right + option for right in table_rights],
            "column_rights": [right + option for right in column_rights],
        }
        with contextlib.closing(shared_database.server.superuser(shared_database.name)) as connection:
            cursor = connection.cursor()
            cursor.execute(statement, parameters)
            return {right for (right,) in cursor.fetchall()}

    for role, expected in RIGHTS.items():
        assert rights(role) == expected | EVERYBODY
        assert rights(role, " WITH GRANT OPTION") == EVERYBODY  # nothing of theirs can be passed on
    sequences = {f"{table}_id_seq" for table in TABLES - {"alembic_version"}}
    assert rights(OWNER) == EVERYBODY | {"CREATE ON schema public", "CREATE ON database"} | {
        *(f"{right} ON {table}" for right in table_rights for table in TABLES),
        *(f"{right} ON {sequence}" for right in ("USAGE", "SELECT", "UPDATE") for sequence in sequences),
    }


@pytest.mark.parametrize(("step", "role"), [("fetch", FETCH), ("notify", NOTIFY)])
def test_postgresql_refuses_each_role_whatever_is_not_granted(shared_database: Database, step: str, role: str) -> None:
    columns = shared_database.query("""
        SELECT table_name || '.' || column_name, 'UPDATE ' || table_name || ' SET ' || column_name || ' = DEFAULT'
        FROM information_schema.columns WHERE table_schema = 'public'
    """)
    tried = table_rights() | {f"UPDATE ON {column}": statement for column, statement in columns}
    granted = {right for right, statement in tried.items() if refusal(shared_database, step, statement) != "42501"}
    whole = {f"UPDATE ON {column}" for column, _ in columns if f"UPDATE ON {column.partition('.')[0]}" in RIGHTS[role]}
    assert granted == RIGHTS[role] - {"UPDATE ON rocket_launches"} | whole


@pytest.mark.parametrize("step", ["init_schema", "fetch", "notify"])
@pytest.mark.parametrize(
    "statement",
    [
        "ALTER SYSTEM SET log_statement = 'all'",
        "COPY (SELECT 1) TO '/tmp/mine'",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "CREATE DATABASE mine",
        "CREATE FUNCTION mine() RETURNS int LANGUAGE c AS '/tmp/mine'",
        "CREATE ROLE mine",
        "CREATE TABLESPACE mine LOCATION '/tmp/mine'",
        "LOAD '/tmp/mine'",
        "SELECT * FROM pg_authid",
        "SELECT lo_import('/etc/passwd')",
        "SELECT pg_read_file('/etc/passwd')",
        "SET ROLE postgres",
        "SET session_replication_role = replica",
        f"ALTER ROLE {FETCH} SUPERUSER",
        f"GRANT postgres TO {OWNER}",
    ],
)
def test_no_role_gets_beyond_its_database(shared_database: Database, step: str, statement: str) -> None:
    assert refusal(shared_database, step, statement) == "42501"


@pytest.mark.parametrize("step", ["fetch", "notify"])
@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE rocket_launches ADD mine int",
        "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE SCHEMA mine",
        "CREATE TABLE mine (id int)",
        "DROP TABLE notifications",
        "GRANT SELECT ON alembic_version TO PUBLIC",
        "SELECT setval('rocket_launches_id_seq', 1)",
        f"ALTER DEFAULT PRIVILEGES FOR ROLE {OWNER} GRANT ALL ON TABLES TO PUBLIC",
        f"ALTER ROLE {OWNER} PASSWORD 'mine'",
        f"SET ROLE {OWNER}",
    ],
)
def test_the_other_roles_cannot(shared_database: Database, step: str, statement: str) -> None:
    assert refusal(shared_database, step, statement) == "42501"


def test_rights_that_were_lost_come_back(database: Database) -> None:
    before = dump(database)
    database.query(f"REVOKE ALL ON rocket_launches, notifications FROM {FETCH}, {NOTIFY}")
    assert dump(database) != before
    assert database.run("init_schema").code == 0
    assert dump(database) == before


def test_rights_beyond_the_needed_ones_are_taken_back(database: Database) -> None:
    before = dump(database)
    beyond = f"""
        GRANT ALL ON rocket_launches, alembic_version TO {NOTIFY};
        GRANT UPDATE ON notifications TO {NOTIFY};
        GRANT UPDATE (id) ON fetches TO {FETCH}
    """
    database.query(f"SET ROLE {OWNER}; {beyond}")
    assert dump(database) != before
    assert database.run("init_schema").code == 0
    assert dump(database) == before


def test_roles_that_do_not_exist_are_passed_over(own_server: Postgres) -> None:
    own_server.create_database("one_user")
    database = Database(own_server, "one_user")
    assert database.run("init_schema").code == 0
    assert tables(database) == TABLES
    owner = database.env("init_schema")
    assert run_step("notify", owner | {"DISCORD_WEBHOOK_URL": "https://example.org/webhooks/1/t"}).code == 99


# Bad days


def test_a_role_without_rights_is_bad_configuration(empty_database: Database, shared_database: Database) -> None:
    for target in (empty_database, shared_database):
        before = dump(target)
        result = run_step("init_schema", target.env("fetch"))
        assert result.code == 78
        assert "permission denied" in result.last
        assert dump(target) == before


def test_an_empty_wait_is_the_default(shared_database: Database) -> None:
    assert shared_database.run("init_schema", DATABASE_WAIT_SECONDS="").code == 0


def test_a_locked_table_is_left_for_later(empty_database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    create_original(empty_database)
    before = dump(empty_database)
    for variable, value in empty_database.env("init_schema").items():
        monkeypatch.setenv(variable, value)
    connect = step.connect

    def impatient() -> "psycopg2.extensions.connection":
        connection = connect()
        with connection, connection.cursor() as cursor:
            cursor.execute("SHOW lock_timeout")
            assert cursor.fetchone() == ("20s",)  # less than the 30 s that Kubernetes gives after SIGTERM
            cursor.execute("SET lock_timeout = '100ms'")
        return connection

    monkeypatch.setattr(step, "connect", impatient)
    with (
        locked(empty_database, "LOCK TABLE rocket_launches IN ACCESS SHARE MODE"),
        pytest.raises(psycopg2.errors.LockNotAvailable) as caught,
    ):
        schema.migrate("head")
    failure = schema.explain(caught.value)
    assert failure.exit_code == 75
    assert str(failure).endswith("Nothing was changed; the next try starts from the beginning.")
    assert dump(empty_database) == before


@pytest.mark.parametrize("end", ["pg_cancel_backend", "pg_terminate_backend"])
def test_a_step_that_postgresql_ends_changes_nothing(empty_database: Database, end: str) -> None:
    create_original(empty_database)
    before = dump(empty_database)
    lock = "LOCK TABLE rocket_launches IN ACCESS SHARE MODE"
    with locked(empty_database, lock), started("init_schema", empty_database.env("init_schema")) as process:
        empty_database.query(f"SELECT {end}(%s)", until_waiting(empty_database))
        output, _ = process.communicate(timeout=10)
    assert process.returncode == 75, output
    assert output.endswith("Nothing was changed; the next try starts from the beginning.\n")
    assert dump(empty_database) == before


@pytest.mark.parametrize("lock", ["LOCK TABLE rocket_launches", "SELECT pg_advisory_lock(hashtext('init_schema'))"])
def test_sigterm_while_it_waits_for_a_lock_changes_nothing(empty_database: Database, lock: str) -> None:
    create_original(empty_database)
    before = dump(empty_database)
    with started("init_schema", empty_database.env("init_schema")) as process:
        with locked(empty_database, lock):
            until_waiting(empty_database)
            process.send_signal(signal.SIGTERM)
            time.sleep(0.2)
        assert_stops(process)  # though the lock is free, and it could go on
    assert dump(empty_database) == before


def test_a_read_only_server_is_left_for_later(empty_database: Database) -> None:
    empty_database.query(f"ALTER ROLE {OWNER} IN DATABASE {empty_database.name} SET default_transaction_read_only = on")
    result = empty_database.run("init_schema")
    assert result.code == 75
    assert "read-only" in result.last


def test_a_postgresql_that_is_too_old_is_bad_configuration(
    monkeypatch: pytest.MonkeyPatch, empty_database: Database
) -> None:
    for name, value in empty_database.env("init_schema").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("init_schema.schema.OLDEST", 99)
    with pytest.raises(Failure, match=r"PostgreSQL \d+ is too old: this needs 99 or newer") as failure:
        schema.migrate("head")
    assert failure.value.exit_code == 78
