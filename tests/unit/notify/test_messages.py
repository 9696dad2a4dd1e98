"""Good days: what is posted, and what is edited."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pytest

from standins.discord import RATE_LIMITED, TOKEN, WEBHOOK_ID
from tests.conftest import Database
from tests.unit.notify.conftest import EARLIER, LAST, LATER, NOW, SOON, Watched, add, change, run


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
    [("details", '{"hashtag": "elsewhere"}'), ("last_updated", NOW), ("last_seen_at", LATER), ("net", SOON)],
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
    assert [message.body.get("content") for message in discord.messages] == [None, "soon was successful", None]


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
        "INSERT INTO notifications (launch_id, channel, kind, attempt, message_id, facts, posted_at) "
        "VALUES ('soon', '9', 'announced', 0, 'elsewhere', '{}', now())"
    )
    assert run(database, discord.webhook_url).last == "INFO Messages: 1 posted, 0 edited"
    assert [request.method for request in discord.requests] == ["POST"]
    # The message in the other channel is remembered: whoever goes back to it does not announce the launch again.
    assert database.query("SELECT channel, message_id FROM notifications ORDER BY id") == [
        ("9", "elsewhere"),
        (WEBHOOK_ID, discord.messages[0].id),
    ]
    assert run(database, discord.webhook_url).code == 99


def test_a_new_token_of_the_same_webhook_edits_what_is_there(database: Database, discord: Watched) -> None:
    add(database, "soon", SOON)
    assert run(database, discord.webhook_url).code == 0
    assert run(database, discord.webhook_url.replace(TOKEN, "a-new-one")).code == 99
