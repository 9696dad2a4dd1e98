"""Several pages, and the links between them."""

import json

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Response

from bench.steps import detailed_page, peak
from tests.conftest import Database
from tests.unit.fetch.conftest import (
    HTML,
    UPCOMING,
    Fetch,
    assert_failed,
    changes,
    counts,
    handle,
    launch,
    page,
    pages,
    requests_made,
    rows,
)


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


@pytest.mark.parametrize("count", [25, 100])
def test_a_detailed_page_of_any_length_takes_little_memory(
    database: Database, httpserver: HTTPServer, count: int
) -> None:
    body = detailed_page(count)
    assert len(body) > 45_000 * count
    httpserver.expect_request(UPCOMING).respond_with_data(body)
    env = database.env("fetch") | {"LAUNCH_LIBRARY_URL": httpserver.url_for(UPCOMING)}
    assert peak("-m", "fetch", env=env, folder="tasks") < 64
    assert len(rows(database)) == count
