"""The bad days of initialize_schema."""

import signal
import time

import psycopg2
import pytest

import step
from init_schema import schema
from standins.postgres import OWNER
from step import Failure
from tests.conftest import Database, assert_stops, run_step, started
from tests.unit.init_schema.conftest import create_original, dump, locked, until_waiting


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
