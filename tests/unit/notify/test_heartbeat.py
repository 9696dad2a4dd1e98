"""The heartbeat at the end of a good run."""

import time

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Response

from notify import heartbeat as notify_heartbeat
from standins.discord import SERVER_ERROR, TOKEN
from tests.conftest import Database
from tests.unit.notify.conftest import (
    HOSTILE,
    KEY,
    LATER,
    MALFORMED,
    NONSENSE,
    REFUSED,
    RESET,
    SOON,
    Watched,
    add,
    change,
    raw_server,
    run,
)
from tests.unit.raw_server import Answer, drips

SILENT = "INFO Notifying is switched off for this run: nothing was posted"


@pytest.fixture
def heartbeat_url(httpserver: HTTPServer) -> str:
    httpserver.expect_request(f"/{KEY}").respond_with_data("OK")
    return httpserver.url_for(f"/{KEY}")


def test_every_good_end_sends_one_heartbeat_and_logs_nothing_more(
    database: Database, discord: Watched, httpserver: HTTPServer, heartbeat_url: str
) -> None:
    add(database, "soon", SOON)
    for number, (code, url, env, lines) in enumerate(
        [
            (0, discord.webhook_url, {}, ["INFO Posted: soon", "INFO Messages: 1 posted, 0 edited"]),
            (99, discord.webhook_url, {}, ["INFO Nothing to say: soon is announced"]),
            (99, discord.webhook_url, {"NOTIFY": "false"}, [SILENT]),
            (99, None, {}, ["INFO No webhook: DISCORD_WEBHOOK_URL is not set, so nobody was notified"]),
        ],
        start=1,
    ):
        result = run(database, url, HEARTBEAT_URL=heartbeat_url, **env)
        assert (result.code, result.lines) == (code, lines)
        assert [(asked.method, asked.path) for asked, _ in httpserver.log] == number * [("GET", f"/{KEY}")]
    assert run(database, discord.webhook_url, HEARTBEAT_URL="").code == 99
    assert len(httpserver.log) == 4


@pytest.mark.parametrize(
    ("code", "env"),
    [
        (78, {"NOTIFY": "yes"}),
        (78, {"DISCORD_WEBHOOK_URL": "https://discord.com/"}),
        (78, {"PGPASSWORD": "wrong"}),
        (75, {"PGPORT": "1"}),
        (75, {}),
    ],
    ids=str,
)
def test_a_failure_sends_no_heartbeat(  # noqa: PLR0917  # parameters
    database: Database, discord: Watched, httpserver: HTTPServer, heartbeat_url: str, code: int, env: dict[str, str]
) -> None:
    add(database, "soon", SOON)
    discord.faults = [SERVER_ERROR]
    result = run(database, None, HEARTBEAT_URL=heartbeat_url, **{"DISCORD_WEBHOOK_URL": discord.webhook_url} | env)
    assert result.code == code
    assert result.last.startswith("ERROR ")
    assert httpserver.log == []


def test_where_one_message_is_refused_there_is_no_heartbeat(
    database: Database, discord: Watched, httpserver: HTTPServer, heartbeat_url: str
) -> None:
    add(database, "soon", SOON)
    assert run(database, discord.webhook_url).code == 0
    change(database, "soon", net=LATER)
    discord.faults = [REFUSED["400 50035"][0]]
    assert run(database, discord.webhook_url, HEARTBEAT_URL=heartbeat_url).code == 65
    assert httpserver.log == []


@pytest.mark.parametrize(("status", "good"), [(200, True), (202, True), (204, True), (404, False), (503, False)])
def test_a_heartbeat_is_good_with_2xx(database: Database, httpserver: HTTPServer, status: int, *, good: bool) -> None:
    httpserver.expect_request(f"/{KEY}").respond_with_data(HOSTILE, status)
    assert_beats(database, httpserver.url_for(f"/{KEY}"), wrong=None if good else f"HTTP {status}")


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_heartbeat_is_not_redirected(database: Database, httpserver: HTTPServer, status: int) -> None:
    httpserver.expect_request(f"/{KEY}").respond_with_response(Response("", status, {"Location": f"/to/{KEY}"}))
    assert_beats(database, httpserver.url_for(f"/{KEY}"), wrong=f"HTTP {status}")
    assert len(httpserver.log) == 1


@pytest.mark.parametrize(
    ("url", "wrong"),
    [
        (KEY, "MissingSchema"),
        (f"{KEY}\n2026-11-24T07:00:00Z ERROR forged", "InvalidSchema"),
        (f"ftp://heartbeat.example/{KEY}", "InvalidSchema"),
        (f"file:///{KEY}", "InvalidSchema"),
        (f"https://[::1/{KEY}", "LocationParseError"),
        (f"https://heartbeat..example/{KEY}", "UnicodeError"),
        (f"https://heartbeat.example:port/{KEY}", "LocationParseError"),
        (f"http://127.0.0.1:99999/{KEY}", "LocationParseError"),
        (f"http://127.0.0.1:1/{KEY}", "ConnectionRefusedError"),
        (f"http://me:{KEY}@127.0.0.1:1/", "ConnectionRefusedError"),
        (f"http://{KEY}.invalid/", "gaierror"),
    ],
)
def test_a_heartbeat_that_cannot_be_sent_is_a_warning(database: Database, url: str, wrong: str) -> None:
    assert_beats(database, url, wrong)


@pytest.mark.parametrize(
    ("answer", "wrong"), [(RESET, "ConnectionResetError"), (NONSENSE, "BadStatusLine")], ids=["reset", "nonsense"]
)
def test_a_heartbeat_whose_connection_breaks_is_a_warning(database: Database, answer: Answer, wrong: str) -> None:
    with raw_server(answer) as url:
        assert_beats(database, url, wrong)


def assert_beats(database: Database, url: str, wrong: str | None) -> None:
    """Whatever becomes of a heartbeat, the run ends as it would without; at most one line tells of it."""
    warning = f"WARNING The heartbeat failed ({wrong}): check HEARTBEAT_URL. The run itself is good."
    result = run(database, None, NOTIFY="false", HEARTBEAT_URL=url)
    assert (result.code, result.lines) == (99, [warning, SILENT] if wrong else [SILENT])


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nX-Drip: ", b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n"])
def test_a_heartbeat_takes_a_bounded_time_even_if_its_answer_drips(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, head: bytes
) -> None:
    assert notify_heartbeat.SECONDS <= 10
    monkeypatch.setattr(notify_heartbeat, "SECONDS", 0.5)
    began = time.monotonic()
    with raw_server(drips(head, b"x" if head else b"")) as url:
        notify_heartbeat.send(url)
        assert time.monotonic() - began < 3
    [record] = caplog.records
    assert record.getMessage().startswith("The heartbeat failed (")
    assert TOKEN not in record.getMessage()


def test_an_endless_answer_does_not_keep_the_step_from_its_end(database: Database) -> None:
    with raw_server(drips(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b"x")) as url:
        began = time.monotonic()
        assert_beats(database, url, wrong=None)
        assert time.monotonic() - began < 9


def test_a_heartbeats_malformed_header_tells_no_secret(database: Database) -> None:
    with raw_server(MALFORMED) as url:
        assert_beats(database, url, wrong=None)
