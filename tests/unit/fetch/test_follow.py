"""Launches that a message shows are followed to their end, also when no page has them any more."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from tests.conftest import Database, Result
from tests.unit.fetch.conftest import UPCOMING, Fetch, assert_failed, changes, counts, launch, page, requests_made

NOW = datetime(2031, 5, 5, 12, tzinfo=UTC)
SUCCESS = {"id": 3, "name": "Launch Successful", "abbrev": "Success"}


def known(database: Database, *numbers: int, message: str | None = "7", **columns: object) -> None:
    """Let launches be known that a message shows, that no page had for two days, and that flew an hour after that."""
    times = {"net": NOW - timedelta(hours=47), "last_seen_at": NOW - timedelta(hours=48)}
    for number in numbers:
        row = {"launch_id": launch(number)["id"], "name": "A", "details": "{}", "status": "In Flight"} | times | columns
        names = ", ".join(row)
        database.query(f"INSERT INTO rocket_launches ({names}) VALUES ({', '.join(['%s'] * len(row))})", *row.values())
        database.query(
            "INSERT INTO notifications (launch_id, channel, kind, attempt, facts, message_id) "
            "VALUES (%s, '1', 'announced', 0, '{}', %s)",
            *(row["launch_id"], message),
        )


Follow = Callable[..., Result]


@pytest.fixture
def follow(httpserver: HTTPServer, fetch: Fetch) -> Follow:
    """Run the step on a page of launch 100, and with these answers to requests by id: a launch, or status and body."""

    def run(*answers: dict[str, Any] | tuple[int, object], on_page: tuple[Any, ...] = (), **env: str) -> Result:
        left = iter(answers)

        def answer(request: Request) -> Response:
            if request.path == UPCOMING:
                return Response(json.dumps(page(launch(100), *on_page)))
            match next(left):
                case (status, body):
                    return Response(body if isinstance(body, str) else json.dumps(body), status)
                case found:
                    return Response(json.dumps(found))

        httpserver.clear_all_handlers()
        httpserver.expect_request(re.compile("/2.3.0/launches/.*")).respond_with_handler(answer)
        return fetch(**{"NOW": NOW.isoformat()} | env)

    return run


def asked(httpserver: HTTPServer) -> list[str]:
    """What was asked for by id."""
    return [request.path.split("/")[-2] for request, _ in httpserver.log if request.path != UPCOMING]


def marks(database: Database) -> list[Any]:
    return database.query(
        "SELECT asked_at, withdrawn_at FROM rocket_launches WHERE name <> %s ORDER BY id", launch(100)["name"]
    )


def test_a_launch_without_an_outcome_is_asked_for_and_stored(
    database: Database, httpserver: HTTPServer, follow: Follow
) -> None:
    known(database, 1)
    result = follow(launch(1, status=SUCCESS))
    assert result.code == 0
    assert result.last == (
        "INFO Stored 2 launches: 1 added, 1 changed, 0 unchanged; 0 unreadable; pages read: 1; asked for by id: 1"
    )
    assert asked(httpserver) == [launch(1)["id"]]
    assert httpserver.log[1][0].query_string == b""
    assert counts(database) == [(1, 1, 0, 0, 0), (1, 0, 1, 0, 0)]
    assert (launch(1)["id"], "status", "In Flight", "Success", NOW) in changes(database)
    assert database.query(
        "SELECT asked_at, last_seen_at, details FROM rocket_launches WHERE launch_id = %s", launch(1)["id"]
    ) == [(NOW, NOW, launch(1, status=SUCCESS))]
    later = follow(NOW=(NOW + timedelta(days=9)).isoformat())  # it has its outcome
    assert "by id" not in later.last


@pytest.mark.parametrize(
    "columns",
    [
        {"message": None},
        {"status": "Success"},
        {"status": "Failure"},
        {"status": "Partial Failure"},
        {"withdrawn_at": NOW},
        {"last_seen_at": NOW - timedelta(hours=5)},
        {"asked_at": NOW - timedelta(hours=5)},
    ],
    ids=str,
)
def test_others_are_not_asked_for(
    database: Database, httpserver: HTTPServer, follow: Follow, columns: dict[str, Any]
) -> None:
    known(database, 1, **columns)
    assert follow().code == 0
    assert asked(httpserver) == []


def test_one_that_is_on_the_page_is_not_asked_for(database: Database, httpserver: HTTPServer, follow: Follow) -> None:
    known(database, 1)
    assert follow(on_page=(launch(1),)).code == 0
    assert asked(httpserver) == []


@pytest.mark.parametrize(
    ("away", "due_after"),
    [
        (timedelta(minutes=30), timedelta(hours=1)),
        (timedelta(hours=-24), timedelta(hours=3)),
        (timedelta(days=-8), timedelta(days=1)),
        (timedelta(days=40), timedelta(days=5)),
        (timedelta(days=900), timedelta(days=7)),
        (None, timedelta(hours=1)),
    ],
)
def test_less_and_less_often(
    database: Database, httpserver: HTTPServer, follow: Follow, away: timedelta | None, due_after: timedelta
) -> None:
    net = None if away is None else NOW + away
    last = NOW - due_after
    known(database, 1, net=net, last_seen_at=last + timedelta(seconds=1))
    known(database, 2, net=net, last_seen_at=NOW - timedelta(days=99), asked_at=last + timedelta(seconds=1))
    known(database, 3, net=net, last_seen_at=last)
    assert follow(launch(3)).code == 0
    assert asked(httpserver) == [launch(3)["id"]]


def test_three_a_run_the_longest_unasked_first(database: Database, httpserver: HTTPServer, follow: Follow) -> None:
    for number, days in ((1, 50), (2, 60), (3, 90), (4, 70)):
        known(database, number, last_seen_at=NOW - timedelta(days=days))
    assert follow(launch(3), launch(4), launch(2)).last.endswith("asked for by id: 3")
    assert asked(httpserver) == [launch(number)["id"] for number in (3, 4, 2)]
    assert follow(launch(1)).last.endswith("asked for by id: 1")


@pytest.mark.parametrize(("spent", "by_id"), [(8, 3), (9, 2), (10, 1), (11, 0), (14, 0)])
def test_only_while_the_hour_has_had_fewer_than_twelve_requests(
    database: Database, httpserver: HTTPServer, follow: Follow, spent: int, by_id: int
) -> None:
    database.query(
        "INSERT INTO fetches (requested_at, url, status) SELECT %s, 'https://api', 200 FROM generate_series(1, %s)",
        *(NOW - timedelta(minutes=30), spent),
    )
    known(database, 1, 2, 3, 4)
    assert follow(*map(launch, (1, 2, 3))).code == 0
    assert len(asked(httpserver)) == by_id


def test_one_that_is_not_known_any_more_is_withdrawn_until_it_is_back(
    database: Database, httpserver: HTTPServer, follow: Follow
) -> None:
    known(database, 1, 2)
    result = follow((404, {"detail": "Not found."}), launch(2))
    assert result.code == 0
    [line, last] = result.lines
    assert line == f"INFO The Launch Library does not know the launch {launch(1)['id']} any more: it is withdrawn"
    assert last.endswith("asked for by id: 2")
    assert marks(database) == [(NOW, NOW), (NOW, None)]
    assert requests_made(database) == [(200, False), (404, False), (200, False)]
    assert follow(NOW=(NOW + timedelta(hours=1)).isoformat()).code == 0
    assert len(asked(httpserver)) == 2
    assert follow(on_page=(launch(1),)).code == 0
    assert marks(database)[0] == (NOW, None)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((429, {"detail": "Expected available in 1 second."}), "429"),
        ((500, "<html>"), "500"),
        ((401, {}), "401"),
        ((301, ""), "301"),
        ((200, "<html>"), "it is missing or empty, not an object"),
        ((200, "[" * 100_000), "it is missing or empty, not an object"),
        ((200, {"detail": "?"}), "its id is missing or empty"),
        (launch(9), "it is another launch"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_any_other_answer_is_a_warning_and_ends_it_for_this_run(
    database: Database,
    httpserver: HTTPServer,
    follow: Follow,
    answer: dict[str, Any] | tuple[int, object],
    reason: str,
) -> None:
    known(database, 1, 2)
    result = follow(answer)
    assert result.code == 0
    [warning, last] = result.lines
    said = f"The launch {launch(1)['id']} could not be asked for by its id ({reason}): a later run tries again."
    assert warning == f"WARNING {said}"
    assert last.endswith("pages read: 1; asked for by id: 1")
    assert len(asked(httpserver)) == 1
    assert marks(database) == [(NOW, None), (None, None)]
    assert database.query("SELECT error, seen FROM fetches ORDER BY id") == [(None, 1), (said, 0)]


def test_an_id_is_quoted(database: Database, httpserver: HTTPServer, follow: Follow) -> None:
    strange = "a/../b?c#d%e &ü"
    known(database, 1, launch_id=strange)
    assert follow(launch(1, id=strange)).code == 0
    [_, (request, _)] = httpserver.log
    assert request.environ["RAW_URI"] == "/2.3.0/launches/a%2F..%2Fb%3Fc%23d%25e%20%26%C3%BC/"


@pytest.mark.parametrize(
    ("address", "followed"),
    [
        ("/2.2.0/launch/upcoming/?mode=detailed", "/2.2.0/launch/{}/"),
        ("/2.3.0/launches/upcoming", "/2.3.0/launches/{}/"),
        ("/2.3.0/launches/?net__gte=2031", None),
        ("/example.json", None),
    ],
)
def test_the_address_is_made_from_the_lists(
    database: Database, httpserver: HTTPServer, fetch: Fetch, address: str, followed: str | None
) -> None:
    known(database, 1)
    httpserver.expect_request(address.partition("?")[0]).respond_with_json(page(launch(100)))
    if followed:
        httpserver.expect_request(followed.format(launch(1)["id"])).respond_with_json(launch(1))
    result = fetch(LAUNCH_LIBRARY_URL=httpserver.url_for(address), NOW=NOW.isoformat())
    assert (result.code, len(result.lines)) == (0, 1)
    assert result.last.endswith("by id: 1") == bool(followed)


def test_a_run_that_fails_follows_nothing(database: Database, httpserver: HTTPServer, fetch: Fetch) -> None:
    known(database, 1)
    httpserver.expect_request(UPCOMING).respond_with_data("{}")
    assert_failed(fetch(NOW=NOW.isoformat()), 65)
    assert len(httpserver.log) == 1
    assert marks(database) == [(None, None)]
