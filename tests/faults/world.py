"""A world in which launches appear, slip, are held, fly, leave the page and come back; and what should come of it.

What should be stored and told is worked out from the facts below, never from what the steps say.
"""

import json
import random
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from standins.discord import Discord, Message
from standins.launch_library import LaunchLibrary
from standins.server import Answer, Request, StandIn
from tests.conftest import Database

STATUSES = {"Go": 1, "TBD": 2, "Success": 3, "Failure": 4, "Hold": 5, "In Flight": 6, "Partial Failure": 7, "TBC": 8}
BEFORE, OUTCOMES = ("Go", "TBD", "Hold", "TBC"), ("Success", "Failure", "Partial Failure")
PRECISIONS = {"second": 0, "minute": 1, "hour": 2}
HOUR, DAY = timedelta(hours=1), timedelta(days=1)

# By what a person tells one kind of message from another.
WORDS = {
    "launches in": "reminder",
    "slipped to": "slipped",
    "moved up to": "slipped",
    "is on hold": "slipped",
    " is live": "live",
    "was successful": "outcome",
    "failed": "outcome",
    "was a partial failure": "outcome",
}


@dataclass(frozen=True)
class Facts:
    """What is said of a launch now. `turns` is what changes without being a change, as a pad's counter does."""

    name: str
    net: datetime
    net_precision: str
    status: str
    image_url: str | None
    turns: int = 0

    def values(self) -> dict[str, str | None]:
        """Return what is a change if it changes, as `launch_changes` writes it."""
        net = iso(self.net)
        return {
            "name": self.name,
            "net": net,
            "net_precision": self.net_precision,
            "status": self.status,
            "image_url": self.image_url,
        }


class World:
    """At most `size` launches on a page, and all that the pages said that were stored."""

    def __init__(self, rng: random.Random, now: datetime, size: int = 30) -> None:
        self.now, self.size = now, size
        self._rng = rng
        self.launches: dict[str, Facts] = {}
        self.on_page: list[str] = []
        self.rows: dict[str, tuple[Any, ...]] = {}
        self.stored: dict[str, Facts] = {}
        self.told_at = now
        self.told_then: dict[str, Facts] = {}
        self.changes: list[tuple[Any, ...]] = []
        self.fetches: list[tuple[Any, ...]] = []
        for _ in range(size):
            self._appear()

    def _appear(self) -> None:
        number = len(self.launches) + 1
        net = self.now.replace(second=0, microsecond=0) + timedelta(minutes=self._rng.randint(60, 72 * 60))
        image_url = f"https://images.example/{number}.png"
        launch_id = f"launch-{number:04}"
        self.launches[launch_id] = Facts(f"Kestrel | Σ {number}", net, "minute", "Go", image_url)
        self.on_page.append(launch_id)

    def turn(self) -> None:
        """Let those fly or slip whose time has come, some change, one appear, the oldest leave, and one come back."""
        rng = self._rng
        for launch_id, facts in self.launches.items():
            if facts.net <= self.now and facts.status not in OUTCOMES:
                if facts.status in BEFORE and rng.random() < 0.2:
                    flight: dict[str, Any] = {"net": self.now + timedelta(minutes=rng.randint(90, 600))}
                else:
                    flight = {"status": rng.choice(["Success", "Failure", "Partial Failure", "In Flight"])}
                self.launches[launch_id] = replace(facts, **flight)
        for launch_id in rng.sample([one for one in self.on_page[1:] if self.launches[one].status in BEFORE], 3):
            facts = self.launches[launch_id]
            change: dict[str, Any] = rng.choice(
                [
                    {"net": max(facts.net, self.now) + timedelta(minutes=rng.randint(1, 24 * 60))},
                    {"net": facts.net - timedelta(minutes=rng.randint(1, 60))},
                    {"name": f"Heron {rng.randint(1, 9)} {rng.random()} | Σ {launch_id[-4:]}"},
                    {"status": rng.choice([word for word in BEFORE if word != facts.status])},
                    {"net_precision": rng.choice([word for word in PRECISIONS if word != facts.net_precision])},
                    {"image_url": None if facts.image_url else f"https://images.example/{rng.random()}.png"},
                ]
            )
            self.launches[launch_id] = replace(facts, **change)
        launch_id = rng.choice(self.on_page[1:])
        self.launches[launch_id] = replace(self.launches[launch_id], turns=self.launches[launch_id].turns + 1)
        self._appear()
        away = sorted(one for one in self.launches.keys() - self.on_page if self.launches[one].status in BEFORE)
        if away and rng.random() < 0.5:
            self.on_page.append(rng.choice(away))
        del self.on_page[: len(self.on_page) - self.size]

    def page(self) -> bytes:
        """Return the page as the Launch Library 2.3.0 would write it."""
        launches = sorted((self.details(launch_id) for launch_id in self.on_page), key=lambda one: str(one["net"]))
        page = {"count": len(launches), "next": None, "previous": None, "results": launches}
        return json.dumps(page, ensure_ascii=False).encode()

    def details(self, launch_id: str) -> dict[str, Any]:
        """Return the launch as JSON."""
        facts = self.launches[launch_id]
        return {
            "id": launch_id,
            "name": facts.name,
            "net": iso(facts.net),
            "net_precision": {"id": PRECISIONS[facts.net_precision], "name": "…", "abbrev": "…"},
            "status": {"id": STATUSES[facts.status], "name": "…", "abbrev": "…"},
            "image": facts.image_url and {"id": 1, "image_url": facts.image_url, "credit": None},
            "last_updated": None,
            "mission": {"name": "Σ", "description": "Σ"},
            "pad": {"total_launch_count": facts.turns},
        }

    def store(self, at: datetime, by_id: Sequence[str] = ()) -> None:
        """The page, as it is now, was stored at this time, and so were the launches that were asked for by id."""
        for launches in (self.on_page, *([launch_id] for launch_id in by_id)):
            sorts = Counter(self._see(launch_id, at) for launch_id in launches)
            numbers = [sorts[sort] for sort in ("added", "changed", "unchanged")]
            self.fetches.append((200, False, len(launches), *numbers, 0))

    def _see(self, launch_id: str, at: datetime) -> str:
        """A launch, as it is now, was stored; return if that is one that was added, has changed, or has not."""
        facts, sort, first_seen_at = self.launches[launch_id], "added", at
        if launch_id in self.rows:
            before, after = self.stored[launch_id].values(), facts.values()
            new = [(launch_id, key, before[key], after[key], at) for key in before if before[key] != after[key]]
            self.changes += new
            sort, first_seen_at = "changed" if new else "unchanged", self.rows[launch_id][-2]
        row = (facts.name, facts.net, facts.net_precision, facts.status, facts.image_url)
        self.rows[launch_id] = (*row, self.details(launch_id), first_seen_at, at)
        self.stored[launch_id] = facts
        return sort

    def fail(self, status: int | None) -> None:
        """A request of which nothing was stored; without a status where there was no whole answer."""
        self.fetches.append((status, True, 0, 0, 0, 0, 0))

    def tables(self) -> dict[str, Any]:
        """Return what `stored_in` must return."""
        return {"launches": self.rows, "changes": sorted(self.changes, key=repr), "fetches": self.fetches}

    def coming(self) -> list[str]:
        """Return the launches that are still to come, the nearest first: of those that the last fetch has seen."""
        newest = max(row[-1] for row in self.rows.values())
        facts = self.stored
        found = [one for one in facts if self.rows[one][-1] == newest and facts[one].net > self.now]
        return sorted((one for one in found if facts[one].status in BEFORE), key=lambda one: (facts[one].net, one))

    def due(self) -> dict[str, list[str]]:
        """Return the launches that a channel that was told of them before must have been told of by now, by kind."""
        coming, facts, now = self.coming(), self.stored, self.now
        ready = [one for one in coming if facts[one].status != "Hold"]
        return {
            "announced": ready[:1] + [one for one in coming if facts[one].net <= now + DAY],
            "reminder": [one for one in ready if facts[one].net <= now + HOUR],
            "slipped": [one for one in coming if one in self.told_then and self._has_slipped(one)],
            "outcome": [one for one in facts if facts[one].status in OUTCOMES and abs(now - facts[one].net) <= DAY],
        }

    def _has_slipped(self, launch_id: str) -> bool:
        """Tell whether a launch is held or has moved since all was told that was due.

        Moves of less than the hour that makes a slip add up, so that only one of two hours is a slip for certain, and
        the last day before a launch is, to such a move, two hours shorter.
        """
        then, now = self.told_then[launch_id], self.stored[launch_id]
        was_near = all(abs(then.net - at) <= DAY - 2 * HOUR for at in (self.told_at, self.now))
        is_held = now.status == "Hold" != then.status
        return was_near and (is_held or abs(now.net - then.net) >= 2 * HOUR)

    def all_told(self) -> None:
        """All that is due has been told."""
        self.told_at, self.told_then = self.now, self.stored.copy()


def stored_in(database: Database) -> dict[str, Any]:
    """Return what fetch has stored, without the numbers of the rows and the clock's time."""
    launches = database.query(
        "SELECT launch_id, name, net, net_precision, status, image_url, details, first_seen_at, last_seen_at "
        "FROM rocket_launches"
    )
    changes = database.query("SELECT launch_id, field, old_value, new_value, seen_at FROM launch_changes")
    fetches = database.query(
        "SELECT status, error IS NOT NULL, seen, added, changed, unchanged, unreadable FROM fetches ORDER BY id"
    )
    return {
        "launches": {row[0]: row[1:] for row in launches},
        "changes": sorted(changes, key=repr),
        "fetches": fetches,
    }


def iso(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"


class Slow(StandIn):
    """Does what is asked, and answers after `delay` seconds."""

    delay = 0.0

    def handle(self, request: Request) -> Answer:
        answer = super().handle(request)
        time.sleep(self.delay)
        return answer


class SlowLibrary(Slow, LaunchLibrary):
    """A Launch Library that takes its time, and that knows every launch of the world by its id."""

    world: World

    def one(self, path: str) -> Answer:
        return Answer(200, self.world.details(launch_id_of(path)))


def launch_id_of(path: str) -> str:
    """Return the id in the address of one launch."""
    return path.split("/")[-2]


class SlowDiscord(Slow, Discord):
    """A Discord that takes its time."""


def first_line(message: Message) -> str:
    """Return what a message begins with, which has the launch's name."""
    line: str = message.body.get("content") or message.body["embeds"][0]["title"]
    return line.replace("\\", "")


def kind_of(message: Message) -> str:
    """Return a message's kind, by its words."""
    return next((kind for words, kind in WORDS.items() if words in first_line(message)), "announced")


def launch_of(message: Message) -> str:
    """Return the id of the launch in the world that a message is about, by the number in its name."""
    found = re.search(r"Σ (\d+)", first_line(message))
    assert found
    return f"launch-{int(found[1]):04}"
