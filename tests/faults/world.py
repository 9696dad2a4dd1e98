"""A world in which launches appear, slip, are renamed, leave the page and come back; and what should be stored of it.

What should be stored is worked out from the facts below, never from what the steps say.
"""

import json
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from standins.discord import Discord
from standins.launch_library import LaunchLibrary
from standins.server import Answer, Request, StandIn
from tests.conftest import Database

STATUSES = {"Go": 1, "TBD": 2, "Hold": 5, "TBC": 8}
PRECISIONS = {"second": 0, "minute": 1, "hour": 2}


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
        self.last_page: list[str] = []
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
        """Let some launches change, one appear, the one that was there longest leave, and maybe one come back."""
        rng = self._rng
        for launch_id in rng.sample(self.on_page[1:], 3):
            facts = self.launches[launch_id]
            change: dict[str, Any] = rng.choice(
                [
                    {"net": max(facts.net, self.now) + timedelta(minutes=rng.randint(1, 24 * 60))},
                    {"net": facts.net - timedelta(minutes=rng.randint(1, 60))},
                    {"name": f"Heron {rng.randint(1, 9)} {rng.random()} | Σ {launch_id[-4:]}"},
                    {"status": rng.choice([word for word in STATUSES if word != facts.status])},
                    {"net_precision": rng.choice([word for word in PRECISIONS if word != facts.net_precision])},
                    {"image_url": None if facts.image_url else f"https://images.example/{rng.random()}.png"},
                ]
            )
            self.launches[launch_id] = replace(facts, **change)
        launch_id = rng.choice(self.on_page[1:])
        self.launches[launch_id] = replace(self.launches[launch_id], turns=self.launches[launch_id].turns + 1)
        self._appear()
        away = sorted(self.launches.keys() - self.on_page)
        if away and rng.random() < 0.5:
            self.on_page.append(rng.choice(away))
        del self.on_page[: len(self.on_page) - self.size]

    def page(self) -> bytes:
        """Return the page as the Launch Library 2.3.0 would write it."""
        launches = sorted((self.details(launch_id) for launch_id in self.on_page), key=lambda one: str(one["net"]))
        page = {"count": len(launches), "next": None, "previous": None, "results": launches}
        return json.dumps(page, ensure_ascii=False).encode()

    def details(self, launch_id: str) -> dict[str, Any]:
        """Return the launch as JSON; its description is its id, by which a message tells which launch it shows."""
        facts = self.launches[launch_id]
        return {
            "id": launch_id,
            "name": facts.name,
            "net": iso(facts.net),
            "net_precision": {"id": PRECISIONS[facts.net_precision], "name": "…", "abbrev": "…"},
            "status": {"id": STATUSES[facts.status], "name": "…", "abbrev": "…"},
            "image": facts.image_url and {"id": 1, "image_url": facts.image_url, "credit": None},
            "last_updated": None,
            "mission": {"name": "Σ", "description": launch_id},
            "pad": {"total_launch_count": facts.turns},
        }

    def store(self, at: datetime, by_id: Sequence[str] = ()) -> None:
        """The page, as it is now, was stored at this time, and so were the launches that were asked for by id."""
        for launches in (self.on_page, *([launch_id] for launch_id in by_id)):
            sorts = Counter(self._see(launch_id, at) for launch_id in launches)
            numbers = [sorts[sort] for sort in ("added", "changed", "unchanged")]
            self.fetches.append((200, False, len(launches), *numbers, 0))
        self.last_page = self.on_page.copy()

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

    def following(self, now: datetime) -> str | None:
        """Return the launch to be announced: the nearest that is still to come, of the last page that was stored."""
        coming = [one for one in self.last_page if self.stored[one].net > now and self.stored[one].status != "Hold"]
        return min(coming, key=lambda one: (self.stored[one].net, one), default=None)


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

    def shown(self) -> list[str]:
        """Return the launch that each message shows, by its description."""
        return [message.body["embeds"][0]["description"] for message in self.messages]
