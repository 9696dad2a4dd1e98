"""What all steps have in common: how they wait for PostgreSQL, are refused by it, write their log, and are stopped."""

import contextlib
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg2
import pytest
from pytest_httpserver import HTTPServer

import step
from init_schema import schema
from standins.postgres import ROLES, Postgres
from tests.conftest import Database, Result, assert_stops, run_step, started

HOSTILE = "x\n2031-01-01T00:00:00Z INFO forged\r\x1b[2J\x9b31m\u2028\u2029\x85\x0b\u202e\x7f"

each_step = pytest.mark.parametrize("name", ROLES)
each_but_init_schema = pytest.mark.parametrize("name", ["fetch", "notify"])


@pytest.fixture(scope="module")
def shared_database(new_database: Callable[..., Database]) -> Database:
    """A database with the schema, for tests that change nothing."""
    return new_database()


@pytest.fixture(scope="module")
def own_server() -> Iterator[Postgres]:
    """A server that may be stopped."""
    with Postgres() as server:
        assert Database(server, "launches").run("init_schema").code == 0
        yield server


def services(httpserver: HTTPServer) -> dict[str, str]:
    """Name a Launch Library, a Discord, who crawls, where the site is, and servers that are not there."""
    return {
        "OBJECT_STORE": (Path(tempfile.gettempdir()) / "rocket-launches-test-step").as_uri(),
        "PUBLIC_URL": "https://launches.example.org",
        "CRAWL_CONTACT": "crawl@example.org",
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9",  # nobody
        "KAFKA_WAIT_SECONDS": "1",
        "SEARCH_URL": "http://127.0.0.1:9",
        "SEARCH_WAIT_SECONDS": "1",
        "LAUNCH_LIBRARY_URL": httpserver.url_for("/2.3.0/launches/upcoming/"),
        "DISCORD_WEBHOOK_URL": httpserver.url_for("/api/webhooks/1/token"),
    }


def run_in_vain(name: str, database: Database, httpserver: HTTPServer, **env: str) -> Result:
    """Run a step that fails before it asks any service."""
    result = run_step(name, database.env(name) | services(httpserver) | {"DATABASE_WAIT_SECONDS": "1"} | env)
    assert result.last.startswith("ERROR ")
    assert httpserver.log == []
    return result


@contextlib.contextmanager
def free_port() -> Iterator[str]:
    """Keep a port on which nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        yield str(free.getsockname()[1])


# PostgreSQL's bad days


@each_step
@pytest.mark.parametrize(
    "wrong",
    [
        {"PGPASSWORD": "wrong-password"},
        {"PGPASSWORD": ""},
        {"PGUSER": "nobody"},
        {"PGDATABASE": "nowhere"},
        {"PGPORT": "no number"},
        {"PGSSLMODE": "no mode"},
    ],
    ids=lambda wrong: "=".join(*wrong.items()),
)
def test_a_refused_connection_is_bad_configuration_at_once(
    shared_database: Database, httpserver: HTTPServer, name: str, wrong: dict[str, str]
) -> None:
    began = time.monotonic()
    result = run_in_vain(name, shared_database, httpserver, DATABASE_WAIT_SECONDS="60", **wrong)
    assert (result.code, len(result.lines)) == (78, 1)
    assert time.monotonic() - began < 5
    assert "Check PGHOST, PGPORT, PGDATABASE, PGUSER and PGPASSWORD." in result.last
    assert "wrong-password" not in result.last
    assert shared_database.env(name)["PGPASSWORD"] not in result.last


@each_step
def test_a_role_that_may_not_connect_is_bad_configuration_at_once(
    shared_database: Database, httpserver: HTTPServer, name: str
) -> None:
    shared_database.query(f"REVOKE CONNECT ON DATABASE {shared_database.name} FROM PUBLIC")
    try:  # as a role that does not own the database
        result = run_in_vain(name, shared_database, httpserver, **shared_database.env("fetch"))
    finally:
        shared_database.query(f"GRANT CONNECT ON DATABASE {shared_database.name} TO PUBLIC")
    assert (result.code, len(result.lines)) == (78, 1)
    assert "permission denied for database" in result.last


@each_step
def test_a_server_that_is_not_there_is_waited_for_and_then_left_for_later(
    shared_database: Database, httpserver: HTTPServer, name: str
) -> None:
    began = time.monotonic()
    with free_port() as port:
        result = run_in_vain(name, shared_database, httpserver, PGPORT=port)
    assert result.code == 75
    assert 0.9 < time.monotonic() - began < 5
    assert result.lines[0] == "INFO Waiting for PostgreSQL, try 2"
    assert "did not answer within 1 s" in result.last
    assert "Connection refused" in result.last
    assert "Check that it runs" in result.last


@each_step
def test_a_server_that_never_answers_is_waited_for_no_longer(
    shared_database: Database, httpserver: HTTPServer, name: str
) -> None:
    began = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        result = run_in_vain(name, shared_database, httpserver, PGPORT=str(silent.getsockname()[1]))
    assert result.code == 75
    assert time.monotonic() - began < 12
    assert "timeout expired" in result.last


@each_step
@pytest.mark.parametrize("seconds", ["soon", "-", "nan"])
def test_a_wait_that_is_no_number_is_bad_configuration(
    shared_database: Database, httpserver: HTTPServer, name: str, seconds: str
) -> None:
    result = run_in_vain(name, shared_database, httpserver, DATABASE_WAIT_SECONDS=seconds)
    assert (result.code, len(result.lines)) == (78, 1)
    assert "DATABASE_WAIT_SECONDS" in result.last


@each_step
def test_it_waits_for_a_server_that_is_still_starting(own_server: Postgres, httpserver: HTTPServer, name: str) -> None:
    httpserver.expect_request("/2.3.0/launches/upcoming/").respond_with_json({"results": []})
    env = Database(own_server, "launches").env(name) | services(httpserver)
    own_server.stop()
    with started(name, env) as process:
        assert process.stdout
        waiting = process.stdout.readline()
        own_server.start()
        output, _ = process.communicate(timeout=30)
    assert "Waiting for PostgreSQL, try 2" in waiting
    expected = {"notify": 99, "crawl": 99, "stream": 75, "index": 75}
    assert process.returncode == expected.get(name, 0), output


@pytest.mark.parametrize("name", sorted(ROLES.keys() - {"stream", "index"}))  # which write nothing there
def test_a_read_only_server_is_left_for_later(
    new_database: Callable[..., Database], httpserver: HTTPServer, name: str
) -> None:
    database = new_database()
    database.query(
        "INSERT INTO rocket_launches (launch_id, name, net, details) VALUES ('1', 'Next', '2999-01-01', '{}')"
    )
    database.query(f"ALTER DATABASE {database.name} SET default_transaction_read_only = on")
    result = run_in_vain(name, database, httpserver)
    assert result.code == 75
    assert "read-only" in result.last


@each_but_init_schema
def test_without_its_tables_it_names_the_step_that_makes_them(
    empty_database: Database, httpserver: HTTPServer, name: str
) -> None:
    result = run_in_vain(name, empty_database, httpserver)
    assert result.code == 78
    assert result.last.endswith("Run initialize_schema, which makes and grants it.")


def raised(database: Database, code: str) -> psycopg2.Error:
    """Return the error that psycopg2 makes of an SQLSTATE."""
    with pytest.raises(psycopg2.Error) as error:
        database.query(f"DO $$ BEGIN RAISE 'its own words' USING ERRCODE = '{code}'; END $$")
    return error.value


@pytest.mark.parametrize("explain", [step.explain, schema.explain], ids=["step", "init_schema"])
@pytest.mark.parametrize("code", ["08006", "25006", "40P01", "40001", "53100", "53300", "55P03", "57014", "57P01"])
def test_an_error_that_passes_is_tried_again_later(
    shared_database: Database, explain: Callable[[psycopg2.Error], step.Failure], code: str
) -> None:
    failure = explain(raised(shared_database, code))
    assert failure.exit_code == 75
    assert "its own words" in str(failure)


@pytest.mark.parametrize("explain", [step.explain, schema.explain], ids=["step", "init_schema"])
@pytest.mark.parametrize("code", ["22P05", "23505", "42601", "XX000"])
def test_an_error_that_is_a_defect_of_ours_is_not_hidden(
    shared_database: Database, explain: Callable[[psycopg2.Error], step.Failure], code: str
) -> None:
    error = raised(shared_database, code)
    with pytest.raises(type(error), match="its own words"):
        explain(error)


# The clock


@each_but_init_schema
@pytest.mark.parametrize(
    "now", ["yesterday", "2031-13-01T00:00:00Z", "0001-01-01T00:00:00+14:00", HOSTILE], ids=lambda now: repr(now)[:30]
)
def test_a_now_that_is_no_time_is_bad_configuration(
    shared_database: Database, httpserver: HTTPServer, name: str, now: str
) -> None:
    result = run_in_vain(name, shared_database, httpserver, NOW=now)
    assert (result.code, len(result.lines)) == (78, 1)
    assert "NOW is" in result.last
    assert "give a time" in result.last
    assert result.last.isprintable()


# The log


@each_step
def test_other_peoples_text_can_neither_forge_a_line_nor_steer_a_terminal(
    shared_database: Database, httpserver: HTTPServer, name: str
) -> None:
    # PostgreSQL repeats it in its refusal.
    result = run_in_vain(name, shared_database, httpserver, PGUSER=HOSTILE.replace("\n", ""))
    assert (result.code, len(result.lines)) == (78, 1)
    assert r"forged\r\x1b[2J\x9b31m\u2028\u2029" in result.last
    assert result.last.isprintable()


@each_step
def test_each_log_line_says_when_in_utc(shared_database: Database, httpserver: HTTPServer, name: str) -> None:
    env = shared_database.env(name) | services(httpserver) | {"PGPASSWORD": "wrong", "TZ": "America/New_York"}
    with started(name, env) as process:
        output, _ = process.communicate(timeout=10)
    stamp = datetime.strptime(output.split()[0], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert abs((datetime.now(UTC) - stamp).total_seconds()) < 60


# Stopped


@each_step
def test_sigterm_while_it_waits_for_postgresql_ends_it_at_once(
    shared_database: Database, httpserver: HTTPServer, name: str
) -> None:
    with free_port() as port:
        env = shared_database.env(name) | services(httpserver) | {"PGPORT": port}
        with started(name, env) as process:
            assert process.stdout
            assert "Waiting for PostgreSQL" in process.stdout.readline()
            process.terminate()
            assert_stops(process)
    assert httpserver.log == []


# A bound on what takes long


def test_a_deadline_ends_what_takes_longer_and_gives_the_old_handler_back() -> None:
    before = signal.getsignal(signal.SIGALRM)
    began = time.monotonic()
    with pytest.raises(TimeoutError, match=r"not complete after 0\.1 s"), step.deadline(0.1):
        time.sleep(10)
    assert time.monotonic() - began < 5
    with step.deadline(0.1):
        pass
    assert signal.getsignal(signal.SIGALRM) == before
    time.sleep(0.2)  # the default handler of the alarm would end this process


def test_the_innermost_reason_is_found_through_causes_and_contexts() -> None:
    cable, layer, outermost = OSError("cable"), ValueError("layer"), RuntimeError("outermost")
    layer.__cause__, outermost.__context__ = cable, layer
    assert step.innermost(outermost) is cable
    assert step.innermost(cable) is cable
