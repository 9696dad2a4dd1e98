"""The settings of fetch_and_store_data."""

import pytest
from pytest_httpserver import HTTPServer

from tests.conftest import Database
from tests.unit.fetch.conftest import UPCOMING, Fetch, assert_failed, launch, pages, serve


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
