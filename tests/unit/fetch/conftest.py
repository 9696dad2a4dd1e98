"""fetch_and_store_data against a real PostgreSQL and a real web server: what its tests share."""

import json
import re
import socket
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from fetch import __main__ as step
from tests.conftest import Database, Result, run_in_process
from tests.unit import raw_server as raw

UPCOMING = "/2.3.0/launches/upcoming/"
THROTTLE = "/2.3.0/api-throttle/"
MIB = 1024 * 1024
FIRST, LATER = "2031-01-01T00:00:00Z", "2031-01-02T12:00:00Z"
FIRST_TIME, LATER_TIME = datetime(2031, 1, 1, tzinfo=UTC), datetime(2031, 1, 2, 12, tzinfo=UTC)
WHAT_TO_DO = re.compile(
    r"try again|bring |next try|check |set (it|LAUNCH)|give |such as |run (the step|initialize_schema)", re.IGNORECASE
)

HTML = "<!DOCTYPE html><html><h1>Server Error (500)</h1></html>"
LEFT_OUT = "Launches left out, as they cannot be read:"

Fetch = Callable[..., Result]


def launch(number: int = 1, **fields: object) -> dict[str, Any]:
    """A launch in the shape of 2.3.0."""
    return {
        "id": f"00000000-0000-4000-8000-{number:012}",
        "name": f"Kestrel {number} | Σ-7 Çağ",
        "status": {"id": 8, "name": "To Be Confirmed", "abbrev": "TBC"},
        "last_updated": "2030-12-01T00:00:00Z",
        "net": "2031-05-04T03:02:01Z",
        "net_precision": {"id": 2, "name": "Hour", "abbrev": "HR"},
        "image": {"id": 9, "image_url": "https://images.example/kestrel.png", "credit": None},
        "pad": {"id": 4, "total_launch_count": 17},
    } | fields


def page(*launches: object, following: object = None) -> dict[str, Any]:
    return {"count": len(launches), "next": following, "previous": None, "results": list(launches)}


def serve(httpserver: HTTPServer, *launches: object) -> None:
    """Answer with a page of these launches, and no longer with what came before."""
    httpserver.clear()
    httpserver.expect_request(UPCOMING).respond_with_json(page(*launches))


def handle(httpserver: HTTPServer, handler: Callable[[Request], Response]) -> None:
    httpserver.expect_request(UPCOMING).respond_with_handler(handler)


BODY = json.dumps(page(launch())).encode()
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
LENGTH = b"Content-Length: %d\r\n\r\n"


raw_server = partial(raw.raw_server, path=UPCOMING)


def sends(head: bytes, size: int, sent: list[int], chunk: bytes = b" " * MIB) -> raw.Answer:
    """Send so many MiB, and count what the other side took."""

    def send(connection: socket.socket, _over: threading.Event) -> None:
        connection.sendall(head)
        for _ in range(size):
            connection.sendall(chunk)
            sent.append(1)

    return send


def run_here(database: Database, **env: str) -> Result:
    """Do what `Database.run` does in this process."""
    return run_in_process(lambda: step.main([]), database.env("fetch") | {"DATABASE_WAIT_SECONDS": "1"} | env)


@pytest.fixture(scope="module")
def one_database(new_database: Callable[..., Database]) -> Database:
    return new_database()


@pytest.fixture
def database(one_database: Database) -> Database:
    """A database with the schema and nothing in it; emptied, which is faster than made."""
    one_database.query("TRUNCATE rocket_launches, launch_changes, fetches, notifications RESTART IDENTITY")
    return one_database


@pytest.fixture
def fetch(database: Database, httpserver: HTTPServer) -> Fetch:
    """Run the step on the test's database, asking the test's server; anything else as an argument."""
    return partial(run_here, database, LAUNCH_LIBRARY_URL=httpserver.url_for(UPCOMING))


@pytest.fixture
def program(database: Database, httpserver: HTTPServer) -> Fetch:
    """Run the step like `fetch`, as a program of its own."""
    return partial(database.run, "fetch", LAUNCH_LIBRARY_URL=httpserver.url_for(UPCOMING))


@pytest.fixture
def shared_database(seen_database: Database) -> Database:
    """A database in which a launch was seen, for what must not change that; its requests are of another hour."""
    seen_database.query("UPDATE fetches SET requested_at = requested_at - interval '1 hour'")
    return seen_database


@pytest.fixture(scope="module")
def seen_database(new_database: Callable[..., Database]) -> Database:
    shared = new_database()
    shared.query(
        "INSERT INTO rocket_launches (launch_id, name, details, first_seen_at) VALUES (%s, 'As before', '{}', %s)",
        launch()["id"],
        FIRST,
    )
    return shared


def stored(database: Database) -> dict[str, list[Any]]:
    """All that is stored but the record of the requests."""
    return {name: rows for name, rows in database.tables().items() if name != "fetches"}


def rows(database: Database) -> list[Any]:
    return database.query(
        "SELECT id, launch_id, name, net, net_precision, status, image_url, last_updated, details, first_seen_at "
        "FROM rocket_launches ORDER BY id"
    )


def changes(database: Database) -> list[Any]:
    return database.query("SELECT launch_id, field, old_value, new_value, seen_at FROM launch_changes ORDER BY id")


def requests_made(database: Database) -> list[tuple[int | None, bool]]:
    """Each request's HTTP status, and whether it has an error."""
    return [(status, bool(error)) for status, error in database.query("SELECT status, error FROM fetches ORDER BY id")]


def counts(database: Database) -> list[Any]:
    return database.query("SELECT seen, added, changed, unchanged, unreadable FROM fetches ORDER BY id")


def warned(database: Database) -> list[list[str]]:
    """What was odd about each answer."""
    return [warnings for (warnings,) in database.query("SELECT warnings FROM fetches ORDER BY id")]


def assert_failed(result: Result, code: int, *words: str) -> None:
    """The step failed, and its last line says what happened and what to do."""
    assert result.code == code, result
    assert result.last.startswith("ERROR ")
    assert WHAT_TO_DO.search(result.last), result.last
    for word in words:
        assert word in result.last
    assert len(result.last) < 1000


def pages(httpserver: HTTPServer, *results: list[Any]) -> None:
    """Serve pages that follow each other, the way that the API links them."""

    def answer(request: Request) -> Response:
        number = int(request.args.get("offset", 0)) // 100
        following = f"{httpserver.url_for(UPCOMING)}?limit=100&offset={number * 100 + 100}"
        more = number + 1 < len(results)
        return Response(json.dumps(page(*results[number], following=following if more else None)))

    handle(httpserver, answer)
