"""A day on which the Launch Library answers 15 requests an hour and fetch runs more often than that.

The day is simulated: the service has a clock, which stands still while the step runs, and waiting moves it.
"""

import contextlib
import io
import logging
import math
import random
import signal
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from fetch import __main__ as step
from fetch import launch_library
from standins.launch_library import UPCOMING, LaunchLibrary
from standins.server import Answer, Request
from tests.conftest import Database, run_step
from tests.faults.world import SlowDiscord, World, iso, kind_of, stored_in

START = datetime(2031, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
LIMIT = 15


class Throttled(LaunchLibrary):
    """Answers 15 requests in any hour; to more it says how long to wait, in one of the three ways there are."""

    def __init__(self, rng: random.Random) -> None:
        self.rng, self.now = rng, START
        self.answered: list[datetime] = []
        self.asked: list[tuple[datetime, int]] = []  # when, and the seconds to wait
        super().__init__()

    def wait(self) -> int:
        """Return the seconds until the next request is answered."""
        recent = [at for at in self.answered if at > self.now - HOUR]
        return math.ceil((recent[0] + HOUR - self.now).total_seconds()) if len(recent) == LIMIT else 0

    def answer(self, request: Request) -> Answer:
        seconds = self.wait()
        if request.path not in UPCOMING.values():
            return Answer(200, {"your_request_limit": LIMIT, "next_use_secs": seconds})  # this one is not counted
        self.asked.append((self.now, seconds))
        if not seconds:
            self.answered.append(self.now)
            return super().answer(request)
        sentence = {"detail": f"Request was throttled. Expected available in {seconds} seconds."}
        header = {"Retry-After": str(seconds)}
        said = self.rng.choice([(sentence, header), (sentence, {}), ({"detail": ""}, header), ({"detail": ""}, {})])
        return Answer(429, *said)


def test_a_day_of_fifteen_requests_an_hour(  # noqa: C901, PLR0915  # a day
    database: Database, rng: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(rng, START)
    appeared = dict.fromkeys(world.launches, START)
    long, short, kept, stored_at = [], [], 0, START
    with Throttled(rng) as library:

        def wait(seconds: float) -> None:
            library.now += timedelta(seconds=seconds)

        monkeypatch.setattr(launch_library, "time", SimpleNamespace(sleep=wait, monotonic=time.monotonic))
        for name, value in (database.env("fetch") | {"LAUNCH_LIBRARY_URL": library.upcoming_url}).items():
            monkeypatch.setenv(name, value)
        while library.now < START + 24 * HOUR:
            library.now += timedelta(seconds=rng.randint(60, 480))
            began = world.now = library.now
            if world.fetches and rng.random() < 0.15:  # none leaves the page before it was ever read
                world.turn()
                appeared = dict.fromkeys(world.launches, began) | appeared
            if rng.random() < 0.4 and not library.wait():
                library.answered.append(began)  # by somebody else behind the same address
            library.page, asked = world.page(), len(library.asked)
            monkeypatch.setenv("NOW", iso(began))
            code, last = run_here(monkeypatch)
            match library.asked[asked:]:
                case []:  # its own last hour has had them all
                    assert code == 75
                    assert "The last hour has had its 15 requests" in last
                    kept += 1
                    continue
                case [(_, 0)]:
                    assert code == 0
                case [(_, seconds)] if seconds <= 120:  # the second one would have been the hour's sixteenth
                    assert code == 75
                    assert "The last hour has had its 15 requests" in last
                    world.fail(429)
                    continue
                case [(_, seconds)]:  # one request, and no other within this run
                    assert (code, seconds > 120) == (75, True)
                    assert f"throttles us for another {seconds} s; its limit is 15 requests an hour" in last
                    assert "Try again after that" in last
                    long.append(seconds)
                    world.fail(429)
                    continue
                case [(first, seconds), (second, 0)]:
                    assert (code, seconds <= 120) == (0, True)
                    assert second - first >= timedelta(seconds=seconds)
                    short.append(seconds)
                    world.fail(429)
                case requests:
                    raise AssertionError(requests)
            world.store(began)
            stored_at = began
            assert stored_in(database)["launches"] == world.rows

    assert stored_in(database) == world.tables()
    # None is lost; one that appeared since the last good request waits for the next.
    assert world.rows.keys() == {launch_id for launch_id, at in appeared.items() if at <= stored_at}
    late = [world.rows[launch_id][-2] - at for launch_id, at in appeared.items()]
    assert max(late) <= HOUR
    most = "SELECT max(n) FROM (SELECT count(*) OVER hour AS n FROM fetches WINDOW hour AS (ORDER BY requested_at"
    ((spent,),) = database.query(f"{most} RANGE BETWEEN '3599 seconds' PRECEDING AND CURRENT ROW)) AS hours")
    assert spent == LIMIT
    hours = Counter((at - START) // HOUR for at, _ in library.asked)
    allowed = Counter((at - START) // HOUR for at in library.answered)
    print(f"Requests in each hour: {[hours[hour] for hour in range(24)]}")
    print(f"… of which answered:   {[allowed[hour] for hour in range(24)]}")
    print(f"{len(long)} runs ended with 75, for waits of {min(long)} to {max(long)} s")
    print(f"{kept} runs ended with 75 without a request, as the hour's 15 were made")
    print(f"{len(short)} runs waited, {min(short)} to {max(short)} s")
    print(f"{len(world.rows)} launches, {len(world.changes)} changes; stored at most {max(late)} after it appeared")


def test_notify_sends_a_reminder_after_a_throttled_fetch(database: Database, rng: random.Random) -> None:
    """The step by itself: it tells what is due from the database. When the DAG starts it is not tried here."""
    world = World(rng, START)
    nearest = min(facts.net for facts in world.launches.values())
    with LaunchLibrary() as library, SlowDiscord() as discord:
        library.page = world.page()

        def run(step: str, now: datetime) -> int:
            env = {"LAUNCH_LIBRARY_URL": library.upcoming_url, "DISCORD_WEBHOOK_URL": discord.webhook_url}
            return run_step(step, database.env(step) | env | {"NOW": iso(now)}).code

        assert [run(step, nearest - 1.5 * HOUR) for step in ("fetch", "notify")] == [0, 0]
        assert "reminder" not in map(kind_of, discord.messages)
        library.faults = [Answer(429, {"detail": "Request was throttled. Expected available in 3600 seconds."})]
        assert [run(step, nearest - HOUR) for step in ("fetch", "notify")] == [75, 0]
    assert "reminder" in map(kind_of, discord.messages)


def run_here(monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    """Run fetch in this process, whose waiting can be shortened; return its exit code and its last line."""
    output, handler = io.StringIO(), signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch, contextlib.redirect_stdout(output):
        patch.setattr(logging.getLogger(), "handlers", [])
        patch.setattr(logging.getLogger(), "level", logging.INFO)
        code = step.main([])
    signal.signal(signal.SIGTERM, handler)
    return code, output.getvalue().splitlines()[-1]
