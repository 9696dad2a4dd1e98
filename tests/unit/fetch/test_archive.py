"""With an object store: each answer is kept before it is read, and PostgreSQL says where."""

import hashlib
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Response

from objects import Objects, decompressed
from tests.conftest import Database
from tests.unit.fetch.conftest import (
    BODY,
    FIRST,
    HEAD,
    HTML,
    LATER,
    LENGTH,
    Fetch,
    assert_failed,
    handle,
    launch,
    page,
    pages,
    raw_server,
    requests_made,
    run_here,
    serve,
)
from tests.unit.raw_server import says

KEY = "launch-library/2.3.0/2031/01/01/20310101T000000Z-{}.json.zst"


@pytest.fixture
def store(tmp_path: Path) -> Objects:
    return Objects(f"file://{tmp_path}/store")


@pytest.fixture
def fetch(fetch: Fetch, store: Objects) -> Fetch:
    """Run the step with a store."""
    return partial(fetch, OBJECT_STORE=store.url)


def kept(store: Objects) -> dict[str, tuple[bytes, dict[str, str]]]:
    """Return what is in the store: each answer as it was received, and its metadata."""
    found = {}
    for key in sorted(store.keys("launch-library/")):
        body, metadata = store.get(key)
        found[key] = (decompressed(body).read(), metadata)
    return found


def requests_kept(database: Database) -> list[Any]:
    return database.query("SELECT object_key, sha256 FROM fetches ORDER BY id")


def pointers(database: Database) -> list[tuple[Any, ...]]:
    return database.query("SELECT object_key, position, details FROM rocket_launches ORDER BY launch_id")


def test_a_page_is_kept_as_it_was_received(
    database: Database, httpserver: HTTPServer, fetch: Fetch, store: Objects
) -> None:
    body = json.dumps(page(launch(1), {"id": None}, launch(2)), indent=3).encode()
    handle(httpserver, lambda _: Response(body))
    assert fetch(NOW=FIRST).code == 0

    digest = hashlib.sha256(body).hexdigest()
    key = KEY.format(digest[:12])
    metadata = {
        "url": f"{httpserver.url_for('/2.3.0/launches/upcoming/')}?limit=100",
        "status": "200",
        "requested": "2031-01-01T00:00:00+00:00",
        "run": "2031-01-01T00:00:00+00:00",
        "cut": "no",
    }
    assert kept(store) == {key: (body, metadata)}
    assert requests_kept(database) == [(key, digest)]
    # The place is the one that jq counts: .results[2].
    assert pointers(database) == [(key, 0, None), (key, 2, None)]


def test_the_same_answer_again_is_the_same_object(
    database: Database, httpserver: HTTPServer, fetch: Fetch, store: Objects
) -> None:
    for at, name in ((FIRST, "A"), (LATER, "A"), ("2031-01-03T00:00:00Z", "B"), ("2031-01-04T00:00:00Z", "A")):
        serve(httpserver, launch(1, name=name))
        assert fetch(NOW=at).code == 0
    assert len(kept(store)) == 2
    first, again, other, back = requests_kept(database)
    assert first == again == back != other
    assert pointers(database) == [(first[0], 0, None)]


@pytest.mark.parametrize(
    ("status", "body"), [(500, HTML), (429, '{"detail": "available in 900 seconds"}'), (200, HTML)]
)
def test_an_answer_that_is_no_page_is_kept(  # noqa: PLR0917  # fixtures
    database: Database, httpserver: HTTPServer, fetch: Fetch, store: Objects, status: int, body: str
) -> None:
    handle(httpserver, lambda _: Response(body, status))
    assert fetch(NOW=FIRST).code in (65, 75)
    [(key, (content, metadata))] = kept(store).items()
    assert (content, metadata["status"]) == (body.encode(), str(status))
    assert requests_kept(database) == [(key, hashlib.sha256(body.encode()).hexdigest())]
    assert pointers(database) == []


def test_of_an_answer_that_is_cut_off_what_came_is_kept(database: Database, store: Objects) -> None:
    with raw_server(says(HEAD + LENGTH % (len(BODY) + 7) + BODY)) as url:
        result = run_here(database, LAUNCH_LIBRARY_URL=url, OBJECT_STORE=store.url)
    assert_failed(result, 75, "No complete answer")
    [(key, (content, metadata))] = kept(store).items()
    assert (content, metadata["cut"]) == (BODY, "yes")
    assert [found for found, _ in requests_kept(database)] == [key]
    assert requests_made(database) == [(None, True)]


def test_an_answer_without_a_body_is_no_object(
    database: Database, httpserver: HTTPServer, fetch: Fetch, store: Objects
) -> None:
    handle(httpserver, lambda _: Response("", 502))
    assert fetch().code == 75
    assert kept(store) == {}
    assert requests_kept(database) == [(None, None)]


def test_each_page_of_a_run_is_an_object(
    database: Database, httpserver: HTTPServer, fetch: Fetch, store: Objects
) -> None:
    pages(httpserver, [launch(1)], [launch(2)], [launch(3)])
    assert fetch(LAUNCH_LIBRARY_PAGES="all").code == 0
    assert [key for key, _ in sorted(requests_kept(database))] == list(kept(store))
    assert [key for key, _, _ in pointers(database)] == [key for key, _ in requests_kept(database)]


def test_where_the_answer_cannot_be_kept_nothing_of_it_is_stored(
    database: Database, httpserver: HTTPServer, fetch: Fetch, tmp_path: Path
) -> None:
    # A file where the store wants a folder: root may write everywhere.
    (tmp_path / "store" / "launch-library").write_text("in the way")
    serve(httpserver, launch(1))
    result = fetch()
    assert_failed(result, 75, "could not be kept, so nothing of it was stored, and the request has to be repeated")
    assert httpserver.url_for("/2.3.0/launches/upcoming/") in result.last
    assert requests_made(database) == [(None, True)]
    assert requests_kept(database) == [(None, None)]
    assert pointers(database) == []


def test_no_request_is_spent_where_the_store_does_not_answer(
    database: Database, httpserver: HTTPServer, fetch: Fetch
) -> None:
    serve(httpserver, launch(1))
    closed = {
        "OBJECT_STORE": "s3://launches",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "a-secret",
        "AWS_REGION": "us-east-1",
    }
    assert_failed(fetch(**closed), 75, "The object store s3://launches does not list its objects")
    assert httpserver.log == []
    assert requests_made(database) == []


def test_a_large_page_is_kept(database: Database, httpserver: HTTPServer, fetch: Fetch, store: Objects) -> None:
    wide = [launch(number, mission={"description": f"{number} " * 110_000}) for number in range(1, 60)]
    handle(httpserver, lambda _: Response(json.dumps(page(*wide))))
    assert fetch().code == 0
    [(content, _)] = kept(store).values()
    assert len(content) > 16 * 1024 * 1024
    assert [position for _, position, _ in pointers(database)] == list(range(59))


def test_without_a_store_postgresql_keeps_the_details(
    database: Database, httpserver: HTTPServer, fetch: Fetch, store: Objects
) -> None:
    serve(httpserver, launch(1))
    assert fetch(NOW=FIRST).code == 0
    assert fetch(NOW=LATER, OBJECT_STORE="").code == 0
    assert pointers(database) == [(None, None, launch(1))]
    assert len(kept(store)) == 1
