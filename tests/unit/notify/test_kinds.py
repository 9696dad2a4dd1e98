"""Which kinds of message are sent when: each test is a course of events, told hour by hour."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import notify.__main__
from standins.discord import NO_ANSWER, SERVER_ERROR, WEBHOOK_ID, Message
from step import Failure
from tests.conftest import Database
from tests.unit.notify.conftest import Watched, add

T0 = datetime(2026, 11, 25, 14, 10, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SILENT = 1 << 12


class World:
    """A database and a channel, and a clock that counts from T0, the first time of the launch `a`."""

    def __init__(self, database: Database, discord: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
        self.database, self.discord, self.monkeypatch = database, discord, monkeypatch
        self.set(DISCORD_WEBHOOK_URL=discord.webhook_url, **database.env("notify"))

    def set(self, **environment: str) -> None:
        for variable, value in environment.items():
            self.monkeypatch.setenv(variable, value)

    def add(self, launch_id: str = "a", net: datetime = T0, **columns: Any) -> None:  # noqa: ANN401  # a column's type each
        add(self.database, launch_id, net.isoformat(), **columns)

    def change(self, at: datetime, launch_id: str = "a", **columns: Any) -> None:  # noqa: ANN401  # the same
        """Change a launch as a fetch does: what changed is kept."""
        for column, value in columns.items():
            if column in ("net", "net_precision", "status", "name"):
                [(old,)] = self.database.query(f"SELECT {column} FROM rocket_launches WHERE launch_id = %s", launch_id)
                texts = [f"{one:%Y-%m-%dT%H:%M:%SZ}" if isinstance(one, datetime) else one for one in (old, value)]
                self.database.query(
                    "INSERT INTO launch_changes (launch_id, field, old_value, new_value, seen_at)"
                    " VALUES (%s, %s, %s, %s, %s)",
                    launch_id, column, *texts, at,
                )  # fmt: skip
            self.database.query(f"UPDATE rocket_launches SET {column} = %s WHERE launch_id = %s", value, launch_id)

    def run(self, at: datetime) -> list[str]:
        """Run notify at this time, when all launches are on the page; return the kinds of the new messages."""
        self.database.query("UPDATE rocket_launches SET last_seen_at = %s", at)
        self.set(NOW=at.isoformat())
        before = self.rows()
        try:
            notify.__main__.run(check=False)
        except Failure as failure:
            self.failure = failure
            return [str(failure.exit_code)]
        return [kind for number, kind in self.rows().items() if number not in before]

    def rows(self) -> dict[int, str]:
        return dict(self.database.query("SELECT id, kind FROM notifications WHERE posted_at IS NOT NULL ORDER BY id"))

    @property
    def last(self) -> Message:
        return self.discord.messages[-1]

    @property
    def line(self) -> str | None:
        """The first line of the newest message."""
        line: str | None = self.last.body.get("content")
        return line


@pytest.fixture
def world(database: Database, discord: Watched, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(database, discord, monkeypatch)


def is_silent(message: Message) -> bool:
    return bool(message.body.get("flags", 0) & SILENT)


# Announced


def test_every_launch_within_a_day_is_announced_and_the_nearest_always(world: World) -> None:
    world.add("a", T0)
    world.add("b", T0 + 2 * HOUR)
    world.add("c", T0 + 3 * DAY)
    assert world.run(T0 - 10 * DAY) == ["announced"]
    assert world.discord.titles() == ["a"]
    assert world.run(T0 + 2 * HOUR - DAY - timedelta(minutes=1)) == []
    assert world.run(T0 + 2 * HOUR - DAY) == ["announced"]
    assert world.discord.titles() == ["a", "b"]
    assert all(is_silent(message) for message in world.discord.messages)


@pytest.mark.parametrize("precision", ["week", "month", "quarter 4", "half 2", "year", "decade"])
def test_of_coarse_times_the_nearest_alone_is_announced(world: World, precision: str) -> None:
    for launch_id in "abc":
        world.add(launch_id, T0, net_precision=precision)
    assert world.run(T0 - HOUR) == ["announced"]


def test_another_reach_can_be_set(world: World) -> None:
    world.set(ANNOUNCE_HOURS="48")
    world.add("a", T0)
    world.add("b", T0 + DAY)
    assert world.run(T0 - DAY) == ["announced", "announced"]


def test_a_launch_that_slipped_far_is_announced_again_when_it_comes_near(world: World) -> None:
    world.add("a", T0)
    world.add("z", T0 + 20 * DAY)
    assert world.run(T0 - 5 * DAY) == ["announced"]
    later = T0 + 10 * DAY
    world.change(T0 - 4 * HOUR, net=later)
    assert world.run(T0 - 4 * HOUR) == ["slipped"]
    assert world.run(later - DAY - HOUR) == []
    assert world.run(later - DAY) == ["announced"]
    assert world.discord.titles() == ["a", "a"]
    assert world.run(later - DAY + HOUR) == []
    # Both announcements are kept up to date.
    world.change(later - 12 * HOUR, status="Hold")
    assert world.run(later - 12 * HOUR) == ["slipped", "announced"]  # z is the next now
    on_hold = ["On hold" in json.dumps(message.body) for message in world.discord.messages]
    assert on_hold == [True, False, True, True, False]


def test_one_that_was_deleted_is_not_announced_twice_when_it_comes_near(world: World) -> None:
    world.add("a", T0)
    world.add("z", T0 + 20 * DAY)
    world.run(T0 - 5 * DAY)
    world.change(T0 - 4 * HOUR, net=T0 + 10 * DAY)
    world.run(T0 - 4 * HOUR)
    del world.discord.messages[0]
    world.change(T0 + 9 * DAY, status="TBC")
    assert world.run(T0 + 9 * DAY) == ["announced"]
    assert world.discord.titles() == ["a"]


def test_a_slip_of_an_hour_is_told_and_not_announced_again(world: World) -> None:
    world.add()
    world.run(T0 - 20 * HOUR)
    world.change(T0 - 3 * HOUR, net=T0 + HOUR)
    assert world.run(T0 - 3 * HOUR) == ["slipped"]
    assert world.run(T0 - HOUR) == []


# Reminders


def test_a_reminder_is_due_an_hour_before(world: World) -> None:
    world.add()
    world.run(T0 - 20 * HOUR)
    assert world.run(T0 - HOUR - timedelta(seconds=1)) == []
    assert world.run(T0 - HOUR + timedelta(minutes=8)) == ["reminder"]
    assert world.line == "a launches in 52 min, at 14:10 UTC"
    assert not is_silent(world.last)
    assert world.run(T0 - timedelta(minutes=40)) == []


def test_of_several_reminders_that_are_due_the_nearest_is_sent(world: World) -> None:
    world.set(REMINDERS="24h,1h,10m")
    world.add()
    assert world.run(T0 - timedelta(minutes=30)) == ["reminder", "announced"]
    assert world.run(T0 - timedelta(minutes=20)) == []
    assert world.run(T0 - timedelta(minutes=10)) == ["reminder"]
    assert world.database.query("SELECT minutes_before FROM notifications WHERE kind = 'reminder' ORDER BY id") == [
        (60,),
        (10,),
    ]
    assert world.run(T0) == []


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"net_precision": "hour"}, True),
        ({"net_precision": "second"}, True),
        ({"net_precision": None}, True),
        ({"net_precision": "day"}, False),
        ({"net_precision": "month"}, False),
        ({"status": "Hold"}, False),
        ({"status": "TBD"}, True),
        ({"status": "In Flight"}, False),
        ({"status": "Success"}, False),
    ],
)
def test_who_is_reminded_of(world: World, columns: dict[str, Any], expected: bool) -> None:  # noqa: FBT001  # a parameter
    world.add(**columns)
    assert ("reminder" in world.run(T0 - HOUR)) == expected


# Slips


@pytest.mark.parametrize(
    ("net", "line"),
    [
        (T0 + timedelta(minutes=75), "a slipped to 15:25 UTC, +1 h 15 min"),
        (T0 + DAY + 2 * HOUR, "a slipped to 26 November, 16:10 UTC, +1 day 2 h"),
        (T0 - timedelta(minutes=60), "a moved up to 13:10 UTC, 1 h earlier"),
        (T0 + timedelta(minutes=59), None),
        (T0 - timedelta(minutes=59), None),
    ],
)
def test_a_slip_is_told_with_both_times(world: World, net: datetime, line: str | None) -> None:
    world.add()
    world.run(T0 - 20 * HOUR)
    world.change(T0 - 5 * HOUR, net=net)
    assert world.run(T0 - 5 * HOUR) == (["slipped"] if line else [])
    assert (world.line, is_silent(world.last)) == (line, line is None)
    assert world.discord.messages[0].edits == 1
    assert world.run(T0 - 4.5 * HOUR) == []


def test_a_slip_of_a_launch_that_is_far_is_an_edit(world: World) -> None:
    world.add()
    world.run(T0 - 5 * DAY)
    world.change(T0 - 3 * DAY, net=T0 + 2 * DAY)
    assert world.run(T0 - 3 * DAY) == []
    assert world.discord.messages[0].edits == 1
    # Nor is it one later, as people have gone by the new time since.
    assert world.run(T0 - HOUR) == []


def test_small_slips_add_up(world: World) -> None:
    world.add()
    world.run(T0 - 20 * HOUR)
    for number, expected in ((1, []), (2, []), (3, ["slipped"]), (4, [])):
        at = T0 - 6 * HOUR + number * timedelta(minutes=10)
        world.change(at, net=T0 + number * timedelta(minutes=20))
        assert world.run(at) == expected


def test_a_slip_from_a_time_to_a_month(world: World) -> None:
    world.add()
    world.run(T0 - 20 * HOUR)
    world.change(T0 - HOUR * 5, net=datetime(2026, 12, 31, tzinfo=UTC), net_precision="month", status="TBD")
    assert world.run(T0 - HOUR * 5) == ["slipped"]
    assert world.line == "a slipped to December 2026"


def test_a_day_that_becomes_a_time_is_no_slip(world: World) -> None:
    world.add(net=T0.replace(hour=0, minute=0), net_precision="day")
    world.run(T0 - 20 * HOUR)
    world.change(T0 - 10 * HOUR, net=T0, net_precision="minute")
    assert world.run(T0 - 10 * HOUR) == []


def test_a_hold_says_why(world: World) -> None:
    world.add()
    world.run(T0 - 20 * HOUR)
    world.change(T0 - HOUR / 2, status="Hold", details=json.dumps({"holdreason": "Boats in the range."}))
    assert world.run(T0 - HOUR / 2) == ["slipped"]
    assert world.line == "a is on hold; it was to launch 14:10 UTC"
    assert {"name": "Reason", "value": "Boats in the range.", "inline": False} in world.last.body["embeds"][0]["fields"]


def test_a_slip_makes_a_reminder_due_again(world: World) -> None:
    world.add()
    world.run(T0 - 20 * HOUR)
    assert world.run(T0 - HOUR) == ["reminder"]
    world.change(T0 - HOUR / 2, net=T0 + 2 * HOUR)
    assert world.run(T0 - HOUR / 2) == ["slipped"]
    assert world.run(T0 + HOUR) == ["reminder"]
    world.change(T0 + 1.5 * HOUR, net=T0 + 2 * HOUR + timedelta(minutes=5))
    assert world.run(T0 + 1.5 * HOUR) == []


def test_a_hold_that_is_released_makes_a_reminder_due_again(world: World) -> None:
    world.add()
    world.run(T0 - 20 * HOUR)
    assert world.run(T0 - HOUR) == ["reminder"]
    world.change(T0 - HOUR / 2, status="Hold")
    assert world.run(T0 - HOUR / 2) == ["slipped"]
    world.change(T0 - HOUR / 4, status="Go", net=T0 + HOUR / 3)
    assert world.run(T0 - HOUR / 4) == ["reminder"]


def test_several_slips_between_two_runs_are_one_message(world: World) -> None:
    world.add()
    world.run(T0 - 20 * HOUR)
    world.change(T0 - 9 * HOUR, net=T0 + 2 * HOUR)
    world.change(T0 - 8 * HOUR, net=T0 + 4 * HOUR)
    assert world.run(T0 - 7 * HOUR) == ["slipped"]
    assert world.line == "a slipped to 18:10 UTC, +4 h"


def test_a_slip_and_back_again_between_two_runs_is_none(world: World) -> None:
    world.add()
    world.run(T0 - 20 * HOUR)
    world.change(T0 - 9 * HOUR, net=T0 + 2 * HOUR)
    world.change(T0 - 8 * HOUR, net=T0)
    assert world.run(T0 - 7 * HOUR) == []


def test_a_channel_that_was_told_nothing_is_told_the_new_time_alone(world: World) -> None:
    world.add()
    world.change(T0 - 9 * HOUR, net=T0 + 2 * HOUR)
    assert world.run(T0 - 9 * HOUR) == ["announced"]


def test_the_announcement_counts_the_slips(world: World) -> None:
    world.add()
    world.run(T0 - 20 * HOUR)
    for number, words in ((1, "Slipped once since"), (2, "Slipped 2 times since")):
        at = T0 - 15 * HOUR + number * HOUR
        world.change(at, net=T0 + number * HOUR)
        world.run(at)
        assert words in json.dumps(world.discord.messages[0].body)


# Live, and the end


def test_the_webcast_is_live(world: World) -> None:
    official = {"priority": 10, "url": "https://example.org/official", "type": {"id": 1, "name": "Official Webcast"}}
    other = {"priority": 7, "url": "https://example.org/other", "type": {"id": 4, "name": "Unofficial Re-stream"}}
    details = {"webcast_live": False, "vid_urls": [other, official]}
    world.add(details=json.dumps(details))
    world.run(T0 - 20 * HOUR)
    world.run(T0 - HOUR)
    world.change(T0 - HOUR / 2, details=json.dumps(details | {"webcast_live": True}))
    assert world.run(T0 - HOUR / 2) == ["live"]
    assert world.line == "a is live, launch in 30 min, at 14:10 UTC"
    watch = "[Official Webcast](https://example.org/official) · [Unofficial Re-stream](https://example.org/other)"
    assert watch in [field["value"] for field in world.last.body["embeds"][0]["fields"]]
    assert world.run(T0 - HOUR / 3) == []


def test_a_webcast_that_is_live_after_the_launch_is_no_news(world: World) -> None:
    world.add(details='{"webcast_live": true}')
    world.add("z", T0 + 9 * DAY)
    world.run(T0 - 20 * HOUR)
    assert world.run(T0 + HOUR / 6) == ["announced"]


@pytest.mark.parametrize(
    ("status", "line", "silent"),
    [
        ("Success", "a was successful", True),
        ("Failure", "a failed: The second stage did not ignite.", False),
        ("Partial Failure", "a was a partial failure: The second stage did not ignite.", False),
    ],
)
def test_the_outcome_is_told_once(world: World, status: str, line: str, silent: bool) -> None:  # noqa: FBT001  # a parameter
    world.add(details='{"failreason": "The second stage did not ignite."}')
    world.run(T0 - 20 * HOUR)
    world.change(T0, status="In Flight")
    assert world.run(T0) == []
    world.change(T0 + HOUR, status=status)
    assert world.run(T0 + HOUR) == ["outcome"]
    assert (world.line, is_silent(world.last)) == (line, silent)
    assert world.run(T0 + 2 * HOUR) == []


def test_the_outcome_of_a_launch_that_nobody_was_told_of_is_not_told(world: World) -> None:
    world.add()
    world.change(T0 + HOUR, status="Failure")
    assert world.run(T0 + HOUR) == []


def test_an_outcome_that_comes_days_later_is_an_edit(world: World) -> None:
    world.add()
    world.run(T0 - 20 * HOUR)
    world.change(T0 + 3 * DAY, status="Success")
    assert world.run(T0 + 3 * DAY) == []
    assert "Launch successful" in json.dumps(world.discord.messages[0].body)


def test_a_launch_that_the_launch_library_has_withdrawn(world: World) -> None:
    world.add()
    world.run(T0 - 20 * HOUR)
    world.change(T0 - 10 * HOUR, withdrawn_at=T0 - 10 * HOUR)
    assert world.run(T0 - 10 * HOUR) == []
    assert "Withdrawn by the Launch Library" in json.dumps(world.discord.messages[0].body)
    assert "<t:" not in json.dumps(world.discord.messages[0].body)
    assert world.run(T0 - HOUR / 2) == []


# Bad days


def test_a_reminder_whose_answer_was_lost_is_sent_again_while_it_is_due(world: World) -> None:
    world.add()
    world.run(T0 - 20 * HOUR)
    world.discord.faults = [NO_ANSWER]
    assert world.run(T0 - HOUR) == ["75"]
    assert world.run(T0 - HOUR / 2) == ["reminder"]
    assert len(world.discord.messages) == 3


def test_an_announcement_whose_answer_was_lost_is_the_same_one_after_a_slip(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.add()
    world.discord.faults = [NO_ANSWER]
    assert world.run(T0 - 20 * HOUR) == ["75"]
    world.change(T0 - 19 * HOUR, net=T0 + 2 * HOUR)
    with caplog.at_level("WARNING"):
        assert world.run(T0 - 19 * HOUR) == ["announced"]
    assert "did not learn if it arrived: it may now be there twice" in caplog.text
    assert world.database.query("SELECT count(*) FROM notifications") == [(1,)]


def test_a_reminder_whose_answer_was_lost_is_not_sent_after_the_launch(world: World) -> None:
    world.add()
    world.run(T0 - 20 * HOUR)
    world.discord.faults = [SERVER_ERROR]
    assert world.run(T0 - HOUR) == ["75"]
    assert world.run(T0) == []


def test_messages_of_an_earlier_version_are_edited_and_not_posted_again(world: World) -> None:
    world.add()
    world.change(T0 - 30 * HOUR, net=T0)
    discord = world.discord
    discord.messages.append(Message("77", {"embeds": [{"title": "a"}]}, T0, WEBHOOK_ID, None))
    facts = json.dumps({"name": "a", "net": "2026-11-25T14:10:00+00:00", "status": "Go"})
    world.database.query(
        "INSERT INTO notifications (launch_id, channel, kind, message_id, facts, posted_at, net)"
        " VALUES ('a', %s, 'announced', '77', %s, %s, %s)",
        WEBHOOK_ID, facts, T0 - 48 * HOUR, T0,
    )  # fmt: skip
    assert world.run(T0 - 10 * HOUR) == []
    assert [message.edits for message in discord.messages] == [1]
    assert world.run(T0 - 9 * HOUR) == []
    assert [message.edits for message in discord.messages] == [1]
    assert world.run(T0 - HOUR) == ["reminder"]
