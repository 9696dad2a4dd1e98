"""fetch_and_store_data against a real PostgreSQL and a real web server: good days, and every bad one."""

import contextlib
import gzip
import io
import json
import logging
import os
import re
import signal
import socket
import struct
import subprocess
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from typing import Any
from unittest import mock

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from fetch import __main__ as step
from fetch import launch_library
from standins.postgres import DATABASE, FETCH, Postgres
from tests.conftest import Database, Result, assert_stops, started

UPCOMING = "/2.3.0/launches/upcoming/"
THROTTLE = "/2.3.0/api-throttle/"
MIB = 1024 * 1024
FIRST, LATER = "2031-01-01T00:00:00Z", "2031-01-02T12:00:00Z"
FIRST_TIME, LATER_TIME = datetime(2031, 1, 1, tzinfo=UTC), datetime(2031, 1, 2, 12, tzinfo=UTC)
WHAT_TO_DO = re.compile(
    r"try again|next try|check |set (it|LAUNCH)|give |such as |run (the step|initialize_schema)", re.IGNORECASE
)

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


@contextlib.contextmanager
def raw_server(answer: Callable[[socket.socket, threading.Event], None]) -> Iterator[str]:
    """A server that answers one connection after the other in ways that no library offers; `Event`: it is over."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve_all() -> None:
            with contextlib.suppress(OSError):  # of accept, when it is over
                while True:
                    connection, _ = listening.accept()
                    with connection, contextlib.suppress(OSError):
                        connection.recv(65536)
                        answer(connection, over)

        thread = threading.Thread(target=serve_all)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}{UPCOMING}"
        finally:
            over.set()
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def says(answer: bytes, *, reset: bool = False) -> Callable[[socket.socket, threading.Event], None]:
    """Send these bytes and close the connection: as one should, or with a reset."""

    def send(connection: socket.socket, _over: threading.Event) -> None:
        connection.sendall(answer)
        if reset:
            time.sleep(0.1)  # a reset also throws away what has not been read
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return send


def drips(head: bytes, drop: bytes) -> Callable[[socket.socket, threading.Event], None]:
    """Send a little, again and again."""

    def send(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(head)
        while not over.wait(0.02):
            connection.sendall(drop)

    return send


def sends(head: bytes, size: int, sent: list[int], chunk: bytes = b" " * MIB) -> Callable[..., None]:
    """Send so many MiB, and count what the other side took."""

    def send(connection: socket.socket, _over: threading.Event) -> None:
        connection.sendall(head)
        for _ in range(size):
            connection.sendall(chunk)
            sent.append(1)

    return send


def run_here(database: Database, **env: str) -> Result:
    """Do what `Database.run` does in this process: faster by the start of a Python, and its limits can be shortened."""
    env = database.env("fetch") | {"DATABASE_WAIT_SECONDS": "1"} | env
    output, root, handler = io.StringIO(), logging.getLogger(), signal.getsignal(signal.SIGTERM)
    with (
        contextlib.redirect_stdout(output),
        mock.patch.dict(os.environ, env, clear=True),
        mock.patch.object(root, "handlers", []),
        mock.patch.object(root, "level", root.level),
        mock.patch.object(logging.getLogger("werkzeug"), "disabled", new=True),
    ):
        try:
            code = step.main()
        finally:
            signal.signal(signal.SIGTERM, handler)
    return Result(code, [line.partition(" ")[2] for line in output.getvalue().splitlines()])


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


@pytest.fixture(scope="module")
def shared_database(new_database: Callable[..., Database]) -> Database:
    """A database in which a launch was seen, for what must not change that."""
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


# A good day


def test_a_page_is_stored(database: Database, httpserver: HTTPServer, program: Fetch) -> None:
    serve(httpserver, launch(1), launch(2, image=None, net=None, mission=None))
    result = program(NOW=FIRST)
    assert (result.code, result.lines) == (
        0,
        ["INFO Stored 2 launches: 2 added, 0 changed, 0 unchanged; 0 unreadable; pages read: 1"],
    )
    image = "https://images.example/kestrel.png"
    net, updated = datetime(2031, 5, 4, 3, 2, 1, tzinfo=UTC), datetime(2030, 12, 1, tzinfo=UTC)
    details = [launch(1), launch(2, image=None, net=None, mission=None)]
    assert rows(database) == [
        (1, launch(1)["id"], "Kestrel 1 | Σ-7 Çağ", net, "hour", "TBC", image, updated, details[0], FIRST_TIME),
        (2, launch(2)["id"], "Kestrel 2 | Σ-7 Çağ", None, "hour", "TBC", None, updated, details[1], FIRST_TIME),
    ]
    assert database.query("SELECT DISTINCT last_seen_at FROM rocket_launches") == [(FIRST_TIME,)]
    assert counts(database) == [(2, 2, 0, 0, 0)]
    assert changes(database) == []


def test_the_request_is_one_get_of_100_launches_that_says_who_asks(httpserver: HTTPServer, fetch: Fetch) -> None:
    serve(httpserver, launch())
    assert fetch().code == 0
    [(request, _)] = httpserver.log
    assert (request.method, request.path, request.args.to_dict()) == ("GET", UPCOMING, {"limit": "100"})
    assert request.headers["User-Agent"].startswith("rocket-launches/")
    assert "Authorization" not in request.headers


def test_a_filter_in_the_address_is_kept(httpserver: HTTPServer, fetch: Fetch) -> None:
    serve(httpserver, launch())
    url = httpserver.url_for(UPCOMING) + "?mode=list&limit=7&search=%26%20a%2Bb&lsp__name="
    assert fetch(LAUNCH_LIBRARY_URL=url).code == 0
    asked = httpserver.log[0][0].args.to_dict(flat=False)
    assert asked == {"mode": ["list"], "limit": ["7"], "search": ["& a+b"], "lsp__name": [""]}


def test_the_record_of_a_request_says_when_what_and_with_which_answer(
    database: Database, httpserver: HTTPServer, fetch: Fetch
) -> None:
    serve(httpserver, launch())
    assert fetch().code == 0
    [(at, url, status, error)] = database.query("SELECT requested_at, url, status, error FROM fetches")
    assert abs(at - datetime.now(UTC)) < timedelta(minutes=1)
    assert (url, status, error) == (httpserver.url_for(UPCOMING) + "?limit=100", 200, None)


def test_the_original_projects_example_is_stored(database: Database, httpserver: HTTPServer, fetch: Fetch) -> None:
    example = {
        "id": "12345",
        "name": "Falcon 9",
        "image": "https://images.example/falcon.jpg",
        "net": "2025-01-17T06:00:00Z",
        "details": {"rocket": "Falcon 9", "provider": "SpaceX"},
    }
    httpserver.expect_request(UPCOMING).respond_with_json({"results": [example]})
    assert fetch().code == 0
    assert database.query("SELECT id, launch_id, name, net, image_url FROM rocket_launches;") == [
        (1, "12345", "Falcon 9", datetime(2025, 1, 17, 6, tzinfo=UTC), "https://images.example/falcon.jpg")
    ]
    assert database.query("SELECT details FROM rocket_launches") == [(example,)]


def test_a_page_without_launches_is_no_failure(database: Database, httpserver: HTTPServer, fetch: Fetch) -> None:
    serve(httpserver)
    result = fetch()
    assert (result.code, result.last.partition(":")[0]) == (0, "INFO Stored 0 launches")
    assert counts(database) == [(0, 0, 0, 0, 0)]


# What was seen before


def test_the_same_page_again_writes_nothing_but_that_it_was_seen(
    database: Database, httpserver: HTTPServer, fetch: Fetch
) -> None:
    serve(httpserver, launch(1), launch(2))
    assert fetch(NOW=FIRST).code == 0
    before = rows(database)
    for _ in range(3):
        result = fetch(NOW=LATER)
        assert result.last == ("INFO Stored 2 launches: 0 added, 0 changed, 2 unchanged; 0 unreadable; pages read: 1")
    assert rows(database) == before
    assert database.query("SELECT DISTINCT last_seen_at FROM rocket_launches") == [(LATER_TIME,)]
    assert changes(database) == []
    assert counts(database) == [(2, 2, 0, 0, 0), *3 * [(2, 0, 0, 2, 0)]]

    serve(httpserver, launch(1), launch(2), launch(3))
    assert fetch(NOW=LATER).code == 0
    assert [row[:2] for row in rows(database)] == [(n, launch(n)["id"]) for n in (1, 2, 3)]


@pytest.mark.parametrize(
    ("fields", "changed"),
    [
        ({"name": "Kestrel 4"}, [("name", "Kestrel 1 | Σ-7 Çağ", "Kestrel 4")]),
        ({"net": "2031-05-06T07:08:09Z"}, [("net", "2031-05-04T03:02:01Z", "2031-05-06T07:08:09Z")]),
        ({"net": None}, [("net", "2031-05-04T03:02:01Z", None)]),
        ({"net_precision": {"id": 9, "name": "Quarter 2"}}, [("net_precision", "hour", "quarter")]),
        ({"net_precision": None}, [("net_precision", "hour", None)]),
        ({"status": {"id": 5, "name": "On Hold"}}, [("status", "TBC", "Hold")]),
        ({"image": None}, [("image_url", "https://images.example/kestrel.png", None)]),
        (
            {"image": {"image_url": "https://images.example/new.png"}},
            [("image_url", "https://images.example/kestrel.png", "https://images.example/new.png")],
        ),
        (
            {"name": "Kestrel 4", "status": {"id": 1, "name": "Go"}},
            [("name", "Kestrel 1 | Σ-7 Çağ", "Kestrel 4"), ("status", "TBC", "Go")],
        ),
        ({"pad": {"id": 4, "total_launch_count": 18}}, []),
        ({"last_updated": "2030-12-02T00:00:00Z"}, []),
        ({"net": "2031-05-04T05:02:01+02:00"}, []),
        ({"image": "https://images.example/kestrel.png"}, []),
        ({"status": {"id": 8, "name": "TBC"}}, []),
    ],
    ids=str,
)
def test_what_changed_is_recorded_and_only_what_matters_is_a_change(
    database: Database,
    httpserver: HTTPServer,
    fetch: Fetch,
    fields: dict[str, object],
    changed: list[tuple[str, str | None, str | None]],
) -> None:
    serve(httpserver, launch(1), launch(2))
    assert fetch(NOW=FIRST).code == 0
    serve(httpserver, launch(1, **fields), launch(2))
    assert fetch(NOW=LATER).code == 0
    assert sorted(changes(database)) == sorted((launch(1)["id"], *change, LATER_TIME) for change in changed)
    assert [row[8] for row in rows(database)] == [launch(1, **fields), launch(2)]
    assert counts(database)[1] == (2, 0, bool(changed), 2 - bool(changed), 0)
    for column, _, new in changed:
        [(value,)] = database.query(f"SELECT {column} FROM rocket_launches WHERE id = 1")
        assert (value.strftime("%Y-%m-%dT%H:%M:%SZ") if isinstance(value, datetime) else value) == new


def test_a_launch_that_its_page_lacks_stays_as_it_was(database: Database, httpserver: HTTPServer, fetch: Fetch) -> None:
    serve(httpserver, launch(1), launch(2))
    assert fetch(NOW=FIRST).code == 0
    before = database.query("SELECT * FROM rocket_launches WHERE id = 1")
    serve(httpserver, launch(2))
    assert fetch(NOW=LATER).code == 0
    assert database.query("SELECT * FROM rocket_launches WHERE id = 1") == before
    assert len(rows(database)) == 2


# Launches that are not as they should be


def test_the_same_launch_twice_on_a_page_is_one_and_the_later_counts(
    database: Database, httpserver: HTTPServer, fetch: Fetch
) -> None:
    serve(httpserver, launch(1, name="Earlier"), launch(2), launch(1, name="Later"))
    assert fetch().code == 0
    assert sorted(row[2] for row in rows(database)) == ["Kestrel 2 | Σ-7 Çağ", "Later"]
    assert counts(database) == [(2, 2, 0, 0, 0)]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (launch(2, id=None), "its id is"),
        ({"name": "no id"}, "its id is"),
        (launch(2, id=7), "its id is a number"),
        (launch(2, id="a\0"), "its id"),
        (launch(2, id="a\ud800"), "its id"),
        (launch(2, id="x" * 10_000), "its id"),
        (launch(2, name=7), "its name is a number"),
        (launch(2, name=None), "it has no name"),
        (launch(2, net=7), "its net is a number"),
        (launch(2, net="soon"), "its net is no time"),
        (launch(2, status="Go"), "its status is a string"),
        (launch(2, pad=float("inf")), "number"),
        (launch(2, pad=float("nan")), "number"),
        ("launch", "it is a string"),
        (None, "it is"),
        ([launch(2)], "it is an array"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_launch_that_cannot_be_read_is_counted_and_logged_and_stops_no_other(
    database: Database, httpserver: HTTPServer, fetch: Fetch, bad: object, reason: str
) -> None:
    serve(httpserver, launch(1), bad, launch(3))
    result = fetch()
    assert result.code == 0
    assert [row[1] for row in rows(database)] == [launch(1)["id"], launch(3)["id"]]
    assert counts(database) == [(2, 2, 0, 0, 1)]
    [warning, summary, last] = result.lines
    assert warning.startswith("WARNING Launch 2 of the page")
    assert reason in warning
    assert len(warning) < 300
    assert summary == f"WARNING {LEFT_OUT} 1 of 3. The run's log says why."
    assert last == "INFO Stored 2 launches: 2 added, 0 changed, 0 unchanged; 1 unreadable; pages read: 1"


def test_what_can_be_stored_is_stored(database: Database, httpserver: HTTPServer, fetch: Fetch) -> None:
    names = ["x" * 10_000, "a\0b", "a\ud800b", "'; DROP TABLE rocket_launches; --", '\\u0000 \\ %s {} "', "😀", "\\N"]
    names += ["one\ttwo", "one\ntwo", "one\r\ntwo\n"]
    serve(httpserver, *(launch(n, name=name, pad={name[:9]: [name]}) for n, name in enumerate(names)))
    assert fetch().code == 0
    names[1:3] = 2 * ["a\ufffdb"]
    assert [(row[2], row[8]["name"], row[8]["pad"]) for row in rows(database)] == [
        (name, name, {name[:9]: [name]}) for name in names
    ]


def test_of_many_that_cannot_be_read_the_log_shows_the_first(httpserver: HTTPServer, fetch: Fetch) -> None:
    serve(httpserver, launch(), *90 * [{}])
    result = fetch()
    assert result.code == 0
    assert len(result.lines) == 12
    assert f"{LEFT_OUT} 90 of 91." in result.lines[-2]
    assert "; 90 unreadable; " in result.last


def test_where_none_can_be_read_nothing_is_written(
    shared_database: Database, httpserver: HTTPServer, fetch: Fetch
) -> None:
    database, before = shared_database, stored(shared_database)
    serve(httpserver, {"id": launch()["id"]}, {}, None)
    result = fetch(**database.env("fetch"))
    assert_failed(result, 78, "None of the 3 launches can be read", "LAUNCH_LIBRARY_URL")
    assert stored(database) == before
    [(status, error, seen, unreadable)] = database.query(
        "SELECT status, error, seen, unreadable FROM fetches ORDER BY id DESC LIMIT 1"
    )
    assert (status, f"ERROR {error}", seen, unreadable) == (200, result.last, 0, 3)


@pytest.mark.parametrize("field", ["id", "pad"])
def test_at_no_depth_does_nesting_end_the_step(
    database: Database, httpserver: HTTPServer, program: Fetch, field: str
) -> None:
    depths = range(1, 900)  # what nests deeper is no JSON for this Python, and no page
    launches = [json.dumps(launch(0))]
    for depth in depths:
        opened, closed = ("[", "]") if depth % 2 else ('{"a":', "}")
        nested = opened * depth + "0" + closed * depth
        launches.append(json.dumps(launch(depth, **{field: "deep"})).replace('"deep"', nested))
    httpserver.expect_request(UPCOMING).respond_with_data(f'{{"results": [{",".join(launches)}]}}')
    result = program()
    assert result.code == 0
    [(seen, *_, unreadable)] = counts(database)
    assert (len(rows(database)), seen + unreadable) == (seen, len(launches))
    assert seen > 100 or field == "id"


def test_other_peoples_text_can_neither_forge_a_line_nor_steer_a_terminal(
    database: Database, httpserver: HTTPServer, program: Fetch
) -> None:
    text = "x\n2031-01-01T00:00:00Z ERROR forged\r\x1b[2J\x9b31m\u2028\u2029\x85\x0b\u202e\ud800\0\x7f"
    good = launch(1, status={"id": 99, "name": text})
    serve(httpserver, good, launch(2, id=text), launch(3, net=text), {"name": text}, {"id": [text]})
    result = program()
    assert result.code == 0
    assert len(result.lines) == 7  # conftest splits at whatever a terminal might
    assert all(line.isprintable() for line in result.lines)
    assert not any(line.startswith("ERROR") for line in result.lines)
    [warnings] = warned(database)
    assert [f"WARNING {warning}" for warning in warnings] == result.lines[-3:-1]


# What is odd and stored all the same


def launches(count: int) -> list[dict[str, Any]]:
    return [launch(number) for number in range(count)]


@pytest.mark.parametrize(
    ("before", "now", "shrunk"),
    [
        (100, 50, True),
        (100, 51, False),
        (100, 0, True),
        (50, 100, False),
        (12, 12, False),
        (10, 5, True),
        (9, 4, True),
        (9, 5, False),
        (5, 0, True),
        (8, 4, False),
        (2, 1, False),
        (1, 0, False),
        (0, 0, False),
    ],
)
def test_a_page_that_shrinks_by_half_is_stored_with_a_warning(
    database: Database, httpserver: HTTPServer, fetch: Fetch, before: int, now: int, *, shrunk: bool
) -> None:
    serve(httpserver, *launches(before))
    assert len(fetch().lines) == 1
    serve(httpserver, *launches(now))
    result = fetch()
    assert result.code == 0
    assert result.last.startswith(f"INFO Stored {now} launches")
    *warnings, _ = result.lines
    assert [f"has shrunk from {before} to {now} launches" in warning for warning in warnings] == shrunk * [True]
    assert warned(database) == [[], [warning.removeprefix("WARNING ") for warning in warnings]]
    assert counts(database)[1][0] == now
    # What it has shrunk to is what the next one is compared with.
    assert len(fetch().lines) == 1


def test_a_page_is_compared_with_the_last_good_fetch_of_its_own_address(
    database: Database, httpserver: HTTPServer, fetch: Fetch
) -> None:
    serve(httpserver, *launches(20))
    assert fetch().code == 0
    serve(httpserver, *launches(4))
    assert len(fetch(LAUNCH_LIBRARY_URL=httpserver.url_for(UPCOMING) + "?lsp__name=x").lines) == 1
    for status, body in ((500, HTML), (200, "{}")):
        httpserver.clear()
        httpserver.expect_request(UPCOMING).respond_with_data(body, status)
        assert fetch().code != 0
    throttled = iter([Response("", 429, {"Retry-After": "0"})])
    httpserver.clear()
    handle(httpserver, lambda _: next(throttled, Response(json.dumps(page(*launches(4))))))
    [_, warning, _] = fetch().lines
    assert "has shrunk from 20 to 4 launches" in warning
    assert warned(database) == [[], [], [], [], [], [warning.removeprefix("WARNING ")]]


def test_a_launch_that_cannot_be_read_any_more_has_not_left_the_page(httpserver: HTTPServer, fetch: Fetch) -> None:
    serve(httpserver, *launches(20))
    assert fetch().code == 0
    serve(httpserver, *launches(5), *15 * [{}])
    for _ in range(2):
        assert "shrunk" not in str(fetch().lines)
    serve(httpserver, *launches(5))
    assert "has shrunk from 20 to 5 launches" in fetch().lines[0]


def test_of_several_pages_the_first_alone_is_compared(database: Database, httpserver: HTTPServer, fetch: Fetch) -> None:
    all_of_them = launches(60)
    pages(httpserver, all_of_them[:20], all_of_them[20:40], all_of_them[40:])
    assert fetch(LAUNCH_LIBRARY_PAGES="all").code == 0
    httpserver.clear()
    pages(httpserver, all_of_them[:20], all_of_them[20:22], [])
    assert len(fetch(LAUNCH_LIBRARY_PAGES="all").lines) == 1
    httpserver.clear()
    pages(httpserver, all_of_them[:2], all_of_them[20:40])
    assert "has shrunk from 20 to 2 launches" in fetch(LAUNCH_LIBRARY_PAGES="all").lines[0]
    assert [len(warnings) for warnings in warned(database)] == [0, 0, 0, 0, 0, 0, 1, 0]


def test_a_status_that_is_not_known_is_named_once(database: Database, httpserver: HTTPServer, fetch: Fetch) -> None:
    scrubbed, held_up = {"id": 98, "name": "Scrubbed"}, {"id": 99, "name": "", "abbrev": "Held up"}
    statuses = [scrubbed, held_up, *5 * [scrubbed], {"id": 1}, None, {"name": "Go"}, {"id": 97}]
    serve(httpserver, *(launch(number, status=status) for number, status in enumerate(statuses)))
    result = fetch()
    [warning, last] = result.lines
    assert result.code == 0
    assert warning == (
        "WARNING Unknown status, stored and shown as it is: 'Held up', 'Scrubbed'. A newer image may know it."
    )
    assert last.startswith("INFO Stored 11 launches: 11 added")
    assert warned(database) == [[warning.removeprefix("WARNING ")]]
    assert database.query("SELECT count(*) FROM rocket_launches WHERE status = 'Scrubbed'") == [(6,)]


def test_of_many_and_long_statuses_the_warning_shows_a_part(httpserver: HTTPServer, fetch: Fetch) -> None:
    statuses = [{"id": 99, "name": f"{number:02} {'x' * 10_000}"} for number in range(90)]
    serve(httpserver, *(launch(number, status=status) for number, status in enumerate(statuses)))
    [warning, _] = fetch().lines
    assert warning.count("'0") == 10
    assert warning.endswith("x' and 80 more. A newer image may know it.")
    assert len(warning) < 600


def test_what_is_odd_is_said_of_its_own_page(database: Database, httpserver: HTTPServer, fetch: Fetch) -> None:
    pages(httpserver, [launch(1)], [launch(2, status={"id": 99, "name": "Scrubbed"}), {}], [launch(3), {}])
    result = fetch(LAUNCH_LIBRARY_PAGES="all")
    assert result.code == 0
    left_out = f"{LEFT_OUT} 1 of 2. The run's log says why."
    unknown = "Unknown status, stored and shown as it is: 'Scrubbed'. A newer image may know it."
    assert warned(database) == [[], [left_out, unknown], [left_out]]
    assert result.lines[-4:-1] == [f"WARNING {warning}" for warning in (left_out, unknown, left_out)]


def test_what_is_odd_about_a_page_that_is_not_stored_is_not_kept(
    database: Database, httpserver: HTTPServer, fetch: Fetch
) -> None:
    serve(httpserver, *launches(20))
    assert fetch().code == 0
    odd = page(
        launch(1, status={"id": 99, "name": "Scrubbed"}), {}, following=httpserver.url_for(UPCOMING) + "?offset=9"
    )
    httpserver.clear()
    httpserver.expect_request(UPCOMING, query_string="limit=100").respond_with_json(odd)
    httpserver.expect_request(UPCOMING).respond_with_data(HTML, 502)
    result = fetch(LAUNCH_LIBRARY_PAGES="all")
    assert_failed(result, 75, "502")
    assert warned(database) == [[], [], []]


# Bad answers

SENTENCE = {"detail": "Request was throttled. Expected available in 625 seconds."}
DEEP = b'{"detail": ' + b"[" * 100_000
HTML = "<!DOCTYPE html><html><h1>Server Error (500)</h1></html>"


@pytest.mark.parametrize(
    ("status", "headers", "body", "code", "words"),
    [
        (429, {"Retry-After": "725"}, SENTENCE, 75, ["another 725 s", "LAUNCH_LIBRARY_TOKEN"]),
        (429, {"Retry-After": "121"}, "<html>", 75, ["another 121 s"]),
        (429, {"Retry-After": "9" * 400}, SENTENCE, 75, ["throttle"]),
        (429, {}, SENTENCE, 75, ["another 625 s"]),
        (429, {"Retry-After": "soon"}, SENTENCE, 75, ["another 625 s"]),
        (429, {"Retry-After": "-1"}, SENTENCE, 75, ["another 625 s"]),
        (401, {}, {"detail": "Invalid token."}, 78, ["Invalid token.", "401", "LAUNCH_LIBRARY_TOKEN"]),
        (403, {}, {"detail": "No."}, 78, ["403", "LAUNCH_LIBRARY_TOKEN"]),
        (404, {}, {"detail": "Not found."}, 78, ["404", "Not found.", "LAUNCH_LIBRARY_URL"]),
        (400, {}, {"net__gte": ["Enter a valid date/time."]}, 78, ["net__gte", "LAUNCH_LIBRARY_URL"]),
        (400, {}, ["x"], 78, ["400"]),
        (401, {}, {"detail": "a\0b\ud800c\n\x1b[2Jd"}, 78, ["401"]),
        (401, {}, {"detail": {"a": "\0"}}, 78, ["401"]),
        (401, {}, {"detail": "x" * 100_000}, 78, ["401"]),
        (404, {}, DEEP, 78, ["404"]),
        (204, {}, b"", 78, ["204"]),
        (206, {}, page(launch()), 78, ["206"]),
        (500, {}, HTML, 75, ["500", "INTERNAL SERVER ERROR"]),
        (500, {}, b"", 75, ["500"]),
        (500, {}, DEEP, 75, ["500"]),
        (503, {"Retry-After": "7"}, {"detail": "down"}, 75, ["503", "down"]),
        (408, {}, b"", 75, ["408"]),
        (200, {}, {}, 65, ["no page of launches", "'{}'"]),
        (200, {}, b"", 65, ["not JSON", "0 bytes"]),
        (200, {}, HTML, 65, ["not JSON"]),
        (200, {}, json.dumps(page(launch()))[:-40], 65, ["cut off"]),
        (200, {}, b'{"results": ["\xff"]}', 65, ["not JSON"]),
        (200, {}, b'{"results": [' + b"9" * 5000 + b"]}", 65, ["not JSON"]),
        (200, {}, b"[" * 100_000, 65, ["not JSON"]),
        (200, {}, "\0\x1b[2J\n" + "x" * 100_000, 65, ["not JSON"]),
        (200, {}, [launch()], 65, ["no page of launches"]),
        (200, {}, json.dumps("results"), 65, ["no page of launches"]),
        (200, {}, {"results": {"1": launch()}}, 65, ["no page of launches"]),
        (200, {}, {"results": None}, 65, ["no page of launches"]),
        (200, {}, launch(), 65, ["no page of launches"]),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_bad_answer_ends_with_its_code_and_a_sentence_and_stores_nothing(  # noqa: PLR0917  # parameters
    shared_database: Database,
    httpserver: HTTPServer,
    fetch: Fetch,
    status: int,
    headers: dict[str, str],
    body: object,
    code: int,
    words: list[str],
) -> None:
    database, before = shared_database, stored(shared_database)
    asked = len(requests_made(database))
    data = body if isinstance(body, str | bytes) else json.dumps(body)
    httpserver.expect_request(UPCOMING).respond_with_data(data, status, headers)
    result = fetch(**database.env("fetch"))
    assert_failed(result, code, *words)
    assert len(result.lines) == 1
    assert result.last.isprintable()
    assert [request.path for request, _ in httpserver.log] == [UPCOMING]
    assert stored(database) == before
    [(recorded, error, seen)] = database.query("SELECT status, error, seen FROM fetches ORDER BY id OFFSET %s", asked)
    assert (recorded, seen) == (status, 0)
    assert error[:40] == result.last.removeprefix("ERROR ")[:40]


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        ({"your_request_limit": 15, "next_use_secs": 1800}, 1800),
        ([{"your_request_limit": 15, "next_use_secs": 1800}], 1800),
        ({"your_request_limit": 15}, 3600),
        ({"next_use_secs": None}, 3600),
        ({"next_use_secs": "soon"}, 3600),
        ({"next_use_secs": 10**400}, 3600),
        ([], 3600),
        (7, 3600),
        (None, 3600),
    ],
    ids=str,
)
def test_where_a_429_says_nothing_the_throttles_own_page_does_and_else_an_hour(
    database: Database, httpserver: HTTPServer, fetch: Fetch, answer: object, seconds: int
) -> None:
    httpserver.expect_request(UPCOMING).respond_with_data("<html>Too many requests</html>", 429)
    httpserver.expect_request(THROTTLE).respond_with_json(answer)
    assert_failed(fetch(), 75, f"another {seconds} s")
    assert [request.path for request, _ in httpserver.log] == [UPCOMING, THROTTLE]
    assert requests_made(database) == [(429, True)]


@pytest.mark.parametrize(("status", "body"), [(404, "{}"), (500, HTML), (200, HTML), (200, DEEP), (429, "")])
def test_where_the_throttles_own_page_does_not_say_it_either_it_is_an_hour(
    httpserver: HTTPServer, fetch: Fetch, status: int, body: str | bytes
) -> None:
    httpserver.expect_request(UPCOMING).respond_with_data("", 429)
    httpserver.expect_request(THROTTLE).respond_with_data(body, status)
    assert_failed(fetch(), 75, "another 3600 s")


def test_a_throttled_list_is_not_asked_again_for_lack_of_a_throttles_page(httpserver: HTTPServer, fetch: Fetch) -> None:
    httpserver.expect_request("/upcoming/").respond_with_data("", 429)
    assert_failed(fetch(LAUNCH_LIBRARY_URL=httpserver.url_for("/upcoming/")), 75, "another 3600 s")
    assert [request.path for request, _ in httpserver.log].count("/upcoming/") == 1


def test_retry_after_may_be_a_date(httpserver: HTTPServer, fetch: Fetch) -> None:
    at = format_datetime(datetime.now(UTC) + timedelta(minutes=10), usegmt=True)
    httpserver.expect_request(UPCOMING).respond_with_data("", 429, {"Retry-After": at})
    result = fetch()
    assert_failed(result, 75)
    [seconds] = re.findall(r"another (\d+) s", result.last)
    assert 580 < int(seconds) <= 600


@pytest.mark.parametrize(
    ("headers", "sentence", "throttle", "seconds"),
    [
        ({"Retry-After": "1"}, "", {}, 1),
        ({}, "Request was throttled. Expected available in 1 second.", {}, 1),
        ({}, "", {"next_use_secs": 1}, 1),
        ({"Retry-After": "Wed, 01 Jan 2020 00:00:00 GMT"}, "", {}, 0),
        ({}, "", {"next_use_secs": -5}, 0),
        ({}, "", {"next_use_secs": float("nan")}, 0),
    ],
    ids=str,
)
def test_a_short_throttle_is_waited_out(  # noqa: PLR0917  # parameters
    database: Database,
    httpserver: HTTPServer,
    fetch: Fetch,
    headers: dict[str, str],
    sentence: str,
    throttle: dict[str, float],
    seconds: int,
) -> None:
    asked: list[float] = []

    def answer(_: Request) -> Response:
        asked.append(time.monotonic())
        if len(asked) == 1:
            return Response(json.dumps({"detail": sentence}), 429, headers)
        return Response(json.dumps(page(launch())))

    handle(httpserver, answer)
    httpserver.expect_request(THROTTLE).respond_with_json(throttle)
    result = fetch()
    assert result.code == 0
    assert "Throttled" in result.lines[0]
    assert f"waiting {seconds} s" in result.lines[0]
    assert asked[1] - asked[0] >= seconds
    assert result.last.endswith("pages read: 1")
    assert len(rows(database)) == 1
    assert [status for status, _ in requests_made(database)] == [429, 200]


def test_a_throttle_is_waited_out_once(database: Database, httpserver: HTTPServer, fetch: Fetch) -> None:
    httpserver.expect_request(UPCOMING).respond_with_data("", 429, {"Retry-After": "0"})
    assert_failed(fetch(), 75, "throttle")
    assert requests_made(database) == [(429, True), (429, True)]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("target", ["/2.3.0/elsewhere/", "http://127.0.0.1:9/2.3.0/"])
def test_a_redirect_is_not_followed(
    database: Database, httpserver: HTTPServer, fetch: Fetch, status: int, target: str
) -> None:
    httpserver.expect_request(UPCOMING).respond_with_data("", status, {"Location": target})
    assert_failed(fetch(), 78, str(status), target, "LAUNCH_LIBRARY_URL")
    assert len(httpserver.log) == 1
    assert requests_made(database) == [(status, True)]


BODY = json.dumps(page(launch())).encode()
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
LENGTH = b"Content-Length: %d\r\n\r\n"
PACKED = gzip.compress(b" " * 200 * MIB, 1)


@pytest.mark.parametrize(
    ("answer", "code", "word"),
    [
        (says(HEAD + LENGTH % len(BODY) + BODY[:50], reset=True), 75, "reset"),
        (says(HEAD, reset=True), 75, "reset"),
        (says(b"", reset=True), 75, "No complete answer"),
        (says(b""), 75, "No complete answer"),
        (says(HEAD + LENGTH % len(BODY) + BODY[:-9]), 75, "9 more expected"),
        (says(HEAD + LENGTH % len(BODY[:-9]) + BODY[:-9]), 65, "cut off"),
        (says(HEAD + LENGTH % (len(BODY) - 9) + BODY), 65, "cut off"),
        (says(HEAD + b"\r\n" + BODY[:-9]), 65, "cut off"),
        (says(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n" + BODY[:5]), 75, "No complete answer"),
        (says(HEAD + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n" + BODY), 75, "No complete answer"),
        (says(HEAD + b"Content-Encoding: gzip\r\n\r\n" + BODY), 75, "No complete answer"),
        (says(HEAD + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(BODY)[:-40]), 65, "cut off"),
    ],
    ids=[
        "reset in the body", "reset in the headers", "reset at once", "closed at once", "shorter than it says",
        "cut off, and says so", "longer than it says", "cut off, without length", "half a chunk", "bad chunk",
        "not gzip", "half of gzip",
    ],
)  # fmt: skip
def test_a_broken_connection_stores_nothing(
    shared_database: Database, answer: Callable[..., None], code: int, word: str
) -> None:
    database, before = shared_database, stored(shared_database)
    asked = len(requests_made(database))
    with raw_server(answer) as url:
        assert_failed(run_here(database, LAUNCH_LIBRARY_URL=url), code, word, "try again later")
    assert stored(database) == before
    assert requests_made(database)[asked:] == [(None if code == 75 else 200, True)]


def test_nobody_listens(database: Database, fetch: Fetch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert_failed(fetch(LAUNCH_LIBRARY_URL=f"http://127.0.0.1:{port}/"), 75, "refused")
    assert requests_made(database) == [(None, True)]


@pytest.mark.parametrize(
    "answer",
    [
        b"\0\xff\n",
        b"\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n" + BODY,
        b"HTTP/9.9 200 OK\r\n\r\n" + BODY,
        b"HTTP/1.1 99999 OK\r\n\r\n" + BODY,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 5,
        HEAD + b"Content-Length: abc\r\n\r\n" + BODY[:5],
        HEAD + b"Content-Length: -1\r\n\r\n" + BODY[:5],
        HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n" + BODY[:5],
        HEAD + b"Content-Encoding: gzip, gzip, gzip, gzip, gzip, gzip, gzip\r\n\r\n" + BODY,
        HEAD + b"Content-Encoding: deflate\r\n\r\n" + BODY,
        HEAD + b"X: y\r\n" * 200 + b"\r\n" + BODY[:5],
        HEAD + b"X: " + b"y" * 100_000 + b"\r\n\r\n" + BODY[:5],
        HEAD + b": no name\r\n\xff\xfe\0: x\r\n\r\n" + BODY[:5],
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n-5\r\n" + BODY,
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"F" * 70_000 + b"\r\n" + BODY,
        b"HTTP/1.1 429 \r\nRetry-After: \xff\0\r\n\r\n",
        b"HTTP/1.1 302 \0\x1b[2J\r\nLocation: http://[::1\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://\0\xff/\r\n\r\n",
        b"HTTP/1.1 500 \0\xff\x1b[2J\r\n\r\n",
    ],
    ids=lambda answer: repr(answer)[:60],
)
def test_whatever_comes_it_is_a_failure_with_a_code_that_postgresql_can_record(
    shared_database: Database, answer: bytes
) -> None:
    asked = len(requests_made(shared_database))
    with raw_server(says(answer)) as url:
        result = run_here(shared_database, LAUNCH_LIBRARY_URL=url)
    assert_failed(result, result.code)
    assert result.code in (65, 75, 78)
    assert len(result.lines) == 1
    assert result.last.isprintable()
    assert len(requests_made(shared_database)) == asked + 1


@pytest.mark.parametrize(
    "answer",
    [
        drips(HEAD + LENGTH % 10_000_000, b" "),
        drips(HEAD + b"\r\n", b" "),
        drips(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        drips(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"0"),
        drips(HEAD + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(BODY)[:10], b"\0"),
        drips(b"HTTP/1.1 200 OK\r\nX-Drip: ", b"x"),
        drips(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        drips(b"HTTP/1.1 404 Not Found\r\n\r\n", b" "),
    ],
    ids=["with a length", "without", "chunked", "in a chunk's size", "gzip", "in a header", "100 Continue", "404"],
)
def test_an_answer_that_drips_for_ever_is_given_up(
    database: Database, fetch: Fetch, monkeypatch: pytest.MonkeyPatch, answer: Callable[..., None]
) -> None:
    monkeypatch.setattr(launch_library, "ANSWER_SECONDS", 0.4)
    began = time.monotonic()
    with raw_server(answer) as url:
        assert_failed(fetch(LAUNCH_LIBRARY_URL=url), 75, "No complete answer", "not complete after 0.4 s")
    assert time.monotonic() - began < 10
    assert requests_made(database) == [(None, True)]


def test_the_default_limits_are_those_of_a_pod_that_waits_minutes_at_most() -> None:
    assert launch_library.CONNECT_SECONDS <= 10
    assert launch_library.READ_SECONDS <= launch_library.ANSWER_SECONDS <= 60
    assert launch_library.THROTTLE_SECONDS <= 300
    assert launch_library.ANSWER_BYTES <= 32 * MIB


def test_a_server_that_says_nothing_is_given_up(
    database: Database, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch_library, "READ_SECONDS", 0.3)
    with raw_server(drips(b"", b"")) as url:
        assert_failed(fetch(LAUNCH_LIBRARY_URL=url), 75, "timed out")
    assert requests_made(database) == [(None, True)]


@pytest.mark.parametrize(
    ("head", "chunk"),
    [
        (HEAD + LENGTH % (200 * MIB), b" " * MIB),
        (HEAD + b"\r\n", b" " * MIB),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"%x\r\n%s\r\n" % (MIB, b" " * MIB)),
    ],
    ids=["with a length", "without", "chunked"],
)
def test_an_answer_of_200_mib_is_not_read_to_its_end(
    database: Database, fetch: Fetch, head: bytes, chunk: bytes
) -> None:
    sent: list[int] = []
    with raw_server(sends(head, 200, sent, chunk)) as url:
        assert_failed(fetch(LAUNCH_LIBRARY_URL=url), 65, "larger than 16 MiB")
    assert 10 < len(sent) < 40
    assert requests_made(database) == [(None, True)]


@pytest.mark.parametrize("status", [200, 302, 429, 500])
def test_200_mib_packed_small_are_not_unpacked(
    database: Database, httpserver: HTTPServer, fetch: Fetch, status: int
) -> None:
    headers = {"Content-Encoding": "gzip", "Location": "/"}
    httpserver.expect_request(UPCOMING).respond_with_data(PACKED, status, headers)
    tracemalloc.start()
    try:
        assert_failed(fetch(), 65, "larger than 16 MiB")
        assert tracemalloc.get_traced_memory()[1] < 64 * MIB
    finally:
        tracemalloc.stop()
    assert requests_made(database) == [(None, True)]


@pytest.mark.parametrize(("status", "body", "code"), [(200, "{}", 65), (500, HTML, 75), (404, "{}", 78)])
def test_the_program_ends_with_the_code(
    httpserver: HTTPServer, program: Fetch, status: int, body: str, code: int
) -> None:
    httpserver.expect_request(UPCOMING).respond_with_data(body, status)
    assert_failed(program(), code)


# Several pages


def pages(httpserver: HTTPServer, *results: list[Any]) -> None:
    """Serve pages that follow each other, the way that the API links them."""

    def answer(request: Request) -> Response:
        number = int(request.args.get("offset", 0)) // 100
        following = f"{httpserver.url_for(UPCOMING)}?limit=100&offset={number * 100 + 100}"
        more = number + 1 < len(results)
        return Response(json.dumps(page(*results[number], following=following if more else None)))

    handle(httpserver, answer)


def test_one_page_is_read_unless_more_are_asked_for(database: Database, httpserver: HTTPServer, fetch: Fetch) -> None:
    pages(httpserver, [launch(1)], [launch(2)], [launch(3)])
    for setting, read in (({}, 1), ({"LAUNCH_LIBRARY_PAGES": ""}, 1), ({"LAUNCH_LIBRARY_PAGES": "2"}, 2)):
        assert fetch(**setting).last.endswith(f"pages read: {read}")
    assert len(rows(database)) == 2


def test_all_pages_are_read_and_stored_together(database: Database, httpserver: HTTPServer, fetch: Fetch) -> None:
    pages(httpserver, [launch(1), launch(2)], [], [launch(3), None])
    result = fetch(LAUNCH_LIBRARY_PAGES="all")
    assert result.last == "INFO Stored 3 launches: 3 added, 0 changed, 0 unchanged; 1 unreadable; pages read: 3"
    assert counts(database) == [(2, 2, 0, 0, 0), (0, 0, 0, 0, 0), (1, 1, 0, 0, 1)]
    assert [request.args.get("offset") for request, _ in httpserver.log] == [None, "100", "200"]


def test_where_pages_overlap_the_later_counts(database: Database, httpserver: HTTPServer, fetch: Fetch) -> None:
    pages(httpserver, [launch(1), launch(2, name="Earlier")], [launch(2, name="Later"), launch(3)])
    result = fetch(LAUNCH_LIBRARY_PAGES="all")
    assert result.last.startswith("INFO Stored 3 launches: 3 added, 0 changed")
    assert database.query(
        "SELECT name, details->>'name' FROM rocket_launches WHERE launch_id = %s", launch(2)["id"]
    ) == [("Later", "Later")]
    assert changes(database) == []


def test_a_later_page_that_fails_leaves_nothing_of_the_earlier(
    database: Database, httpserver: HTTPServer, fetch: Fetch
) -> None:
    following = httpserver.url_for(UPCOMING) + "?offset=100"
    httpserver.expect_request(UPCOMING, query_string="limit=100").respond_with_json(page(launch(), following=following))
    httpserver.expect_request(UPCOMING).respond_with_data(HTML, 502)
    assert_failed(fetch(LAUNCH_LIBRARY_PAGES="all"), 75, "502")
    assert rows(database) == []
    assert requests_made(database) == [(200, True), (502, True)]


@pytest.mark.parametrize(
    "link",
    [
        "http://launches.example/2.3.0/launches/upcoming/?offset=100",
        "http://127.0.0.1:{port}/2.3.0/launches/upcoming/?offset=100",
        "http://localhost:1/2.3.0/launches/upcoming/?offset=100",
        "http://localhost/2.3.0/launches/upcoming/?offset=100",
        "//launches.example/?offset=100",
        "http://localhost:{port}@launches.example/?offset=100",
        "http://launches.example\\@localhost:{port}/?offset=100",
        "http://user:key@localhost:{port}/2.3.0/launches/upcoming/?offset=100",
        "http://localhost:{port}.launches.example/?offset=100",
        "http://launches.example\0\ud800\x1b[2J\n/?offset=100",
        "http://" + "x" * 100_000 + "/?offset=100",
        "http://[::1",
        "http://[launches.example]/",
        "http://localhost:port/",
        "file:///etc/passwd",
        "next",
    ],
    ids=lambda link: repr(link)[:60],
)
def test_a_link_to_another_host_or_to_nowhere_is_not_followed(
    database: Database, httpserver: HTTPServer, fetch: Fetch, link: str
) -> None:
    link = link.replace("{port}", str(httpserver.port))
    httpserver.expect_request(UPCOMING).respond_with_json(page(launch(), following=link))
    result = fetch(LAUNCH_LIBRARY_PAGES="all", LAUNCH_LIBRARY_TOKEN="s3cret")
    assert_failed(result, 65, "next link", "LAUNCH_LIBRARY_URL")
    assert len(httpserver.log) == 1
    assert rows(database) == []
    assert requests_made(database) == [(200, True)]


@pytest.mark.parametrize("text", ["\0", "\ud800", "\x1b[2J\n", " ", "Ü", "%", "%zz", "\\"], ids=repr)
def test_a_link_with_odd_characters_is_followed_or_refused_and_recorded(
    database: Database, httpserver: HTTPServer, fetch: Fetch, text: str
) -> None:
    following = f"{httpserver.url_for(UPCOMING)}?limit=100&offset=100&text={text}"
    httpserver.expect_request(UPCOMING, query_string="limit=100").respond_with_json(page(launch(), following=following))
    httpserver.expect_request(UPCOMING).respond_with_data("", 404)
    result = fetch(LAUNCH_LIBRARY_PAGES="all")
    assert result.code in (65, 78)
    assert result.last.isprintable()
    assert requests_made(database)[0] == (200, True)


def test_pages_that_lead_in_a_circle_are_noticed(database: Database, httpserver: HTTPServer, fetch: Fetch) -> None:
    links = iter(["?limit=100&offset=100", "?limit=100&offset=200#x", "?limit=100&offset=100"])
    handle(
        httpserver,
        lambda _: Response(json.dumps(page(launch(), following=httpserver.url_for(UPCOMING) + next(links)))),
    )
    assert_failed(fetch(LAUNCH_LIBRARY_PAGES="all"), 65, "leads back", "offset=100")
    assert requests_made(database) == 3 * [(200, True)]
    assert rows(database) == []


def test_a_page_that_follows_itself_is_noticed(database: Database, httpserver: HTTPServer, fetch: Fetch) -> None:
    itself = httpserver.url_for(UPCOMING) + "?limit=100"
    httpserver.expect_request(UPCOMING).respond_with_json(page(launch(), following=itself))
    assert_failed(fetch(LAUNCH_LIBRARY_PAGES="all"), 65, "leads back")
    assert len(httpserver.log) == 1
    assert rows(database) == []


# The configuration


def test_the_token_is_sent_and_never_logged(database: Database, httpserver: HTTPServer, fetch: Fetch) -> None:
    pages(httpserver, [launch(1), None], [launch(2)])
    results = [fetch(LAUNCH_LIBRARY_TOKEN="s3cret", LAUNCH_LIBRARY_PAGES="all")]
    assert [request.headers["Authorization"] for request, _ in httpserver.log] == 2 * ["Token s3cret"]
    httpserver.clear()
    httpserver.expect_request(UPCOMING).respond_with_json({"detail": "Invalid: Token s3cret"}, 401)
    results.append(fetch(LAUNCH_LIBRARY_TOKEN="s3cret"))
    assert [result.code for result in results] == [0, 78]
    assert "s3cret" not in str(results) + str(database.tables())


@pytest.mark.parametrize(
    "token", ["s3cret\n", "s3 cret", "s3cret\r\nX-Forged: 1", "s3crét", "\N{BOM}s3cret", "s3cret\x1b"]
)
def test_a_malformed_token_is_neither_sent_nor_logged(httpserver: HTTPServer, fetch: Fetch, token: str) -> None:
    serve(httpserver, launch())
    result = fetch(LAUNCH_LIBRARY_TOKEN=token)
    assert_failed(result, 78, "LAUNCH_LIBRARY_TOKEN")
    assert "s3c" not in str(result)
    assert httpserver.log == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LAUNCH_LIBRARY_URL", "launches.example/2.3.0/launches/upcoming/"),
        ("LAUNCH_LIBRARY_URL", "/2.3.0/launches/upcoming/"),
        ("LAUNCH_LIBRARY_URL", "ftp://launches.example/"),
        ("LAUNCH_LIBRARY_URL", "file:///etc/passwd"),
        ("LAUNCH_LIBRARY_URL", "http://"),
        ("LAUNCH_LIBRARY_URL", "https:///2.3.0/"),
        ("LAUNCH_LIBRARY_URL", "http://s3cret@launches.example/"),
        ("LAUNCH_LIBRARY_URL", "http://:s3cret@launches.example/"),
        ("LAUNCH_LIBRARY_URL", "http://[::1/"),
        ("LAUNCH_LIBRARY_URL", "http://127.0.0.1:port/"),
        ("LAUNCH_LIBRARY_URL", "http://127.0.0.1:99999/"),
        ("LAUNCH_LIBRARY_URL", " "),
        ("LAUNCH_LIBRARY_PAGES", "0"),
        ("LAUNCH_LIBRARY_PAGES", "-1"),
        ("LAUNCH_LIBRARY_PAGES", "1.5"),
        ("LAUNCH_LIBRARY_PAGES", "ALL "),
        ("LAUNCH_LIBRARY_PAGES", "²"),
        ("LAUNCH_LIBRARY_PAGES", "9" * 5000),
    ],
    ids=lambda value: repr(value)[:50],
)
def test_a_bad_setting_is_named_before_a_request_is_spent(
    shared_database: Database, httpserver: HTTPServer, fetch: Fetch, name: str, value: str
) -> None:
    serve(httpserver, launch())
    result = fetch(**shared_database.env("fetch") | {name: value})
    assert_failed(result, 78, name)
    assert "s3cret" not in result.last
    assert httpserver.log == []


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
