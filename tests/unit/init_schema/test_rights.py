"""Who may do what."""

import contextlib
from typing import Any

import psycopg2
import pytest

from standins.postgres import FETCH, NOTIFY, OWNER, ROLES, Postgres
from tests.conftest import Database, run_step
from tests.unit.init_schema.conftest import (
    TABLES,
    dump,
    tables,
)

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
        *(f"{right} ON rocket_launches" for right in ("SELECT", "INSERT", "UPDATE", "DELETE")),
        *(f"{right} ON launch_changes" for right in ("SELECT", "INSERT", "DELETE")),
        *(f"{right} ON fetches" for right in ("SELECT", "INSERT", "UPDATE")),
        *(f"SELECT ON notifications.{column}" for column in ("launch_id", "message_id")),
    },
    NOTIFY: {
        *(f"SELECT ON {table}" for table in ("rocket_launches", "launch_changes")),
        *(f"{right} ON notifications" for right in ("SELECT", "INSERT")),
        *(
            f"UPDATE ON notifications.{column}"
            for column in (
                "channel",
                "attempt",
                "net",
                "message_id",
                "facts",
                "attempted_at",
                "posted_at",
                "edited_at",
            )
        ),
        *(
            f"SELECT ON launch_links.{column}"
            for column in ("id", "launch_id", "url", "kind", "label", "status", "error", "title")
        ),
        *(f"SELECT ON published_files.{column}" for column in ("path", "launch_id", "unnamed_since")),
    },
    ROLES["publish"]: {
        *(f"SELECT ON {table}" for table in ("rocket_launches", "launch_changes", "launch_links")),
        *(
            f"{right} ON {table}"
            for table in ("published_launches", "published_files")
            for right in ("SELECT", "INSERT", "UPDATE")
        ),
        "DELETE ON published_files",
    },
    ROLES["index"]: {f"SELECT ON {table}" for table in ("rocket_launches", "launch_changes", "launch_links")},
    ROLES["stream"]: {f"SELECT ON {table}" for table in ("rocket_launches", "launch_changes")},
    ROLES["crawl"]: {
        *(
            f"SELECT ON rocket_launches.{column}"
            for column in ("launch_id", "net", "withdrawn_at", "details", "object_key", "position")
        ),
        *(
            f"{right} ON {table}"
            for table in ("launch_links", "crawled_hosts")
            for right in ("SELECT", "INSERT", "UPDATE")
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
    # Their keys are words.
    named = {"alembic_version", "crawled_hosts", "published_launches", "published_files"}
    sequences = {f"{table}_id_seq" for table in TABLES - named}
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
    tried |= {f"SELECT ON {column}": "SELECT {1} FROM {0}".format(*column.split(".")) for column, _ in columns}
    granted = {right for right, statement in tried.items() if refusal(shared_database, step, statement) != "42501"}
    whole = {
        f"{right} ON {column}"
        for right in ("SELECT", "UPDATE")
        for column, _ in columns
        if f"{right} ON {column.partition('.')[0]}" in RIGHTS[role]
    }
    assert granted == RIGHTS[role] - {"UPDATE ON rocket_launches", "UPDATE ON fetches"} | whole


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
