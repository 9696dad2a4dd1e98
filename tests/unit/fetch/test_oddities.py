"""What is odd about a page and stored all the same."""

import json
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Response

from tests.conftest import Database
from tests.unit.fetch.conftest import (
    HTML,
    LEFT_OUT,
    UPCOMING,
    Fetch,
    assert_failed,
    counts,
    handle,
    launch,
    page,
    pages,
    serve,
    warned,
)


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
