"""Several channels: each is told what it wants, and one that is gone keeps back no other."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

import notify.__main__
from standins.discord import WEBHOOK_ID
from tests.conftest import Database
from tests.unit.notify.conftest import Watched
from tests.unit.notify.test_kinds import DAY, HOUR, T0, World, is_silent


def channel(name: str, url: str, *lines: str) -> str:
    return "\n".join(["[[channel]]", f'name = "{name}"', f'webhook = "{url}"', *lines, ""])


@pytest.fixture
def world(database: Database, discord: Watched, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    world = World(database, discord, monkeypatch)
    monkeypatch.delenv("DISCORD_WEBHOOK_URL")
    yield world
    monkeypatch.undo()


def told(world: World, url: str) -> list[str | None]:
    """Return the first lines of the messages of one webhook; None is an announcement."""
    webhook_id = url.split("/")[-2]
    return [one.body.get("content") for one in world.discord.messages if one.webhook_id == webhook_id]


def provider(name: str, **details: Any) -> str:  # noqa: ANN401  # any JSON
    return json.dumps({"launch_service_provider": {"name": name}, **details})


def test_each_channel_is_told_what_it_takes(world: World) -> None:
    everything, spacex, ends = (world.discord.webhook(name) for name in ("all", "spacex", "ends"))
    world.set(
        CHANNELS=channel("all", everything, 'ping = "99"', 'reminders = ["2h"]')
        + channel("spacex", spacex, 'only = { provider = ["spacex"] }', 'except = { name = ["Starlink"] }')
        + channel("ends", ends, 'kinds = ["outcome"]')
    )
    world.add("Starlink 1", T0, details=provider("SpaceX"))
    world.add("Ariane", T0 + HOUR, details=provider("Arianespace"))
    world.add("Dragon", T0 + 2 * HOUR, details=provider("SpaceX"))
    world.run(T0 - 20 * HOUR)
    assert [len(told(world, url)) for url in (everything, spacex, ends)] == [3, 1, 0]
    world.run(T0 - HOUR)
    assert told(world, everything)[3:] == [
        "Starlink 1 launches in 1 h, at 14:10 UTC <@&99>",
        "Ariane launches in 2 h, at 15:10 UTC <@&99>",
    ]
    assert world.last.body["allowed_mentions"] == {"parse": [], "roles": ["99"]}
    assert len(told(world, spacex)) == 1
    for launch_id in ("Starlink 1", "Ariane", "Dragon"):
        world.change(T0 + 3 * HOUR, launch_id, status="Success")
    world.run(T0 + 3 * HOUR)
    assert told(world, spacex) == [None, "Dragon was successful"]
    assert told(world, ends) == ["Starlink 1 was successful", "Ariane was successful", "Dragon was successful"]
    assert world.last.body["allowed_mentions"] == {"parse": []}


def test_the_nearest_of_a_channel_is_the_nearest_that_it_takes(world: World) -> None:
    url = world.discord.webhook("one")
    world.set(CHANNELS=channel("one", url, 'only = { provider = ["Arianespace"] }'))
    world.add("near", T0, details=provider("SpaceX"))
    world.add("far", T0 + 30 * DAY, details=provider("Arianespace"))
    world.run(T0 - HOUR)
    assert world.discord.titles() == ["far"]


def test_an_exclusion_can_exempt_failures(world: World) -> None:
    url = world.discord.webhook("one")
    world.set(CHANNELS=channel("one", url, 'except = { name = ["Starlink"], unless_failure = true }'))
    for name in ("Starlink good", "Starlink bad"):
        world.add(name, T0, details=json.dumps({"failreason": "It fell over."}))
    assert world.run(T0 - HOUR) == []
    world.change(T0 + HOUR, "Starlink good", status="Success")
    world.change(T0 + HOUR, "Starlink bad", status="Failure")
    assert world.run(T0 + HOUR) == ["outcome"]
    assert told(world, url) == ["Starlink bad failed: It fell over."]
    assert not is_silent(world.last)


def test_a_channel_that_takes_slips_alone_is_told_of_new_ones_only(world: World) -> None:
    url = world.discord.webhook("one")
    world.set(CHANNELS=channel("one", url, 'kinds = ["slipped"]'))
    world.add()
    world.change(T0 - 10 * HOUR, net=T0 + 3 * HOUR)
    assert world.run(T0 - 3.5 * HOUR) == []
    world.change(T0 - 3 * HOUR, net=T0 + 5 * DAY)
    assert world.run(T0 - 3 * HOUR) == ["slipped"]
    assert world.run(T0 - 2 * HOUR) == []


def test_a_channel_that_is_gone_keeps_back_no_other(world: World) -> None:
    gone, there = world.discord.webhook("gone"), world.discord.webhook("there")
    world.set(CHANNELS=channel("gone", gone) + channel("there", there))
    world.discord.delete(gone)
    world.add()
    assert world.run(T0 - HOUR) == ["78"]
    assert told(world, there) == ["a launches in 1 h, at 14:10 UTC", None]
    assert str(world.failure).startswith("gone: Discord does not know webhook")
    assert gone.rpartition("/")[2] not in str(world.failure)
    assert world.run(T0 - HOUR / 2) == ["78"]
    assert len(told(world, there)) == 2


def test_a_thread_goes_on_with_what_an_earlier_version_posted_there(world: World) -> None:
    world.set(DISCORD_WEBHOOK_URL=f"{world.discord.webhook_url}?thread_id=42")
    world.add()
    world.database.query(
        "INSERT INTO notifications (launch_id, channel, kind, message_id, facts, posted_at)"
        " VALUES ('a', %s, 'announced', '77', '{}', %s)",
        WEBHOOK_ID, T0 - 2 * DAY,
    )  # fmt: skip
    world.run(T0 - 10 * HOUR)
    assert world.discord.count("PATCH") == 1
    assert world.database.query("SELECT channel FROM notifications")[0] == (f"{WEBHOOK_ID}/42",)


def test_the_board_is_one_message_that_is_edited(world: World) -> None:
    url = world.discord.webhook("board")
    world.set(CHANNELS=channel("board", url, 'kinds = ["board"]'))
    for number in range(12):
        world.add(f"launch {number:02}", T0 + number * DAY)
    assert world.run(T0 - 2 * DAY) == ["board"]
    (message,) = world.discord.messages
    text = message.body["embeds"][0]["description"]
    assert [f"launch {number:02}" in text for number in range(12)] == 10 * [True] + 2 * [False]
    assert is_silent(message)
    assert world.run(T0 - 1.9 * DAY) == []
    assert message.edits == 0
    world.change(T0 - 1.8 * DAY, "launch 03", net=T0 + 3.5 * DAY)
    assert world.run(T0 - 1.8 * DAY) == []
    assert message.edits == 1
    # Deleted by hand: there is a new one as soon as there is something to show.
    world.discord.messages.clear()
    assert world.run(T0 + HOUR) == []
    assert len(world.discord.messages) == 1


def test_check_says_what_each_channel_would_be_sent_and_sends_nothing(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = world.discord.webhook("one"), world.discord.webhook("two")
    world.set(CHANNELS=channel("one", one) + channel("two", two, 'kinds = ["live"]'), NOW=(T0 - HOUR).isoformat())
    world.add(last_seen_at=(T0 - HOUR).isoformat())
    before = world.database.tables()
    with caplog.at_level("INFO"):
        assert notify.__main__.run(check=True) == 0
    assert [record.getMessage() for record in caplog.records] == [
        "one: would post (reminder): a launches in 1 h, at 14:10 UTC",
        "one: would post (announced): a",
        "two: nothing to send now",
        "Checked, and nothing was sent. Messages: 2 to post, 0 to edit",
    ]
    assert world.discord.requests == []
    assert world.database.tables() == before
