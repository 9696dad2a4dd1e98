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

    def sees(self, at: datetime, net: datetime, status: str) -> None:
        """A fetch sees the launch."""
        is_near = abs(self.gone_by - at) <= DAY
        has_slipped = abs(net - self.gone_by) >= LEAST and net != self.net
        is_held = status == "Hold" != self.status
        if is_near and (has_slipped or is_held):
            self.attempt += 1
            self.before = self.before if self.is_slip_untold else self.gone_by
            self.is_slip_untold = True
        if not is_near or has_slipped or is_held:
            self.gone_by = net
        self.net, self.status = net, status

    def is_slip_due(self, at: datetime) -> bool:
        is_elsewhere = self.status == "Hold" or abs(self.net - self.before) >= LEAST
        return self.is_slip_untold and is_elsewhere and at < self.net and self.status not in OVER

    def is_reminder_due(self, at: datetime) -> bool:
        return at < self.net <= at + HOUR and self.status not in (*OVER, "Hold")


def kind_of(message: Message) -> str:
    line = message.body.get("content", "")
    words = {"launches in": "reminder", "slipped": "slipped", "moved up": "slipped", "on hold": "slipped"}
    words |= {"was successful": "outcome", "failed": "outcome"}
    return next((kind for word, kind in words.items() if word in line), "announced")


@pytest.fixture(scope="module")
def course_database(new_database: Callable[..., Database]) -> Database:
    return new_database()


@pytest.fixture
def patched() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield monkeypatch


@given(COURSES)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_course_of_events(
    course_database: Database, patched: pytest.MonkeyPatch, course: list[tuple[int, tuple[str, object]]]
) -> None:
    course_database.query("TRUNCATE rocket_launches, launch_changes, fetches, notifications RESTART IDENTITY")
    with Watched() as discord:
        world, model = World(course_database, discord, patched), Model()
        world.add()
        at = T0 - timedelta(hours=30)
        assert world.run(at) == ["announced"]
        lost: Counter[str] = Counter()  # messages whose answer nobody got may be there twice
        had: Counter[tuple[str, int]] = Counter()
        for minutes, (event, value) in course:
            at += timedelta(minutes=minutes)
            discord.faults = []
            net, status = model.net, model.status
            if event == "moves":
                net += timedelta(minutes=value)  # type: ignore[arg-type]
                world.change(at, net=net)
            elif event == "becomes" and value != status:
                status = str(value)
                world.change(at, status=status)
            elif event == "Discord":
                discord.faults = [FAULTS[str(value)]]
            model.sees(at, net, status)

            before = len(discord.messages)
            (result,) = world.run(at)[:1] or ["nothing"]
            failed = result.isdecimal()
            if failed and value == "lost":
                lost.update(kind_of(message) for message in discord.messages[before:])
            for message in discord.messages[before:]:
                kind = kind_of(message)
                had[kind, model.attempt] += 1
                assert had[kind, model.attempt] <= 1 + lost[kind], (kind, course)
                assert is_silent(message) == (kind == "announced" or "was successful" in message.body["content"])
                if kind == "reminder":
                    assert model.is_reminder_due(at)
                if kind == "slipped":
                    assert model.is_slip_due(at)
            if failed:
                continue
            # After a good run, what the channel should have been told, it was.
            kinds = [kind_of(message) for message in discord.messages[before:]]
            assert ("slipped" in kinds) == model.is_slip_due(at)
            if kinds:
                model.is_slip_untold = False
            if model.is_reminder_due(at):
                assert had["reminder", model.attempt]
            # And its announcements show what is so, but for those of which nobody knows.
            stale = [
                message
                for message in discord.messages
                if kind_of(message) == "announced" and f"<t:{model.net.timestamp():.0f}:F>" not in str(message.body)
            ]
            assert len(stale) <= lost["announced"]
