"""What is stored of a page, and what of what was seen before."""

from datetime import UTC, datetime, timedelta

import pytest
from pytest_httpserver import HTTPServer

from tests.conftest import Database
from tests.unit.fetch.conftest import (
    FIRST,
    FIRST_TIME,
    LATER,
    LATER_TIME,
    UPCOMING,
    Fetch,
    changes,
    counts,
    launch,
    rows,
    serve,
)

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
        ({"net_precision": {"id": 9, "name": "Quarter 2"}}, [("net_precision", "hour", "quarter 2")]),
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
