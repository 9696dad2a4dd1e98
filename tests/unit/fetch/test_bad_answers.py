"""Answers that are no page: the step ends with a code and a sentence, and stores nothing."""

import gzip
import json
import re
import socket
import time
import tracemalloc
import zlib
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from fetch import launch_library
from tests.conftest import Database
from tests.unit.fetch.conftest import (
    BODY,
    HEAD,
    HTML,
    LENGTH,
    MIB,
    THROTTLE,
    UPCOMING,
    Fetch,
    assert_failed,
    handle,
    launch,
    page,
    raw_server,
    requests_made,
    rows,
    run_here,
    sends,
    stored,
)
from tests.unit.raw_server import Answer, drips, says

SENTENCE = {"detail": "Request was throttled. Expected available in 625 seconds."}
GZIP = zlib.compressobj(wbits=31)
HALF_OF_GZIP = GZIP.compress(BODY[:50]) + GZIP.flush(zlib.Z_SYNC_FLUSH)
EMPTY_BLOCK = b"\0\0\0\xff\xff"
DEEP = b'{"detail": ' + b"[" * 100_000


@pytest.mark.parametrize(
    ("status", "headers", "body", "code", "words"),
    [
        (429, {"Retry-After": "725"}, SENTENCE, 75, ["another 725 s", "LAUNCH_LIBRARY_TOKEN"]),
        (429, {"Retry-After": "121"}, "<html>", 75, ["another 121 s"]),
        (429, {"Retry-After": "9" * 400}, SENTENCE, 75, ["throttle"]),
        (429, {}, SENTENCE, 75, ["another 625 s"]),
        (429, {"Retry-After": "soon"}, SENTENCE, 75, ["another 625 s"]),
        (429, {"Retry-After": "-1"}, SENTENCE, 75, ["another 625 s"]),
        (401, {}, {"detail": "Invalid token."}, 78, ["Invalid token.", "401", "LAUNCH_LIBRARY_TOKEN"]),
        (403, {}, {"detail": "No."}, 78, ["403", "LAUNCH_LIBRARY_TOKEN"]),
        (404, {}, {"detail": "Not found."}, 78, ["404", "Not found.", "LAUNCH_LIBRARY_URL"]),
        (400, {}, {"net__gte": ["Enter a valid date/time."]}, 78, ["net__gte", "LAUNCH_LIBRARY_URL"]),
        (400, {}, ["x"], 78, ["400"]),
        (401, {}, {"detail": "a\0b\ud800c\n\x1b[2Jd"}, 78, ["401"]),
        (401, {}, {"detail": {"a": "\0"}}, 78, ["401"]),
        (401, {}, {"detail": "x" * 100_000}, 78, ["401"]),
        (404, {}, DEEP, 78, ["404"]),
        (204, {}, b"", 78, ["204"]),
        (206, {}, page(launch()), 78, ["206"]),
        (500, {}, HTML, 75, ["500", "INTERNAL SERVER ERROR"]),
        (500, {}, b"", 75, ["500"]),
        (500, {}, DEEP, 75, ["500"]),
        (503, {"Retry-After": "7"}, {"detail": "down"}, 75, ["503", "down"]),
        (408, {}, b"", 75, ["408"]),
        (200, {}, {}, 65, ["no page of launches", "'{}'"]),
        (200, {}, b"", 65, ["not JSON", "0 bytes"]),
        (200, {}, HTML, 65, ["not JSON"]),
        (200, {}, json.dumps(page(launch()))[:-40], 65, ["cut off"]),
        (200, {}, b'{"results": ["\xff"]}', 65, ["not JSON"]),
        (200, {}, b'{"results": [' + b"9" * 5000 + b"]}", 65, ["not JSON"]),
        (200, {}, b"[" * 100_000, 65, ["not JSON"]),
        (200, {}, "\0\x1b[2J\n" + "x" * 100_000, 65, ["not JSON"]),
        (200, {}, [launch()], 65, ["no page of launches"]),
        (200, {}, json.dumps("results"), 65, ["no page of launches"]),
        (200, {}, {"results": {"1": launch()}}, 65, ["no page of launches"]),
        (200, {}, {"results": None}, 65, ["no page of launches"]),
        (200, {}, launch(), 65, ["no page of launches"]),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_bad_answer_ends_with_its_code_and_a_sentence_and_stores_nothing(  # noqa: PLR0917  # parameters
    shared_database: Database,
    httpserver: HTTPServer,
    fetch: Fetch,
    status: int,
    headers: dict[str, str],
    body: object,
    code: int,
    words: list[str],
) -> None:
    database, before = shared_database, stored(shared_database)
    asked = len(requests_made(database))
    data = body if isinstance(body, str | bytes) else json.dumps(body)
    httpserver.expect_request(UPCOMING).respond_with_data(data, status, headers)
    result = fetch(**database.env("fetch"))
    assert_failed(result, code, *words)
    assert len(result.lines) == 1
    assert result.last.isprintable()
    assert [request.path for request, _ in httpserver.log] == [UPCOMING]
    assert stored(database) == before
    [(recorded, error, seen)] = database.query("SELECT status, error, seen FROM fetches ORDER BY id OFFSET %s", asked)
    assert (recorded, seen) == (status, 0)
    assert error[:40] == result.last.removeprefix("ERROR ")[:40]


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        ({"your_request_limit": 15, "next_use_secs": 1800}, 1800),
        ([{"your_request_limit": 15, "next_use_secs": 1800}], 1800),
        ({"your_request_limit": 15}, 3600),
        ({"next_use_secs": None}, 3600),
        ({"next_use_secs": "soon"}, 3600),
        ({"next_use_secs": 10**400}, 3600),
        ([], 3600),
        (7, 3600),
        (None, 3600),
    ],
    ids=str,
)
def test_where_a_429_says_nothing_the_throttles_own_page_does_and_else_an_hour(
    database: Database, httpserver: HTTPServer, fetch: Fetch, answer: object, seconds: int
) -> None:
    httpserver.expect_request(UPCOMING).respond_with_data("<html>Too many requests</html>", 429)
    httpserver.expect_request(THROTTLE).respond_with_json(answer)
    assert_failed(fetch(), 75, f"another {seconds} s")
    assert [request.path for request, _ in httpserver.log] == [UPCOMING, THROTTLE]
    assert requests_made(database) == [(429, True)]


@pytest.mark.parametrize(("status", "body"), [(404, "{}"), (500, HTML), (200, HTML), (200, DEEP), (429, "")])
def test_without_a_usable_throttle_page_the_wait_is_an_hour(
    httpserver: HTTPServer, fetch: Fetch, status: int, body: str | bytes
) -> None:
    httpserver.expect_request(UPCOMING).respond_with_data("", 429)
    httpserver.expect_request(THROTTLE).respond_with_data(body, status)
    assert_failed(fetch(), 75, "another 3600 s")


def test_a_throttled_list_is_not_asked_again_for_lack_of_a_throttles_page(httpserver: HTTPServer, fetch: Fetch) -> None:
    httpserver.expect_request("/upcoming/").respond_with_data("", 429)
    assert_failed(fetch(LAUNCH_LIBRARY_URL=httpserver.url_for("/upcoming/")), 75, "another 3600 s")
    assert [request.path for request, _ in httpserver.log].count("/upcoming/") == 1


def test_retry_after_may_be_a_date(httpserver: HTTPServer, fetch: Fetch) -> None:
    at = format_datetime(datetime.now(UTC) + timedelta(minutes=10), usegmt=True)
    httpserver.expect_request(UPCOMING).respond_with_data("", 429, {"Retry-After": at})
    result = fetch()
    assert_failed(result, 75)
    [seconds] = re.findall(r"another (\d+) s", result.last)
    assert 580 < int(seconds) <= 600


@pytest.mark.parametrize(
    ("headers", "sentence", "throttle", "seconds"),
    [
        ({"Retry-After": "1"}, "", {}, 1),
        ({}, "Request was throttled. Expected available in 1 second.", {}, 1),
        ({}, "", {"next_use_secs": 1}, 1),
        ({"Retry-After": "Wed, 01 Jan 2020 00:00:00 GMT"}, "", {}, 0),
        ({}, "", {"next_use_secs": -5}, 0),
        ({}, "", {"next_use_secs": float("nan")}, 0),
    ],
    ids=str,
)
def test_a_short_throttle_is_waited_out(  # noqa: PLR0917  # parameters
    database: Database,
    httpserver: HTTPServer,
    fetch: Fetch,
    headers: dict[str, str],
    sentence: str,
    throttle: dict[str, float],
    seconds: int,
) -> None:
    asked: list[float] = []

    def answer(_: Request) -> Response:
        asked.append(time.monotonic())
        if len(asked) == 1:
            return Response(json.dumps({"detail": sentence}), 429, headers)
        return Response(json.dumps(page(launch())))

    handle(httpserver, answer)
    httpserver.expect_request(THROTTLE).respond_with_json(throttle)
    result = fetch()
    assert result.code == 0
    assert "Throttled" in result.lines[0]
    assert f"waiting {seconds} s" in result.lines[0]
    assert asked[1] - asked[0] >= seconds
    assert result.last.endswith("pages read: 1")
    assert len(rows(database)) == 1
    assert [status for status, _ in requests_made(database)] == [429, 200]


def test_a_throttle_is_waited_out_once(database: Database, httpserver: HTTPServer, fetch: Fetch) -> None:
    httpserver.expect_request(UPCOMING).respond_with_data("", 429, {"Retry-After": "0"})
    assert_failed(fetch(), 75, "throttle")
    assert requests_made(database) == [(429, True), (429, True)]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("target", ["/2.3.0/elsewhere/", "http://127.0.0.1:9/2.3.0/"])
def test_a_redirect_is_not_followed(
    database: Database, httpserver: HTTPServer, fetch: Fetch, status: int, target: str
) -> None:
    httpserver.expect_request(UPCOMING).respond_with_data("", status, {"Location": target})
    assert_failed(fetch(), 78, str(status), target, "LAUNCH_LIBRARY_URL")
    assert len(httpserver.log) == 1
    assert requests_made(database) == [(status, True)]


PACKED = gzip.compress(b" " * 200 * MIB, 1)


@pytest.mark.parametrize(
    ("answer", "code", "word"),
    [
        (says(HEAD + LENGTH % len(BODY) + BODY[:50], reset=True), 75, "reset"),
        (says(HEAD, reset=True), 75, "reset"),
        (says(b"", reset=True), 75, "No complete answer"),
        (says(b""), 75, "No complete answer"),
        (says(HEAD + LENGTH % len(BODY) + BODY[:-9]), 75, "9 more expected"),
        (says(HEAD + LENGTH % len(BODY[:-9]) + BODY[:-9]), 65, "cut off"),
        (says(HEAD + LENGTH % (len(BODY) - 9) + BODY), 65, "cut off"),
        (says(HEAD + b"\r\n" + BODY[:-9]), 65, "cut off"),
        (says(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n" + BODY[:5]), 75, "No complete answer"),
        (says(HEAD + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n" + BODY), 75, "No complete answer"),
        (says(HEAD + b"Content-Encoding: gzip\r\n\r\n" + BODY), 75, "No complete answer"),
        (says(HEAD + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(BODY)[:-40]), 65, "cut off"),
    ],
    ids=[
        "reset in the body", "reset in the headers", "reset at once", "closed at once", "shorter than it says",
        "cut off, and says so", "longer than it says", "cut off, without length", "half a chunk", "bad chunk",
        "not gzip", "half of gzip",
    ],
)  # fmt: skip
def test_a_broken_connection_stores_nothing(shared_database: Database, answer: Answer, code: int, word: str) -> None:
    database, before = shared_database, stored(shared_database)
    asked = len(requests_made(database))
    with raw_server(answer) as url:
        assert_failed(run_here(database, LAUNCH_LIBRARY_URL=url), code, word, "try again later")
    assert stored(database) == before
    assert requests_made(database)[asked:] == [(None if code == 75 else 200, True)]


def test_nobody_listens(database: Database, fetch: Fetch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert_failed(fetch(LAUNCH_LIBRARY_URL=f"http://127.0.0.1:{port}/"), 75, "refused")
    assert requests_made(database) == [(None, True)]


@pytest.mark.parametrize(
    "answer",
    [
        b"\0\xff\n",
        b"\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n" + BODY,
        b"HTTP/9.9 200 OK\r\n\r\n" + BODY,
        b"HTTP/1.1 99999 OK\r\n\r\n" + BODY,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 5,
        HEAD + b"Content-Length: abc\r\n\r\n" + BODY[:5],
        HEAD + b"Content-Length: -1\r\n\r\n" + BODY[:5],
        HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n" + BODY[:5],
        HEAD + b"Content-Encoding: gzip, gzip, gzip, gzip, gzip, gzip, gzip\r\n\r\n" + BODY,
        HEAD + b"Content-Encoding: deflate\r\n\r\n" + BODY,
        HEAD + b"X: y\r\n" * 200 + b"\r\n" + BODY[:5],
        HEAD + b"X: " + b"y" * 100_000 + b"\r\n\r\n" + BODY[:5],
        HEAD + b": no name\r\n\xff\xfe\0: x\r\n\r\n" + BODY[:5],
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n-5\r\n" + BODY,
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"F" * 70_000 + b"\r\n" + BODY,
        b"HTTP/1.1 429 \r\nRetry-After: \xff\0\r\n\r\n",
        b"HTTP/1.1 302 \0\x1b[2J\r\nLocation: http://[::1\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://\0\xff/\r\n\r\n",
        b"HTTP/1.1 500 \0\xff\x1b[2J\r\n\r\n",
    ],
    ids=lambda answer: repr(answer)[:60],
)
def test_any_garbage_exits_65_75_or_78_and_is_recorded(shared_database: Database, answer: bytes) -> None:
    asked = len(requests_made(shared_database))
    with raw_server(says(answer)) as url:
        result = run_here(shared_database, LAUNCH_LIBRARY_URL=url)
    assert_failed(result, result.code)
    assert result.code in (65, 75, 78)
    assert len(result.lines) == 1
    assert result.last.isprintable()
    assert len(requests_made(shared_database)) == asked + 1


@pytest.mark.parametrize(
    "answer",
    [
        drips(HEAD + LENGTH % 10_000_000, b" "),
        drips(HEAD + b"\r\n", b" "),
        drips(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        drips(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"0"),
        drips(HEAD + b"Content-Encoding: gzip\r\n\r\n" + HALF_OF_GZIP, EMPTY_BLOCK),
        drips(b"HTTP/1.1 200 OK\r\nX-Drip: ", b"x"),
        drips(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        drips(b"HTTP/1.1 404 Not Found\r\n\r\n", b" "),
    ],
    ids=["with a length", "without", "chunked", "in a chunk's size", "gzip", "in a header", "100 Continue", "404"],
)
def test_an_answer_that_drips_for_ever_is_given_up(
    database: Database, fetch: Fetch, monkeypatch: pytest.MonkeyPatch, answer: Answer
) -> None:
    monkeypatch.setattr(launch_library, "ANSWER_SECONDS", 0.4)
    began = time.monotonic()
    with raw_server(answer) as url:
        assert_failed(fetch(LAUNCH_LIBRARY_URL=url), 75, "No complete answer", "not complete after 0.4 s")
    assert time.monotonic() - began < 10
    assert requests_made(database) == [(None, True)]


def test_the_default_limits_are_those_of_a_pod_that_waits_minutes_at_most() -> None:
    assert launch_library.CONNECT_SECONDS <= 10
    assert launch_library.READ_SECONDS <= launch_library.ANSWER_SECONDS <= 60
    assert launch_library.THROTTLE_SECONDS <= 300
    assert launch_library.ANSWER_BYTES <= 32 * MIB


def test_a_server_that_says_nothing_is_given_up(
    database: Database, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch_library, "READ_SECONDS", 0.3)
    with raw_server(drips(b"", b"")) as url:
        assert_failed(fetch(LAUNCH_LIBRARY_URL=url), 75, "timed out")
    assert requests_made(database) == [(None, True)]


@pytest.mark.parametrize(
    ("head", "chunk"),
    [
        (HEAD + LENGTH % (200 * MIB), b" " * MIB),
        (HEAD + b"\r\n", b" " * MIB),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"%x\r\n%s\r\n" % (MIB, b" " * MIB)),
    ],
    ids=["with a length", "without", "chunked"],
)
def test_an_answer_of_200_mib_is_not_read_to_its_end(
    database: Database, fetch: Fetch, head: bytes, chunk: bytes
) -> None:
    sent: list[int] = []
    with raw_server(sends(head, 200, sent, chunk)) as url:
        assert_failed(fetch(LAUNCH_LIBRARY_URL=url), 65, "larger than 32 MiB")
    assert 10 < len(sent) < 100  # sockets buffer some, and a busy machine closes them late
    assert requests_made(database) == [(None, True)]


@pytest.mark.parametrize("status", [200, 302, 429, 500])
def test_200_mib_packed_small_are_not_unpacked(
    database: Database, httpserver: HTTPServer, fetch: Fetch, status: int
) -> None:
    headers = {"Content-Encoding": "gzip", "Location": "/"}
    httpserver.expect_request(UPCOMING).respond_with_data(PACKED, status, headers)
    tracemalloc.start()
    try:
        assert_failed(fetch(), 65, "larger than 32 MiB")
        assert tracemalloc.get_traced_memory()[1] < 64 * MIB
    finally:
        tracemalloc.stop()
    assert requests_made(database) == [(None, True)]


@pytest.mark.parametrize(("status", "body", "code"), [(200, "{}", 65), (500, HTML, 75), (404, "{}", 78)])
def test_the_program_ends_with_the_code(
    httpserver: HTTPServer, program: Fetch, status: int, body: str, code: int
) -> None:
    httpserver.expect_request(UPCOMING).respond_with_data(body, status)
    assert_failed(program(), code)
