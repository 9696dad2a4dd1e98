"""Discord's bad days, and whatever it answers, or who answers for it."""

import json
import socket
import time
from typing import Any

import pytest

from notify import discord as notify_discord
from standins.discord import CLOUDFLARE, NO_ANSWER, RATE_LIMITED, SERVER_ERROR, TOKEN, WEBHOOK_ID
from standins.server import Answer
from tests.conftest import Database
from tests.unit.notify.conftest import (
    HALF,
    HOSTILE,
    LAST,
    LATER,
    MALFORMED,
    NONSENSE,
    NOW,
    REFUSED,
    RESET,
    SOON,
    TWICE,
    Watched,
    add,
    attempted,
    change,
    raw_server,
    run,
)
from tests.unit.raw_server import Answer as RawAnswer
from tests.unit.raw_server import drips, says


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


@pytest.mark.parametrize("answer", [RESET, HALF, NONSENSE], ids=["reset", "half", "nonsense"])
def test_a_broken_connection_is_honestly_told(database: Database, discord: Watched, answer: RawAnswer) -> None:
    add(database, "soon", SOON)
    with raw_server(answer) as url:
        result = run(database, url)
    assert (result.code, len(result.lines)) == (75, 1)
    assert "it is not known if it was saved" in result.last
    assert attempted(database) == [True]
    assert TWICE in run(database, discord.webhook_url).lines[0]


@pytest.mark.parametrize(
    "answer",
    [drips(b"", b""), drips(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b" ")],
    ids=["silence", "drops"],
)
def test_waiting_for_an_answer_has_an_end(monkeypatch: pytest.MonkeyPatch, answer: RawAnswer) -> None:
    assert notify_discord.READ_SECONDS <= 30
    assert notify_discord.ANSWER_SECONDS <= 60
    monkeypatch.setattr(notify_discord, "READ_SECONDS", 0.3)
    monkeypatch.setattr(notify_discord, "ANSWER_SECONDS", 0.8)
    began = time.monotonic()
    with raw_server(answer) as url, pytest.raises(notify_discord.Unanswered, match="not known"):
        notify_discord.Webhook(url).post({})
    assert time.monotonic() - began < 10


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


# Whatever Discord answers, or who answers for it


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
    reason = f"No {TOKEN} \x1b[2J".encode()
    answer = b"HTTP/1.1 400 " + reason + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    with raw_server(says(answer)) as url:
        result = run(database, url)  # which looks for the token
    assert result.code == 65
    assert result.last.isprintable()


def test_a_malformed_header_tells_no_secret(database: Database) -> None:
    add(database, "soon", SOON)
    with raw_server(MALFORMED) as url:
        result = run(database, url)  # which looks for the token
    assert (result.code, len(result.lines)) == (75, 1)
