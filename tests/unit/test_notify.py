"""notify_discord as a program, against a real PostgreSQL and a stand-in for Discord: good days and bad ones."""

import contextlib
import json
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Response

import fetch.__main__
import notify.__main__
from notify import discord as notify_discord
from notify import heartbeat as notify_heartbeat
from notify.store import Store
from standins.discord import CLOUDFLARE, NO_ANSWER, RATE_LIMITED, SERVER_ERROR, TOKEN, WEBHOOK_ID, Discord
from standins.launch_library import UPCOMING, LaunchLibrary
from standins.postgres import Postgres
from standins.server import Answer, Request
from step import Failure, connect
from tests.conftest import Database, Result, assert_stops, run_step, started

NOW = "2026-11-24T07:00:00Z"
EARLIER = "2026-11-24T06:00:00Z"
SOON, LATER, LAST = "2026-11-25T12:00:00Z", "2026-11-26T12:00:00Z", "2026-11-27T12:00:00Z"

KEY = "0f1e-heartbeat-key"
TWICE = "did not learn if it arrived: it may now be there twice"


class Watched(Discord):
    """Calls somebody when a message is saved and its answer not yet sent."""

    def __init__(self) -> None:
        self.when_saved: Callable[[], object] | None = None
        super().__init__()

    def post(self, request: Request) -> Answer:
        answer = super().post(request)
        if self.when_saved:
            call, self.when_saved = self.when_saved, None
            call()
        return answer

    def count(self, method: str) -> int:
        return sum(request.method == method for request in self.requests)

    def titles(self) -> list[str]:
        return [message.body["embeds"][0]["title"] for message in self.messages]


@pytest.fixture
def discord() -> Iterator[Watched]:
    with Watched() as standin:
        yield standin


@pytest.fixture(scope="module")
def scratch(new_database: Callable[..., Database]) -> Database:
    return new_database()


@pytest.fixture
def database(scratch: Database) -> Database:
    """The same database each time, emptied, since making one takes longer than most tests here."""
    scratch.query("TRUNCATE rocket_launches, launch_changes, fetches, notifications RESTART IDENTITY")
    return scratch


@pytest.fixture(scope="module")
def own_server() -> Iterator[Postgres]:
    """A server that may be stopped."""
    with Postgres() as server:
        assert Database(server, "launches").run("init_schema").code == 0
        yield server


def add(database: Database, launch_id: str, net: str | None, **columns: str | None) -> None:
    """Store a launch, seen now, to be launched at a minute that is known."""
    row: dict[str, str | None] = {
        "launch_id": launch_id,
        "name": launch_id,
        "net": net,
        "net_precision": "minute",
        "status": "Go",
        "image_url": f"https://example.org/{launch_id}.png",
        "details": "{}",
        "first_seen_at": EARLIER,
        "last_seen_at": NOW,
    } | columns
    places = ", ".join(len(row) * ["%s"])
    database.query(f"INSERT INTO rocket_launches ({', '.join(row)}) VALUES ({places})", *row.values())


def change(database: Database, launch_id: str, **columns: str | None) -> None:
    for column, value in columns.items():
        database.query(f"UPDATE rocket_launches SET {column} = %s WHERE launch_id = %s", value, launch_id)


def run(database: Database, url: str | None, **env: str) -> Result:
    """Run the step, and assert what holds for every run: one line a record, and no secret in any."""
    environment = database.env("notify") | {"DATABASE_WAIT_SECONDS": "1", "NOW": NOW} | env
    result = run_step("notify", environment | ({} if url is None else {"DISCORD_WEBHOOK_URL": url}))
    assert_tells_no_secret(result.lines, environment)
    return result


def assert_tells_no_secret(lines: list[str], environment: dict[str, str]) -> None:
    for line in lines:
        assert line.startswith(("INFO ", "WARNING ", "ERROR "))
        assert TOKEN not in line
        assert KEY not in line
        assert environment["PGPASSWORD"] not in line


def running(database: Database, url: str) -> contextlib.AbstractContextManager[subprocess.Popen[str]]:
    """The step, while it runs."""
    return started("notify", database.env("notify") | {"NOW": NOW, "DISCORD_WEBHOOK_URL": url})


@contextlib.contextmanager
def raw_server(answer: Callable[[socket.socket], object]) -> Iterator[str]:
    """Read whole requests and then do as told; yield a webhook's address."""

    def read_request(connection: socket.socket) -> None:
        with connection.makefile("rb") as file:
            length = 0
            while (line := file.readline().lower()).strip():
                if line.startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            file.read(length)

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                read_request(connection)
                answer(connection)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/api/webhooks/{WEBHOOK_ID}/{TOKEN}"
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def attempted(database: Database) -> list[bool]:
    return [attempt for (attempt,) in database.query("SELECT attempted_at IS NOT NULL FROM notifications ORDER BY id")]


# Which launch is next: what is stored, as (id, net, precision, status, last seen), and the id of the next.

MONTH = "2026-11-30T00:00:00Z"
YEAR = "2026-12-31T00:00:00Z"
Case = tuple[list[tuple[str | None, ...]], str | None]
NEXT: dict[str, Case] = {
    "nothing stored": ([], None),
    "the nearest": ([("late", LATER), ("soon", SOON), ("last", LAST)], "soon"),
    "a past one is not": ([("past", EARLIER), ("soon", SOON)], "soon"),
    "one at this very moment is not": ([("now", NOW), ("soon", SOON)], "soon"),
    "only past ones": ([("past", EARLIER)], None),
    "no date": ([("none", None)], None),
    "no date and a date": ([("none", None), ("soon", SOON)], "soon"),
    "a tie, by id": ([("b", SOON), ("a", SOON), ("c", SOON)], "a"),
    "a real time at the month's end beats the month": (
        [("month", MONTH, "month"), ("real", "2026-11-30T23:59:59Z")],
        "real",
    ),
    "a real time at the year's end beats month, quarter, half and year": (
        [(name, YEAR, name) for name in ("month", "quarter", "half", "year")] + [("real", "2026-12-31T23:59:59Z")],
        "real",
    ),
    "a month beats a real time after it": ([("month", MONTH, "month"), ("real", "2026-12-01T00:00:01Z")], "month"),
    "a month beats the year that it is in": ([("year", YEAR, "year"), ("month", MONTH, "month")], "month"),
    "a real time at the month's end beats a month of 2.0.0": (
        [("month", MONTH, None, "TBD"), ("real", "2026-11-30T23:59:59Z", None)],
        "real",
    ),
    "in 2.0.0 midnight is a time unless to be determined": (
        [("real", MONTH, None), ("later", SOON, "month")],
        "real",
    ),
    "a real midnight of a launch to be determined": (
        [("real", "2026-11-26T00:00:00Z", "minute", "TBD"), ("later", LATER)],
        "real",
    ),
    "a real time today beats today": (
        [("day", "2026-11-24T00:00:00Z", "day"), ("real", "2026-11-24T23:00:00Z")],
        "real",
    ),
    "today is not over": ([("day", "2026-11-24T00:00:00Z", "day"), ("soon", SOON)], "day"),
    "this morning is today": ([("day", "2026-11-24T00:00:00Z", "morning"), ("soon", SOON)], "day"),
    "yesterday is over": ([("day", "2026-11-23T00:00:00Z", "day"), ("soon", SOON)], "soon"),
    "this week is not over": ([("week", "2026-11-23T00:00:00Z", "week"), ("last", "2026-11-30T00:00:01Z")], "week"),
    "last week is over": ([("week", "2026-11-22T00:00:00Z", "week"), ("soon", SOON)], "soon"),
    "this year is not over, whichever day it is written by": (
        [("year", "2026-01-01T00:00:00Z", "year"), ("next year", "2027-01-01T00:00:01Z")],
        "year",
    ),
    "the first half is over": ([("half", "2026-06-30T00:00:00Z", "half"), ("soon", SOON)], "soon"),
    "the third quarter is over": ([("quarter", "2026-09-30T00:00:00Z", "quarter"), ("soon", SOON)], "soon"),
    "last month is over": ([("month", "2026-10-31T00:00:00Z", "month"), ("soon", SOON)], "soon"),
    "last year is over": ([("year", "2025-12-31T00:00:00Z", "year"), ("soon", SOON)], "soon"),
    "an unknown precision is at least this year": ([("decade", YEAR, "decade"), ("soon", SOON)], "soon"),
    "one that the last page no longer had": ([("gone", SOON, "minute", "Go", EARLIER), ("late", LATER)], "late"),
    "all older than a page whose only launch has no date": (
        [("gone", SOON, "minute", "Go", EARLIER), ("none", None)],
        None,
    ),
    "all older than a page whose only launch is long past": (
        [("gone", SOON, "minute", "Go", EARLIER), ("old", "2020-01-01T00:00:00Z")],
        None,
    ),
}
NEXT |= {
    f"one that is {status}": ([("no", SOON, "minute", status), ("late", LATER)], "late")
    for status in ("Hold", "In Flight", "Success", "Failure", "Partial Failure", "Payload Deployed")
}
NEXT |= {
    f"one that is {status} is": ([("soon", SOON, "minute", status), ("late", LATER)], "soon")
    for status in ("Go", "TBC", "TBD", "Some new word", None)
}


@pytest.mark.parametrize(("launches", "expected"), NEXT.values(), ids=NEXT.keys())
def test_which_launch_is_next(
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    launches: list[tuple[str | None, ...]],
    expected: str | None,
) -> None:
    for launch_id, net, *more in launches:
        assert launch_id
        add(database, launch_id, net, **dict(zip(("net_precision", "status", "last_seen_at"), more, strict=False)))
    for variable, value in database.env("notify").items():
        monkeypatch.setenv(variable, value)
    with contextlib.closing(connect()) as connection:
        following = Store(connection, WEBHOOK_ID, datetime.fromisoformat(NOW)).next()
    assert (following and following.launch_id) == expected


# Good days


def test_the_next_launch_is_posted_once(database: Database, discord: Watched) -> None:
    add(database, "soon", SOON)
    add(database, "late", LATER)
    first = run(database, discord.webhook_url)
    assert (first.code, first.lines) == (0, ["INFO Posted: soon", "INFO Messages: 1 posted, 0 edited"])
    assert discord.titles() == ["soon"]
    assert discord.requests[0].query == {"wait": "true"}
    assert discord.messages[0].body["allowed_mentions"] == {"parse": []}
    ((message_id, attempted_at, posted_at),) = database.query(
        "SELECT message_id, attempted_at, posted_at FROM notifications"
    )
    assert (message_id, attempted_at, posted_at) == (discord.messages[0].id, None, datetime.fromisoformat(NOW))

    before = database.tables()
    second = run(database, discord.webhook_url)
    assert (second.code, second.lines) == (99, ["INFO Nothing to say: soon is announced"])
    assert len(discord.requests) == 1
    assert database.tables() == before


def test_with_nothing_to_come_there_is_nothing_to_say(database: Database, discord: Watched) -> None:
    result = run(database, discord.webhook_url)
    assert (result.code, result.lines) == (99, ["INFO Nothing to say: no launch is to come"])
    assert discord.requests == []


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("net", LATER, f"<t:{datetime.fromisoformat(LATER).timestamp():.0f}:F>"),
        ("net", "2026-11-25T12:00:01Z", "<t:1795608001:F>"),
        ("net", None, "No date yet"),
        ("net_precision", "month", "November 2026"),
        ("status", "Success", "Launch successful"),
        ("name", "renamed", "renamed"),
        ("image_url", "https://example.org/other.png", "https://example.org/other.png"),
        ("image_url", None, None),
    ],
)
def test_a_change_edits_the_message_that_is_there(
    database: Database, discord: Watched, column: str, value: str | None, told: str | None
) -> None:
    add(database, "soon", SOON)
    assert run(database, discord.webhook_url).code == 0
    change(database, "soon", **{column: value})
    result = run(database, discord.webhook_url)
    assert (result.code, result.last) == (0, "INFO Messages: 0 posted, 1 edited")
    (message,) = discord.messages
    assert [request.path.rpartition("/")[2] for request in discord.requests if request.method == "PATCH"] == [
        message.id
    ]
    assert told is None or told in json.dumps(message.body)
    assert column != "image_url" or value or "image" not in message.body["embeds"][0]
    assert run(database, discord.webhook_url).code == 99
    assert discord.count("PATCH") == 1


@pytest.mark.parametrize(
    ("column", "value"),
    [("details", '{"pad": {"name": "elsewhere"}}'), ("last_updated", NOW), ("last_seen_at", LATER), ("net", SOON)],
)
def test_any_other_change_touches_nothing(database: Database, discord: Watched, column: str, value: str) -> None:
    add(database, "soon", SOON)
    assert run(database, discord.webhook_url).code == 0
    change(database, "soon", **{column: value})
    assert run(database, discord.webhook_url).code == 99
    assert len(discord.requests) == 1


def test_a_launch_that_slips_past_another_is_edited_and_the_other_posted(database: Database, discord: Watched) -> None:
    add(database, "first", SOON)
    add(database, "second", LATER)
    assert run(database, discord.webhook_url).code == 0
    change(database, "first", net=LAST)
    result = run(database, discord.webhook_url)
    assert (result.code, result.last) == (0, "INFO Messages: 1 posted, 1 edited")
    assert discord.titles() == ["first", "second"]
    assert discord.messages[0].edits == 1
    # And back again: its message is there.
    change(database, "second", net="2026-11-28T12:00:00Z")
    assert run(database, discord.webhook_url).last == "INFO Messages: 0 posted, 1 edited"
    assert [message.edits for message in discord.messages] == [1, 1]


def test_what_becomes_of_a_launch_is_told_though_no_page_has_it_any_more(database: Database, discord: Watched) -> None:
    add(database, "soon", SOON)
    add(database, "late", LATER)
    assert run(database, discord.webhook_url).code == 0
    change(database, "soon", status="Success", last_seen_at=EARLIER)
    assert run(database, discord.webhook_url, NOW="2026-11-25T12:30:00Z").code == 0
    assert "Launch successful" in json.dumps(discord.messages[0].body)
    assert discord.titles() == ["soon", "late"]


def test_two_at_once_post_one_message(database: Database, discord: Watched) -> None:
    add(database, "soon", SOON)
    discord.faults = [RATE_LIMITED]  # so that the first is not done before the second begins
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(run, 2 * [database], 2 * [discord.webhook_url]))
    assert sorted(result.code for result in results) == [0, 99]
    assert discord.titles() == ["soon"]


def test_messages_go_to_the_thread(database: Database, discord: Watched) -> None:
    add(database, "soon", SOON)
    url = f"{discord.webhook_url}/?thread_id=42&wait=false&other=1"
    assert run(database, url).code == 0
    change(database, "soon", net=LATER)
    assert run(database, url).code == 0
    assert [(request.method, request.query) for request in discord.requests] == [
        ("POST", {"wait": "true", "thread_id": "42"}),
        ("PATCH", {"thread_id": "42"}),
    ]
    assert discord.messages[0].edits == 1


def test_another_webhook_is_another_channel(database: Database, discord: Watched) -> None:
    add(database, "soon", SOON)
    database.query(
        "INSERT INTO notifications (launch_id, webhook_id, message_id, facts, posted_at) "
        "VALUES ('soon', '9', 'elsewhere', '{}', now())"
    )
    assert run(database, discord.webhook_url).last == "INFO Messages: 1 posted, 0 edited"
    assert [request.method for request in discord.requests] == ["POST"]
    # The message in the other channel is remembered: whoever goes back to it does not announce the launch again.
    assert database.query("SELECT webhook_id, message_id FROM notifications ORDER BY id") == [
        ("9", "elsewhere"),
        (WEBHOOK_ID, discord.messages[0].id),
    ]
    assert run(database, discord.webhook_url).code == 99


def test_a_new_token_of_the_same_webhook_edits_what_is_there(database: Database, discord: Watched) -> None:
    add(database, "soon", SOON)
    assert run(database, discord.webhook_url).code == 0
    assert run(database, discord.webhook_url.replace(TOKEN, "a-new-one")).code == 99


# Configuration


@pytest.mark.parametrize("url", [None, ""])
def test_without_a_webhook_it_says_so_and_needs_no_database(database: Database, url: str | None) -> None:
    result = run(database, url, PGPORT="1")
    assert (result.code, result.lines) == (
        99,
        ["INFO No webhook: DISCORD_WEBHOOK_URL is not set, so nobody was notified"],
    )


def test_switched_off_it_says_so_and_needs_nothing(database: Database, discord: Watched) -> None:
    result = run(database, discord.webhook_url, NOTIFY="false", PGPORT="1")
    assert (result.code, result.lines) == (99, ["INFO Notifying is switched off for this run: nothing was posted"])
    assert discord.requests == []


@pytest.mark.parametrize("setting", ["true", ""])
def test_switched_on(database: Database, discord: Watched, setting: str) -> None:
    add(database, "soon", SOON)
    assert run(database, discord.webhook_url, NOTIFY=setting).code == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"NOTIFY": "yes"},
        {"NOTIFY": "True\n2026 INFO forged"},
    ],
)
def test_a_wrong_setting_is_bad_configuration(database: Database, discord: Watched, wrong: dict[str, str]) -> None:
    result = run(database, discord.webhook_url, **wrong)
    assert (result.code, len(result.lines)) == (78, 1)
    assert "give" in result.last
    assert "\x1b" not in result.last
    assert discord.requests == []


@pytest.mark.parametrize(
    "url",
    [
        TOKEN,
        f"discord.com/api/webhooks/1/{TOKEN}",
        f"ftp://discord.com/api/webhooks/1/{TOKEN}",
        f"https:///api/webhooks/1/{TOKEN}",
        f"https://discord.com/api/webhooks/{TOKEN}",
        f"https://discord.com/api/webhooks/x/{TOKEN}",
        f"https://discord.com/api/webhooks/1/{TOKEN}/slack",
        f"https://discord.com/api/webhooks/1/{TOKEN} ",
        f"https://discord.com/{TOKEN}",
        f"https://[discord.com/api/webhooks/1/{TOKEN}",
        f"https://discord.com:port/api/webhooks/1/{TOKEN}",
        f"https://discord.com:99999/api/webhooks/1/{TOKEN}",
        f"https://discord..com/api/webhooks/1/{TOKEN}",
        f"https://.discord.com/api/webhooks/1/{TOKEN}",
        f"https://{64 * 'x'}.com/api/webhooks/1/{TOKEN}",
        f"https://*/api/webhooks/1/{TOKEN}",
    ],
)
def test_what_is_no_webhook_is_bad_configuration_and_not_repeated(database: Database, url: str) -> None:
    add(database, "soon", SOON)
    result = run(database, url)
    assert (result.code, len(result.lines)) == (78, 1)
    assert "copy it from the channel's settings" in result.last


# Discord's bad days


def test_a_short_rate_limit_is_waited_for(database: Database, discord: Watched) -> None:
    add(database, "soon", SOON)
    discord.faults = [RATE_LIMITED, CLOUDFLARE]
    assert run(database, discord.webhook_url).code == 0
    assert discord.titles() == ["soon"]
    change(database, "soon", net=LATER)
    discord.faults = [RATE_LIMITED]
    assert run(database, discord.webhook_url).code == 0
    assert discord.messages[0].edits == 1


@pytest.mark.parametrize(
    "fault",
    [
        Answer(429, {"message": "…", "retry_after": 3600.5, "global": True}),
        Answer(429, "<html>Error 1015</html>", {"Retry-After": "600"}),
        Answer(429, "<html>Error 1015</html>"),
        Answer(429, "<html>Error 1015</html>", {"Retry-After": "Tue, 24 Nov 2026 08:00:00 GMT"}),
        Answer(429, {"retry_after": None}),
        Answer(429, {"retry_after": -1}),
        Answer(429, b'{"retry_after": NaN}'),
        Answer(429, b'{"retry_after": Infinity}'),
        Answer(429, [], {"Retry-After": "nan"}),
    ],
)
def test_a_long_or_unclear_rate_limit_is_left_for_later(database: Database, discord: Watched, fault: Answer) -> None:
    add(database, "soon", SOON)
    discord.faults = 9 * [fault]
    result = run(database, discord.webhook_url)
    assert result.code == 75
    assert "limits the rate" in result.last
    assert "try again" in result.last
    assert len(discord.requests) == 1
    assert attempted(database) == [False]
    discord.faults = []
    assert run(database, discord.webhook_url).lines == ["INFO Posted: soon", "INFO Messages: 1 posted, 0 edited"]


def test_a_rate_limit_of_no_seconds_is_not_asked_about_for_ever(database: Database, discord: Watched) -> None:
    # Discord bans an address for 10,000 answers of 429 in ten minutes.
    add(database, "soon", SOON)
    discord.faults = 500 * [Answer(429, {"message": "…", "retry_after": 0, "global": False}, {"Retry-After": "0"})]
    result = run(database, discord.webhook_url)
    assert result.code == 75
    assert len(discord.requests) < 100


REFUSED = {
    "400 50035": (Answer(400, {"message": "Invalid Form Body", "code": 50035, "errors": {}}), 65, "Invalid Form Body"),
    "401 50027": (Answer(401, {"message": "Invalid Webhook Token", "code": 50027}), 78, "set DISCORD_WEBHOOK_URL"),
    "404 10015": (Answer(404, {"message": "Unknown Webhook", "code": 10015}), 78, "set DISCORD_WEBHOOK_URL"),
    "404 of a web page": (Answer(404, "<html>not here</html>"), 78, "set DISCORD_WEBHOOK_URL"),
    "403": (Answer(403, {"message": "Missing Access", "code": 50001}), 78, "set DISCORD_WEBHOOK_URL"),
    "an echo": (Answer(400, {"message": f"no {TOKEN}", "code": 0}), 65, "no …"),
    "a code that is none": (Answer(400, {"code": "x"}), 65, "HTTP 400"),
    "moved for good": (Answer(301, None, {"Location": "http://127.0.0.1:1/"}), 78, "The webhook has moved"),
    "moved": (Answer(307, None, {"Location": "http://127.0.0.1:1/"}), 78, "The webhook has moved"),
    "moved for good, and to stay a POST": (Answer(308, None, {"Location": "/elsewhere"}), 78, "The webhook has moved"),
}


@pytest.mark.parametrize(("fault", "code", "told"), REFUSED.values(), ids=REFUSED.keys())
def test_a_refused_message_is_for_certain_not_there(
    database: Database, discord: Watched, fault: Answer, code: int, told: str
) -> None:
    add(database, "soon", SOON)
    discord.faults = [fault]
    result = run(database, discord.webhook_url)
    assert (result.code, len(result.lines), len(discord.requests)) == (code, 1, 1)
    assert told in result.last
    assert attempted(database) == [False]
    assert run(database, discord.webhook_url).lines == ["INFO Posted: soon", "INFO Messages: 1 posted, 0 edited"]


@pytest.mark.parametrize("answer", ["400 50035", "401 50027", "404 10015", "moved for good"])
def test_a_refused_edit_is_tried_again(database: Database, discord: Watched, answer: str) -> None:
    fault, code, told = REFUSED[answer]
    add(database, "soon", SOON)
    assert run(database, discord.webhook_url).code == 0
    change(database, "soon", net=LATER)
    discord.faults = [fault]
    result = run(database, discord.webhook_url)
    assert result.code == code
    assert told in result.last
    assert run(database, discord.webhook_url).last == "INFO Messages: 0 posted, 1 edited"


def test_a_deleted_webhook_is_bad_configuration(database: Database, discord: Watched) -> None:
    add(database, "soon", SOON)
    discord.deleted = True
    result = run(database, discord.webhook_url)
    assert (result.code, len(discord.requests)) == (78, 1)
    assert WEBHOOK_ID in result.last


UNKNOWN = {
    "500 of a web page": Answer(500, "<html>Internal Server Error</html>"),
    "500": SERVER_ERROR,
    "503": Answer(503, None, {"Retry-After": "1"}),
    "no answer": NO_ANSWER,
    "no id": Answer(200, {"type": 0}),
    "no content": Answer(204),
    "no JSON": Answer(200, "<html>fine</html>"),
}


@pytest.mark.parametrize("fault", UNKNOWN.values(), ids=UNKNOWN.keys())
def test_what_became_of_a_message_without_an_answer_is_not_pretended_to_be_known(
    database: Database, discord: Watched, fault: Answer
) -> None:
    add(database, "soon", SOON)
    discord.faults = [fault]
    result = run(database, discord.webhook_url)
    assert (result.code, len(result.lines)) == (75, 1)
    assert "not known if" in result.last or "took the message" in result.last
    assert attempted(database) == [True]
    again = run(database, discord.webhook_url)
    assert again.code == 0
    assert again.lines == [
        f"WARNING A run at {NOW} sent a message for soon and {TWICE}",
        "INFO Posted: soon",
        "INFO Messages: 1 posted, 0 edited",
    ]
    assert discord.titles()[-1] == "soon"
    assert attempted(database) == [False]
    assert run(database, discord.webhook_url).code == 99


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def half(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{")


def nonsense(connection: socket.socket) -> None:
    connection.sendall(b"SSH-2.0-OpenSSH\r\n\r\n")


def malformed(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


@pytest.mark.parametrize("answer", [reset, half, nonsense])
def test_a_broken_connection_is_honestly_told(
    database: Database, discord: Watched, answer: Callable[[socket.socket], None]
) -> None:
    add(database, "soon", SOON)
    with raw_server(answer) as url:
        result = run(database, url)
    assert (result.code, len(result.lines)) == (75, 1)
    assert "it is not known if it was saved" in result.last
    assert attempted(database) == [True]
    assert TWICE in run(database, discord.webhook_url).lines[0]


@pytest.mark.parametrize("answer", ["silence", "drops"])
def test_waiting_for_an_answer_has_an_end(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    assert notify_discord.READ_SECONDS <= 30
    assert notify_discord.ANSWER_SECONDS <= 60
    monkeypatch.setattr(notify_discord, "READ_SECONDS", 0.3)
    monkeypatch.setattr(notify_discord, "ANSWER_SECONDS", 0.8)
    over = threading.Event()

    def keep_waiting(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" if answer == "drops" else b"")
        while not over.wait(0.1):
            connection.sendall(b" " if answer == "drops" else b"")

    with raw_server(keep_waiting) as url:
        try:
            with pytest.raises(notify_discord.Unanswered, match="not known"):
                notify_discord.Webhook(url).post({})
        finally:
            over.set()


def test_an_address_where_nobody_listens_was_not_sent_anything(database: Database, discord: Watched) -> None:
    add(database, "soon", SOON)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = discord.webhook_url.replace(discord.url, f"http://127.0.0.1:{free.getsockname()[1]}")
        result = run(database, url)
    assert (result.code, len(result.lines)) == (75, 1)
    assert "cannot be reached" in result.last
    assert attempted(database) == [False]
    assert run(database, discord.webhook_url).lines[0] == "INFO Posted: soon"


def test_a_name_that_no_server_has_was_not_sent_anything(database: Database) -> None:
    add(database, "soon", SOON)
    result = run(database, f"http://nobody.invalid/api/webhooks/{WEBHOOK_ID}/{TOKEN}")
    assert result.code == 75
    assert "cannot be reached" in result.last
    assert attempted(database) == [False]


def test_a_proxy_where_nobody_listens_was_not_sent_anything(database: Database, discord: Watched) -> None:
    add(database, "soon", SOON)
    result = run(database, discord.webhook_url, HTTP_PROXY="http://127.0.0.1:1", http_proxy="http://127.0.0.1:1")
    assert result.code == 75
    assert "cannot be reached" in result.last
    assert attempted(database) == [False]


def test_an_attempt_of_which_nobody_knows_is_remembered_through_a_refused_one(
    database: Database, discord: Watched
) -> None:
    add(database, "soon", SOON)
    discord.faults = [NO_ANSWER, Answer(429, {"retry_after": 3600})]
    assert [run(database, discord.webhook_url).code for _ in range(2)] == [75, 75]
    assert TWICE in run(database, discord.webhook_url).lines[0]


def test_a_message_deleted_by_hand_is_posted_again(database: Database, discord: Watched) -> None:
    add(database, "soon", SOON)
    assert run(database, discord.webhook_url).code == 0
    (deleted,) = discord.messages
    discord.messages.clear()
    assert run(database, discord.webhook_url).code == 99  # nobody looks until something changes
    change(database, "soon", net=LATER)
    result = run(database, discord.webhook_url)
    assert (result.code, result.last) == (0, "INFO Messages: 1 posted, 0 edited")
    (message,) = discord.messages
    assert message.id != deleted.id
    assert database.query("SELECT message_id FROM notifications") == [(message.id,)]


def test_a_message_deleted_by_hand_is_not_posted_again_for_a_launch_that_is_not_next(
    database: Database, discord: Watched
) -> None:
    add(database, "soon", SOON)
    assert run(database, discord.webhook_url).code == 0
    discord.messages.clear()
    change(database, "soon", status="Success")
    for _ in range(2):
        assert run(database, discord.webhook_url).code == 99
    assert discord.messages == []
    assert discord.count("PATCH") == 1


def test_a_message_that_discord_refuses_keeps_no_other_back(database: Database, discord: Watched) -> None:
    for launch_id, net in (("a", SOON), ("b", LATER), ("c", LAST)):
        add(database, launch_id, net)
        assert run(database, discord.webhook_url).code == 0
        change(database, launch_id, status="Success")
    before = [message.edits for message in discord.messages]
    for launch_id in "abc":
        change(database, launch_id, name=f"{launch_id} renamed")
    add(database, "new", "2026-11-28T12:00:00Z")
    discord.faults = [Answer(400, {"message": "Invalid Form Body", "code": 50035})]
    result = run(database, discord.webhook_url)
    assert result.code == 65
    assert "Discord refuses the message" in result.last
    assert discord.titles() == ["a", "b renamed", "c renamed", "new"]
    assert [message.edits for message in discord.messages] == [before[0], before[1] + 1, before[2] + 1, 0]
    # The next run makes up for it.
    assert run(database, discord.webhook_url).last == "INFO Messages: 0 posted, 1 edited"


def test_a_name_cannot_forge_a_log_line(database: Database, discord: Watched) -> None:
    add(database, "soon", SOON, name="Evil\n2026-11-24T07:00:00Z INFO forged\r\x1b[2J\u202e\u2028")
    (posted, last) = run(database, discord.webhook_url).lines
    assert posted == r"INFO Posted: Evil\n2026-11-24T07:00:00Z INFO forged\r\x1b[2J\u202e\u2028"
    assert last == "INFO Messages: 1 posted, 0 edited"


@pytest.mark.parametrize("name", ["\u200b", "@everyone", 10_000 * "🚀", 10_000 * "\\"])
def test_discord_takes_any_name(database: Database, discord: Watched, name: str) -> None:
    add(database, "soon", SOON, name=name, details=json.dumps({"rocket": {"configuration": {"name": name}}}))
    assert run(database, discord.webhook_url).code == 0
    assert len(discord.messages) == 1


# The heartbeat


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


@pytest.mark.parametrize("answer", ["reset", "nonsense"])
def test_a_heartbeat_whose_connection_breaks_is_a_warning(database: Database, answer: str) -> None:
    with raw_server({"reset": reset, "nonsense": nonsense}[answer]) as url:
        assert_beats(database, url, {"reset": "ConnectionResetError", "nonsense": "BadStatusLine"}[answer])


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
    over = threading.Event()

    def drip(connection: socket.socket) -> None:
        connection.sendall(head)
        while not over.wait(0.1):
            connection.sendall(b"x" if head else b"")

    began = time.monotonic()
    with raw_server(drip) as url:
        try:
            notify_heartbeat.send(url)
            assert time.monotonic() - began < 3
        finally:
            over.set()
    [record] = caplog.records
    assert record.getMessage().startswith("The heartbeat failed (")
    assert TOKEN not in record.getMessage()


def test_an_endless_answer_does_not_keep_the_step_from_its_end(database: Database) -> None:
    over = threading.Event()

    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while not over.wait(0.1):
            connection.sendall(b"x")

    with raw_server(drip) as url:
        try:
            began = time.monotonic()
            assert_beats(database, url, wrong=None)
            assert time.monotonic() - began < 9
        finally:
            over.set()


def test_a_heartbeats_malformed_header_tells_no_secret(database: Database) -> None:
    with raw_server(malformed) as url:
        assert_beats(database, url, wrong=None)


# Stopped in the middle


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_stopped_between_sending_and_the_answer_the_next_run_is_honest(
    database: Database, discord: Watched, number: signal.Signals, code: int
) -> None:
    add(database, "soon", SOON)
    with running(database, discord.webhook_url) as process:

        def stop() -> None:
            process.send_signal(number)
            process.wait(10)

        discord.when_saved = stop
        output, _ = process.communicate(timeout=20)
    assert process.returncode == code
    assert output.endswith("Stopped by SIGTERM: what was not committed is undone. Run the step again.\n") or not output
    assert attempted(database) == [True]
    assert TWICE in run(database, discord.webhook_url).lines[0]
    assert discord.titles() == ["soon", "soon"]


def test_stopped_while_it_waits_for_a_rate_limit_it_ends_at_once(database: Database, discord: Watched) -> None:
    add(database, "soon", SOON)
    discord.faults = [Answer(429, {"retry_after": 50})]
    with running(database, discord.webhook_url) as process:
        while not discord.requests:
            assert process.poll() is None
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.5)  # until it sleeps
        process.terminate()
        assert_stops(process)
    assert discord.messages == []


def test_postgresql_gone_before_the_message_is_kept(own_server: Postgres, discord: Watched) -> None:
    database = Database(own_server, "launches")
    add(database, "soon", SOON)
    discord.when_saved = lambda: own_server.stop("immediate")
    result = run(database, discord.webhook_url)
    own_server.start()
    assert result.code == 75
    assert discord.titles() == ["soon"]
    assert attempted(database) == [True]
    assert TWICE in run(database, discord.webhook_url).lines[0]
    assert discord.titles() == ["soon", "soon"]


# PostgreSQL's bad days


def test_without_rights_it_names_the_step_that_grants_them(database: Database, discord: Watched) -> None:
    result = run(database, discord.webhook_url, **database.env("fetch"))
    assert result.code == 78
    assert result.last.endswith("Run initialize_schema, which makes and grants it.")


# Weeks of real pages


def test_over_the_recorded_weeks_each_launch_has_one_message_that_is_kept_up_to_date(
    new_database: Callable[..., Database], discord: Watched, recorded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = new_database()
    monkeypatch.setenv("DISCORD_WEBHOOK_URL", discord.webhook_url)
    facts = "SELECT launch_id, name, net, net_precision, status, image_url FROM rocket_launches"
    stored: dict[str, tuple[Any, ...]] = {}
    told: dict[str, tuple[Any, ...]] = {}  # what the message of a launch should show

    def step(name: str, program: Callable[[], object]) -> object:
        for variable, value in database.env(name).items():
            monkeypatch.setenv(variable, value)
        return program()

    pages = sorted((recorded / "2.2.0" / "series").glob("*.json"))
    assert len(pages) == 150
    with LaunchLibrary() as library:
        monkeypatch.setenv("LAUNCH_LIBRARY_URL", library.url + UPCOMING["2.2.0"])
        for page in pages:
            library.page = page.read_bytes()
            monkeypatch.setenv("NOW", datetime.strptime(page.stem, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).isoformat())
            with contextlib.suppress(Failure) if page == pages[0] else contextlib.nullcontext():
                step("fetch", fetch.__main__.run)
            before = [discord.count(method) for method in ("POST", "PATCH")]
            code = step("notify", notify.__main__.run)

            stored = {row[0]: row[1:] for row in database.query(facts)}
            outdated = {launch_id for launch_id, shown in told.items() if stored[launch_id] != shown}
            announced = {launch_id for (launch_id,) in database.query("SELECT launch_id FROM notifications")}
            new = announced - told.keys()
            posts, patches = discord.count("POST") - before[0], discord.count("PATCH") - before[1]
            assert (posts, patches) == (len(new), len(outdated)), page.name
            assert code == (0 if posts or patches else 99), page.name
            told = {launch_id: stored[launch_id] for launch_id in announced}

    ids = dict(database.query("SELECT message_id, launch_id FROM notifications ORDER BY id"))
    assert [message.id for message in discord.messages] == list(ids)
    assert len(set(ids.values())) == len(discord.messages) > 10
    assert discord.count("PATCH") > len(discord.messages)
    for message in discord.messages:
        (embed,) = message.body["embeds"]
        name, net, precision, status, image_url = stored[ids[message.id]]
        assert embed["title"].replace("\\", "") == name
        shown = {field["name"]: field["value"] for field in embed["fields"]}
        assert precision not in ("second", "minute", "hour") or f"<t:{net.timestamp():.0f}:F>" in shown["When"]
        words = {"Go": "Go for launch", "Success": "Launch successful", "Failure": "Launch failed"}
        assert shown["Status"] == words.get(status, shown["Status"])
        assert embed.get("image", {}).get("url") == image_url


# Whatever Discord answers, or who answers for it


HOSTILE = "x\n2026-11-24T07:00:00Z INFO forged\r\x1b[2J\x9b31m\u2028\u2029\x85\x0b\u202e\0\x7f @everyone"


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500])
@pytest.mark.parametrize(
    "body",
    [
        {"message": HOSTILE, "code": 50035, "errors": {HOSTILE: [HOSTILE]}},
        {"message": HOSTILE, "code": HOSTILE, "retry_after": HOSTILE},
        HOSTILE,
        [HOSTILE],
        b'{"code": Infinity, "retry_after": Infinity}',
        b'{"code": 1' + b"0" * 400 + b', "retry_after": 1' + b"0" * 400 + b"}",
        b'{"code": 1' + b"0" * 5000 + b', "retry_after": 1' + b"0" * 5000 + b"}",
        b'{"code": ' + b"[" * 100_000,
        b"\xff\xfe\0",
    ],
    ids=lambda body: repr(body)[:30],
)
def test_a_hostile_answer_is_one_harmless_line(
    database: Database, discord: Watched, status: int, body: bytes | str | dict[str, Any] | list[Any]
) -> None:
    add(database, "soon", SOON)
    discord.faults = 9 * [Answer(status, body)]
    result = run(database, discord.webhook_url)
    assert result.code in (65, 75, 78)
    assert len(result.lines) == 1
    assert result.last.isprintable()
    assert result.last.startswith("ERROR ")


@pytest.mark.parametrize(
    "message_id",
    [HOSTILE, "", "a\0b", "../../9/other-token", "1?thread_id=2", "1\n", "9" * 10_000, None, {"a": 1}, [1], True, 1.5],
    ids=lambda message_id: repr(message_id)[:30],
)
def test_an_id_that_is_none_is_not_kept(database: Database, discord: Watched, message_id: object) -> None:
    add(database, "soon", SOON)
    discord.faults = [Answer(200, {"id": message_id})]
    result = run(database, discord.webhook_url)
    assert (result.code, len(result.lines)) == (75, 1)
    assert "answered without its id" in result.last
    assert database.query("SELECT message_id FROM notifications") == [(None,)]
    assert attempted(database) == [True]


def test_a_reason_that_echoes_the_address_tells_no_secret(database: Database) -> None:
    add(database, "soon", SOON)

    def echo(connection: socket.socket) -> None:
        reason = f"No {TOKEN} \x1b[2J".encode()
        connection.sendall(b"HTTP/1.1 400 " + reason + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    with raw_server(echo) as url:
        result = run(database, url)  # which looks for the token
    assert result.code == 65
    assert result.last.isprintable()


def test_a_malformed_header_tells_no_secret(database: Database) -> None:
    add(database, "soon", SOON)
    with raw_server(malformed) as url:
        result = run(database, url)  # which looks for the token
    assert (result.code, len(result.lines)) == (75, 1)
