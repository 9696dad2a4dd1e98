"""Any course of slips, holds, restarts and lost answers, against a simple model of what a channel may hold."""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from standins.discord import NO_ANSWER, RATE_LIMITED, SERVER_ERROR, Message
from standins.server import Answer
from tests.conftest import Database
from tests.faults.world import kind_of
from tests.unit.notify.conftest import Watched
from tests.unit.notify.test_kinds import DAY, HOUR, T0, World, is_silent

LEAST = HOUR  # of a slip
FAULTS = {
    "lost": NO_ANSWER,
    "down": SERVER_ERROR,
    "throttled": RATE_LIMITED,
    "refused": Answer(400, {"message": "Invalid Form Body", "code": 50035}),
}

# What happens next, and how many minutes after what happened before.
MOVES = st.sampled_from([-1500, -90, -60, -20, 20, 40, 59, 60, 75, 300, 1500, 3000]).map(lambda m: ("moves", m))
STATUSES = st.sampled_from(["Go", "Hold", "TBC", "In Flight", "Success", "Failure"]).map(lambda s: ("becomes", s))
TROUBLE = st.sampled_from(sorted(FAULTS)).map(lambda fault: ("Discord", fault))
EVENTS = MOVES | STATUSES | TROUBLE | st.just(("nothing", None))
COURSES = st.lists(st.tuples(st.sampled_from([10, 10, 10, 30, 60, 240, 1440]), EVENTS), min_size=3, max_size=14)
OVER = ("In Flight", "Success", "Failure")


class Model:
    """What the channel should hold of one launch, by the rules as a person would tell them."""

    def __init__(self) -> None:
        self.net, self.status = T0, "Go"
        self.gone_by = T0  # the time that people go by
        self.before = T0  # that before the first slip that was not told
        self.attempt = 0
        self.is_slip_untold = False
        self.slipped_at = T0

    def sees(self, at: datetime, net: datetime, status: str) -> None:
        """A fetch sees the launch."""
        is_near = abs(self.gone_by - at) <= DAY
        has_slipped = abs(net - self.gone_by) >= LEAST and net != self.net
        is_held = status == "Hold" != self.status
        if is_near and (has_slipped or is_held):
            self.attempt += 1
            self.before = self.before if self.is_slip_untold else self.gone_by
            self.is_slip_untold = True
            self.slipped_at = at
        if not is_near or has_slipped or is_held:
            self.gone_by = net
        self.net, self.status = net, status

    def is_slip_due(self, at: datetime) -> bool:
        is_elsewhere = self.status == "Hold" or abs(self.net - self.before) >= LEAST
        is_news = self.is_slip_untold and at - self.slipped_at <= DAY
        return is_news and is_elsewhere and at < self.net and self.status not in OVER

    def is_reminder_due(self, at: datetime) -> bool:
        return at < self.net <= at + HOUR and self.status not in (*OVER, "Hold")


@pytest.fixture(scope="module")
def course_database(new_database: Callable[..., Database]) -> Database:
    return new_database()


@pytest.fixture
def patched() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield monkeypatch


class Course:
    """One launch, its channel and its model, and what has come of them so far."""

    def __init__(self, world: World) -> None:
        self.world, self.model, self.discord = world, Model(), world.discord
        self.at = T0 - timedelta(hours=30)
        self.lost: Counter[str] = Counter()  # messages whose answer nobody got may be there twice
        self.had: Counter[tuple[str, int]] = Counter()

    def happens(self, minutes: int, event: str, value: object) -> None:
        """Let something happen, run notify, and hold what it sent against the model."""
        self.at += timedelta(minutes=minutes)
        self.discord.faults = [FAULTS[str(value)]] if event == "Discord" else []
        net, status = self.model.net, self.model.status
        if event == "moves":
            net += timedelta(minutes=value)  # type: ignore[arg-type]
            self.world.change(self.at, net=net)
        elif event == "becomes" and value != status:
            status = str(value)
            self.world.change(self.at, status=status)
        self.model.sees(self.at, net, status)

        before = len(self.discord.messages)
        failed = any(result.isdecimal() for result in self.world.run(self.at))
        new = self.discord.messages[before:]
        if failed and value == "lost":
            self.lost.update(map(kind_of, new))
        for message in new:
            self.is_rightly_sent(message)
        if not failed:
            self.is_up_to_date([kind_of(message) for message in new])

    def is_rightly_sent(self, message: Message) -> None:
        kind = kind_of(message)
        self.had[kind, self.model.attempt] += 1
        assert self.had[kind, self.model.attempt] <= 1 + self.lost[kind]
        assert is_silent(message) == (kind == "announced" or "was successful" in message.body["content"])
        assert kind != "reminder" or self.model.is_reminder_due(self.at)
        assert kind != "slipped" or self.model.is_slip_due(self.at)

    def is_up_to_date(self, kinds: list[str]) -> None:
        """After a good run, what the channel should have been told, it was."""
        model = self.model
        assert ("slipped" in kinds) == model.is_slip_due(self.at)
        model.is_slip_untold = model.is_slip_untold and not kinds
        assert self.had["reminder", model.attempt] or not model.is_reminder_due(self.at)
        # And its announcements show what is so, but for those of which nobody knows.
        stale = [
            message
            for message in self.discord.messages
            if kind_of(message) == "announced" and f"<t:{model.net.timestamp():.0f}:F>" not in str(message.body)
        ]
        assert len(stale) <= self.lost["announced"]


@given(COURSES)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_course_of_events(
    course_database: Database, patched: pytest.MonkeyPatch, events: list[tuple[int, tuple[str, object]]]
) -> None:
    course_database.query("TRUNCATE rocket_launches, launch_changes, fetches, notifications RESTART IDENTITY")
    with Watched() as discord:
        course = Course(World(course_database, discord, patched))
        course.world.add()
        assert course.world.run(course.at) == ["announced"]
        for minutes, (event, value) in events:
            course.happens(minutes, event, value)
