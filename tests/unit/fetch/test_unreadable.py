"""Launches that are not as they should be."""

import json

import pytest
from pytest_httpserver import HTTPServer

from tests.conftest import Database
from tests.unit.fetch.conftest import (
    LEFT_OUT,
    UPCOMING,
    Fetch,
    assert_failed,
    counts,
    launch,
    rows,
    serve,
    stored,
    warned,
)


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
