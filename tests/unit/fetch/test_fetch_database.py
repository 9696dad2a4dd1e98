"""fetch_and_store_data and PostgreSQL's bad days; two at once, and stopped."""

import contextlib
import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from standins.postgres import DATABASE, FETCH, Postgres
from tests.conftest import Database, assert_stops, started
from tests.unit.fetch.conftest import (
    HEAD,
    LENGTH,
    UPCOMING,
    Fetch,
    assert_failed,
    changes,
    counts,
    handle,
    launch,
    page,
    raw_server,
    rows,
    run_here,
    serve,
)

# PostgreSQL's bad days


def test_without_its_tables_it_says_which_step_makes_them(empty_database: Database, httpserver: HTTPServer) -> None:
    serve(httpserver, launch())
    for target in ("base", "0001"):
        assert empty_database.run("init_schema", "--to", target).code == 0
        result = run_here(empty_database, LAUNCH_LIBRARY_URL=httpserver.url_for(UPCOMING))
        assert_failed(result, 78, "initialize_schema")
    assert httpserver.log == []


def test_with_an_older_schema_it_says_so_before_a_request_is_spent(
    new_database: Callable[..., Database], httpserver: HTTPServer
) -> None:
    serve(httpserver, launch())
    database = new_database()
    assert database.run("init_schema", "--to", "0002").code == 0
    result = run_here(database, LAUNCH_LIBRARY_URL=httpserver.url_for(UPCOMING))
    assert_failed(result, 78, "warnings", "initialize_schema")
    assert httpserver.log == []


def test_without_its_rights_it_says_which_step_grants_them(
    new_database: Callable[..., Database], httpserver: HTTPServer
) -> None:
    serve(httpserver, launch())
    database = new_database()
    database.query(f"REVOKE UPDATE ON rocket_launches FROM {FETCH}")
    result = run_here(database, LAUNCH_LIBRARY_URL=httpserver.url_for(UPCOMING))
    assert_failed(result, 78, "permission denied", "initialize_schema")
    assert rows(database) == []


@pytest.mark.parametrize("number", [0, 1], ids=["the first page", "the second page"])
def test_a_connection_that_is_closed_while_it_asks_leaves_nothing(
    database: Database, httpserver: HTTPServer, fetch: Fetch, number: int
) -> None:
    def answer(request: Request) -> Response:
        if int(request.args.get("offset", 0)) == number:
            database.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", FETCH)
        following = f"{httpserver.url_for(UPCOMING)}?offset=1" if "offset" not in request.args else None
        return Response(json.dumps(page(launch(), following=following)))

    handle(httpserver, answer)
    assert_failed(fetch(LAUNCH_LIBRARY_PAGES="all"), 75, "PostgreSQL: ")
    assert not any(database.tables().values())


def test_postgresql_that_crashes_and_comes_back(httpserver: HTTPServer) -> None:
    with Postgres() as server:
        database = Database(server, DATABASE)
        assert database.run("init_schema").code == 0
        fetch = partial(
            database.run, "fetch", LAUNCH_LIBRARY_URL=httpserver.url_for(UPCOMING), LAUNCH_LIBRARY_PAGES="all"
        )

        def crash(request: Request) -> Response:
            if "offset" in request.args:
                server.stop("immediate")
            return Response(json.dumps(page(launch(), following=httpserver.url_for(UPCOMING) + "?offset=100")))

        handle(httpserver, crash)
        assert_failed(fetch(), 75, "PostgreSQL: ", "Nothing was stored")

        # It comes back while the next run waits for it.
        serve(httpserver, launch())
        with ThreadPoolExecutor() as pool:
            running = pool.submit(fetch, DATABASE_WAIT_SECONDS="30")
            time.sleep(1)
            server.start()
            result = running.result()
        assert "Waiting for PostgreSQL" in result.lines[0]
        assert result.code == 0
        assert counts(database) == [(1, 1, 0, 0, 0)]
        assert len(rows(database)) == 1


# At once, and stopped


@contextlib.contextmanager
def held_up(database: Database, number: int) -> Iterator[None]:
    """Lock the launches until so many steps wait for them, and something was done about that."""
    waiting = "SELECT pid FROM pg_stat_activity WHERE usename = %s AND datname = %s AND wait_event_type = 'Lock'"
    with contextlib.closing(database.server.superuser(database.name)) as other:
        other.cursor().execute("LOCK TABLE rocket_launches IN SHARE MODE")
        deadline = time.monotonic() + 15
        while len(database.query(waiting, FETCH, database.name)) < number:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield


def running(database: Database, url: str) -> contextlib.AbstractContextManager[subprocess.Popen[str]]:
    """The step, while it runs."""
    return started("fetch", database.env("fetch") | {"LAUNCH_LIBRARY_URL": url})


def test_two_at_once_both_succeed(database: Database, httpserver: HTTPServer, program: Fetch) -> None:
    serve(httpserver, *map(launch, range(100)))
    with ThreadPoolExecutor() as pool:
        both = [pool.submit(program), pool.submit(program)]
        with held_up(database, 2):
            pass
        results = [running.result() for running in both]
    assert [result.code for result in results] == [0, 0]
    assert sorted(counts(database)) == [(100, 0, 0, 100, 0), (100, 100, 0, 0, 0)]
    assert [row[0] for row in rows(database)] == list(range(1, 101))
    assert changes(database) == []


@pytest.mark.parametrize(
    "head", [b"", HEAD + LENGTH % 1000 + b'{"results": ['], ids=["before an answer", "in its middle"]
)
def test_sigterm_during_the_request_stores_nothing(database: Database, head: bytes) -> None:
    asked = threading.Event()

    def hang(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(head)
        asked.set()
        over.wait()

    with raw_server(hang) as url, running(database, url) as process:
        assert asked.wait(20)
        process.terminate()
        assert_stops(process)
    assert not any(database.tables().values())


def test_sigterm_during_a_throttle_stores_nothing(database: Database, httpserver: HTTPServer) -> None:
    httpserver.expect_request(UPCOMING).respond_with_data("", 429, {"Retry-After": "60"})
    with running(database, httpserver.url_for(UPCOMING)) as process:
        assert process.stdout
        assert "waiting 60 s" in process.stdout.readline()
        process.terminate()
        assert_stops(process)
    assert not any(database.tables().values())


def test_sigterm_while_it_waits_for_a_lock_stores_nothing(database: Database, httpserver: HTTPServer) -> None:
    serve(httpserver, launch())
    with running(database, httpserver.url_for(UPCOMING)) as process:
        with held_up(database, 1):
            process.terminate()
            time.sleep(0.1)
        assert_stops(process)
    assert not any(database.tables().values())
