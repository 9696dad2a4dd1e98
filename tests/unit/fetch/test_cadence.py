"""When a request is spent: scheduled runs wait until one is due, and no run makes more than 15 in an hour."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from pytest_httpserver import HTTPServer

from tests.conftest import Database
from tests.unit.fetch.conftest import HTML, UPCOMING, Fetch, assert_failed, launch, pages, requests_made, serve

NOW = datetime(2031, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
NOT_DUE = "INFO No request: no launch is within two hours, and the last good fetch is less than an hour old."


def at(time: datetime) -> str:
    return time.isoformat()


def asked(database: Database, *ago: timedelta, error: str | None = None, url: str = "https://api/") -> None:
    """Let requests have been made so long ago."""
    for one in ago:
        statement = "INSERT INTO fetches (requested_at, url, status, error) VALUES (%s, %s, 200, %s)"
        database.query(statement, NOW - one, url, error)


def known(database: Database, net: timedelta, precision: str | None = "minute", **columns: object) -> None:
    """Let a launch be known whose time is so far from now."""
    row = {"launch_id": "a", "name": "A", "details": "{}", "net": NOW + net, "net_precision": precision} | columns
    names = ", ".join(row)
    database.query(f"INSERT INTO rocket_launches ({names}) VALUES ({', '.join(['%s'] * len(row))})", *row.values())


@pytest.fixture
def scheduled(httpserver: HTTPServer, fetch: Fetch) -> Callable[..., list[str]]:
    """Run the step by schedule; return its last line if it made no request, else nothing."""

    def run(**env: str) -> list[str]:
        serve(httpserver, launch(net=None))
        result = fetch(**{"RUN_TYPE": "scheduled", "NOW": at(NOW)} | env)
        assert len(httpserver.log) == (result.code != 99)
        assert result.code in (0, 99)
        return result.lines if result.code == 99 else []

    return run


def test_the_first_run_asks(scheduled: Callable[..., list[str]]) -> None:
    assert not scheduled()


@pytest.mark.parametrize(
    ("minutes", "due"), [(0, False), (10, False), (54, False), (55, True), (60, True), (900, True)]
)
def test_far_from_any_launch_a_scheduled_run_asks_once_an_hour(
    database: Database, scheduled: Callable[..., list[str]], minutes: int, *, due: bool
) -> None:
    asked(database, timedelta(minutes=minutes), timedelta(hours=20))
    asked(database, timedelta(minutes=1), error="it failed")
    expected = f"{NOT_DUE} The next is due at {NOW + timedelta(minutes=55 - minutes):%Y-%m-%d %H:%M} UTC."
    assert scheduled() == ([] if due else [expected])


@pytest.mark.parametrize(
    ("net", "precision", "columns", "due"),
    [
        (2 * HOUR, "minute", {}, True),
        (-2 * HOUR, "second", {}, True),
        (timedelta(0), "hour", {}, True),
        (timedelta(minutes=121), "minute", {}, False),
        (timedelta(minutes=-121), "minute", {}, False),
        (HOUR, "day", {}, False),
        (HOUR, "morning", {}, False),
        (HOUR, None, {}, False),
        (HOUR, "minute", {"withdrawn_at": NOW}, False),
        (HOUR, "minute", {"status": "Hold"}, True),
    ],
)
def test_near_a_launch_a_scheduled_run_asks(
    database: Database,
    scheduled: Callable[..., list[str]],
    net: timedelta,
    precision: str | None,
    columns: dict[str, object],
    *,
    due: bool,
) -> None:
    asked(database, timedelta(minutes=10))
    known(database, net, precision, **columns)
    assert (not scheduled()) == due


def test_the_next_request_is_due_two_hours_before_a_launch(
    database: Database, scheduled: Callable[..., list[str]]
) -> None:
    asked(database, timedelta(minutes=10))
    known(database, timedelta(minutes=135))
    assert scheduled() == [f"{NOT_DUE} The next is due at 2031-01-01 12:15 UTC."]


@pytest.mark.parametrize("run_type", ["", "manual", "backfill", "asset_triggered"])
def test_any_other_run_asks(database: Database, scheduled: Callable[..., list[str]], run_type: str) -> None:
    asked(database, timedelta(minutes=1))
    assert not scheduled(RUN_TYPE=run_type)


def test_a_used_up_hour_ends_a_scheduled_run_with_a_sentence(
    database: Database, scheduled: Callable[..., list[str]]
) -> None:
    known(database, HOUR)
    asked(database, HOUR, *(timedelta(minutes=n) for n in range(56, 42, -1)))
    assert not scheduled()
    said = "INFO No request: the last hour has had its 15. The next is possible at 2031-01-01 12:04 UTC, or with "
    assert scheduled() == [said + "LAUNCH_LIBRARY_TOKEN."]
    assert not scheduled(LAUNCH_LIBRARY_TOKEN="t0ken")


def test_a_run_by_hand_has_what_is_left_of_the_hour(database: Database, httpserver: HTTPServer, fetch: Fetch) -> None:
    asked(database, *14 * [timedelta(minutes=30)])
    serve(httpserver, launch())
    assert fetch(NOW=at(NOW)).code == 0
    assert_failed(fetch(NOW=at(NOW)), 75, "15 requests", "LAUNCH_LIBRARY_TOKEN")
    assert len(requests_made(database)) == 15
    assert fetch(NOW=at(NOW + timedelta(minutes=31))).code == 0


def test_pages_and_second_tries_count(database: Database, httpserver: HTTPServer, fetch: Fetch) -> None:
    asked(database, *13 * [timedelta(minutes=30)])
    pages(httpserver, [launch(1)], [launch(2)], [launch(3)])
    assert_failed(fetch(NOW=at(NOW), LAUNCH_LIBRARY_PAGES="all"), 75, "15 requests")
    assert database.query("SELECT count(*) FROM rocket_launches") == [(0,)]
    assert len(requests_made(database)) == 15

    later = NOW + timedelta(minutes=31)
    asked(database, *12 * [timedelta(minutes=-30)])
    httpserver.clear()
    httpserver.expect_request(UPCOMING).respond_with_data("", 429, {"Retry-After": "0"})
    assert_failed(fetch(NOW=at(later)), 75, "15 requests")
    assert len(requests_made(database)) == 13 + 2 + 12 + 1


def test_the_clock_is_nows(database: Database, httpserver: HTTPServer, fetch: Fetch) -> None:
    serve(httpserver, launch())
    assert fetch(NOW=at(NOW)).code == 0
    httpserver.clear()
    httpserver.expect_request(UPCOMING).respond_with_data(HTML, 500)
    assert fetch(NOW=at(NOW + HOUR)).code == 75
    assert database.query("SELECT requested_at FROM fetches ORDER BY id") == [(NOW,), (NOW + HOUR,)]


@pytest.mark.parametrize(
    ("run_type", "good", "status", "code"),
    [
        ("scheduled", timedelta(hours=2), 503, 99),
        ("scheduled", timedelta(hours=2), 429, 99),
        ("scheduled", timedelta(hours=3), 503, 75),
        ("scheduled", None, 503, 75),
        ("scheduled", timedelta(hours=2), 404, 78),
        ("manual", timedelta(hours=2), 503, 75),
    ],
)
def test_a_scheduled_fetch_that_may_succeed_later_keeps_no_message_waiting(  # noqa: PLR0917  # fixtures and parameters
    database: Database,
    httpserver: HTTPServer,
    fetch: Fetch,
    run_type: str,
    good: timedelta | None,
    status: int,
    code: int,
) -> None:
    if good:
        asked(database, good)
    httpserver.expect_request(UPCOMING).respond_with_data("{}", status=status, headers={"Retry-After": "3000"})
    result = fetch(RUN_TYPE=run_type, NOW=at(NOW))
    assert result.code == code
    young = "The newest page is young enough to go by; the next run asks again."
    assert result.last.endswith(young) == (code == 99)
    assert result.last.startswith("WARNING" if code == 99 else "ERROR")
    assert database.query("SELECT status FROM fetches WHERE error IS NOT NULL") == [(status,)]
