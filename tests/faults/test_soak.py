"""Five hundred runs on two services that fail in every way: nothing is lost, told twice, or left over."""

import os
import random
import subprocess
import sys
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import NamedTuple

import pytest

from bench.steps import PEAK
from standins.discord import NO_ANSWER, SERVER_ERROR
from standins.server import Answer
from tests.conftest import ROOT, Database
from tests.faults.world import SlowDiscord, SlowLibrary, World, iso, kind_of, launch_id_of, launch_of, stored_in

RUNS = 500
FAULT_FREE = 3  # at the end
START = datetime(2031, 1, 1, tzinfo=UTC)
SHORT, LONG = "Expected available in 1 second.", "Expected available in 3600 seconds."
WORDS = {
    "Go": "Go for launch",
    "TBD": "To be determined",
    "TBC": "To be confirmed",
    "Hold": "On hold",
    "In Flight": "In flight",
    "Success": "Launch successful",
    "Failure": "Launch failed",
    "Partial Failure": "Launch was a partial failure",
}


class Bad(NamedTuple):
    """What the Launch Library does in a run, and what should come of it."""

    answers: list[Answer]
    code: int
    statuses: list[int | None]  # of the failed requests
    delay: float = 0


def bad_answers(page: bytes) -> dict[str, Bad]:
    half = page[: len(page) // 2]
    return {
        "429 for 0 s": Bad([Answer(429, {"detail": ""}, {"Retry-After": "0"})], 0, [429]),
        "429 for 1 s": Bad([Answer(429, {"detail": SHORT})], 0, [429]),
        "429 for an hour": Bad([Answer(429, {"detail": LONG})], 75, [429]),
        "429 twice": Bad(2 * [Answer(429, {"detail": ""}, {"Retry-After": "0"})], 75, [429, 429]),
        "429, then 500": Bad([Answer(429, {"detail": ""}, {"Retry-After": "0"}), SERVER_ERROR], 75, [429, 500]),
        "500": Bad([Answer(500, "<html>Internal Server Error")], 75, [500]),
        "HTML": Bad([Answer(200, "<html>Be right back")], 65, [200]),
        "half a page": Bad([Answer(200, half)], 65, [200]),
        "half a page, then closed": Bad([Answer(200, half, {"Content-Length": str(len(page))})], 75, [None]),
        "{}": Bad([Answer(200, {})], 65, [200]),
        "closed": Bad([Answer(0)], 75, [None]),
        "slow": Bad([], 0, [], delay=0.3),
    }


DISCORD = {
    "429 for 0.05 s": [Answer(429, {"retry_after": 0.05})],
    "429 of Cloudflare, twice": 2 * [Answer(429, "<html>Error 1015", {"Retry-After": "0"})],
    "429 for an hour": [Answer(429, {"retry_after": 3600})],
    "500": [SERVER_ERROR],
    "429, then lost": [Answer(429, {"retry_after": 0}), NO_ANSWER],
    "lost": [NO_ANSWER],
    "slow": [],
    "deleted by a person": [],
}


class Key(NamedTuple):
    """What there should be one message for."""

    launch_id: str
    kind: str
    attempt: int


class Soak:
    """The world, the two services, the database, and what to count."""

    def __init__(
        self, database: Database, rng: random.Random, library: SlowLibrary, discord: SlowDiscord, folder: Path
    ) -> None:
        self.database, self.rng, self.library, self.discord, self.folder = database, rng, library, discord, folder
        self.world = library.world = World(rng, START)
        self.faults: Counter[str] = Counter()
        self.codes: Counter[str] = Counter()
        self.sent: dict[str, Key] = {}  # by the message's id
        self.told: defaultdict[str, list[tuple[str, datetime]]] = defaultdict(list)  # kinds and times, of each launch
        self.lost: Counter[Key] = Counter()  # messages that arrived, and whose answers did not
        self.unknown: set[Key] = set()  # such messages of which no log has told yet
        self.told_twice = 0
        self.deleted: Counter[Key] = Counter()
        self.memory: dict[str, list[int]] = {"fetch": [], "notify": []}

    def step(self, name: str, **env: str) -> tuple[int, list[str]]:
        """Run a step in a process group of its own; return its exit code and its lines."""
        command = [sys.executable, "-ISc", PEAK, "-W", "error", "-m", name]
        env = {"PATH": os.environ["PATH"], "TMPDIR": str(self.folder), "HOME": str(self.folder)} | env
        with subprocess.Popen(
            command,
            cwd=ROOT / "tasks",
            env=self.database.env(name) | {"NOW": iso(self.world.now)} | env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            process_group=0,
            text=True,
        ) as process:
            output, _ = process.communicate(timeout=180)  # more than 30 messages at once take minutes
        *lines, memory = output.splitlines()
        self.memory[name].append(int(memory))
        self.codes[f"{name} {process.returncode}"] += 1
        with pytest.raises(ProcessLookupError):  # no process of its group is left
            os.killpg(process.pid, 0)
        return process.returncode, lines

    def run(self, *, faults: bool) -> int | None:
        """Do what the DAG does: fetch, and notify if that succeeded; return the last exit code."""
        rng, world, library, discord = self.rng, self.world, self.library, self.discord
        world.now += timedelta(minutes=rng.randint(20, 100))
        world.turn()
        library.page = world.page()
        fault = bad = None
        if faults and rng.random() < 0.4:
            fault, bad = rng.choice(list(bad_answers(library.page).items()))
            self.faults[f"Launch Library: {fault}"] += 1
        library.faults, library.delay = (bad.answers.copy(), bad.delay) if bad else ([], 0.0)
        asked = len(library.requests)
        # The token is for more than 15 requests an hour.
        code, lines = self.step("fetch", LAUNCH_LIBRARY_URL=library.upcoming_url, LAUNCH_LIBRARY_TOKEN="t0ken")
        assert code == (bad.code if bad else 0), (fault, lines)
        assert not library.faults, fault
        for status in bad.statuses if bad else []:
            world.fail(status)
        if code:
            return code
        paths = [request.path for request in library.requests[asked:]]
        world.store(world.now, [launch_id_of(path) for path in paths if "launch-" in path])

        fault = rng.choice(list(DISCORD)) if faults and rng.random() < 0.5 else None
        discord.faults, discord.delay = DISCORD[fault].copy() if fault else [], 0.3 if fault == "slow" else 0.0
        if fault == "deleted by a person" and discord.messages:
            gone = rng.choice(discord.messages[-3:])
            discord.messages.remove(gone)
            self.deleted[self.sent[gone.id]] += 1
        asked = len(discord.requests)
        code, lines = self.step("notify", DISCORD_WEBHOOK_URL=discord.webhook_url)
        if fault and len(discord.requests) > asked:
            self.faults[f"Discord: {fault}"] += 1
        assert code in ((0, 75, 99) if fault else (0, 99)), (fault, lines)
        self.see_what_was_sent(code, lines)
        if code != 75:
            self.see_that_nothing_was_lost()
        return code

    def see_what_was_sent(self, code: int, lines: list[str]) -> None:
        """Count the new messages; nothing is told twice but where an answer was lost, and then the log says so."""
        new = [message for message in self.discord.messages if message.id not in self.sent]
        keys: dict[str | None, Key] = {
            message_id: Key(*key)
            for message_id, *key in self.database.query(
                "SELECT message_id, launch_id, kind, attempt FROM notifications WHERE %s IN (posted_at, attempted_at)",
                self.world.now,
            )
        }
        for message in new:
            is_known = message.id in keys
            assert is_known or code == 75
            key = keys[message.id if is_known else None]
            assert (key.launch_id, key.kind) == (launch_of(message), kind_of(message))
            if key in self.unknown:
                name = self.world.stored[key.launch_id].name
                assert any(f" a message for {name} and did not learn if it arrived" in line for line in lines)
                self.unknown.remove(key)
                self.told_twice += 1
            if is_known:
                self.told[key.launch_id].append((key.kind, self.world.now))
            else:
                self.unknown.add(key)
                self.lost[key] += 1
            self.sent[message.id] = key
        sent = Counter(self.sent.values())
        assert sent <= Counter(set(sent)) + self.lost + self.deleted

    def see_that_nothing_was_lost(self) -> None:
        """All has been told that is due by now, whatever failed before."""
        for kind, launch_ids in self.world.due().items():
            for launch_id in launch_ids:
                told = self.told[launch_id]
                # A slip and an outcome are for those who were told of the launch.
                if kind in ("slipped", "outcome") and not any(at <= self.world.told_at for _, at in told):
                    continue
                times = [at for sort, at in told if sort == kind]
                slips = [at for sort, at in told if sort == "slipped"]
                assert times, (kind, launch_id, told)
                if kind == "slipped":
                    assert times[-1] > self.world.told_at, (kind, launch_id, told)
                if kind == "reminder" and slips:  # a slip makes it due again
                    assert times[-1] >= slips[-1], (kind, launch_id, told)
        self.world.all_told()


def test_five_hundred_runs(database: Database, rng: random.Random, tmp_path: Path) -> None:
    tree = files(ROOT / "tasks")
    with SlowLibrary() as library, SlowDiscord() as discord:
        soak = Soak(database, rng, library, discord, tmp_path)
        for number in range(RUNS):
            soak.run(faults=number < RUNS - FAULT_FREE)
        asked = len(discord.requests)
        assert soak.step("notify", DISCORD_WEBHOOK_URL=discord.webhook_url)[0] == 99
        assert len(discord.requests) == asked

    world = soak.world
    # Messages are kept up to date for a week after the launch: from then on, as many are let go as are added.
    memory = {name: (median(values[200:250]), median(values[-50:])) for name, values in soak.memory.items()}
    kinds = Counter(key.kind for key in soak.sent.values())
    print(f"{RUNS} runs; {len(world.rows)} launches; {len(world.changes)} changes; exit codes: {dict(soak.codes)}")
    print(f"Faults: {dict(sorted(soak.faults.items()))}")
    print(f"Messages: {dict(kinds)}; deleted by a person {soak.deleted.total()}")
    print(f"Messages whose answer was lost: {soak.lost.total()}; told twice for that: {soak.told_twice}")
    print(f"Peak memory in KiB, in the middle and in the last 50 runs: {memory}")
    assert len(soak.faults) == len(bad_answers(b"")) + len(DISCORD)
    assert kinds.keys() == {"announced", "reminder", "slipped", "outcome"}
    assert soak.told_twice

    # Nothing is lost.
    assert stored_in(database) == world.tables()
    # Every announcement that is known shows what is known.
    statement = "SELECT message_id, launch_id FROM notifications WHERE kind = 'announced' AND message_id IS NOT NULL"
    known = dict(database.query(statement))
    there = {message.id: message for message in discord.messages}
    assert len(known.keys() - there.keys()) <= soak.deleted.total()
    for message_id in known.keys() & there.keys():
        facts, (embed,) = world.stored[known[message_id]], there[message_id].body["embeds"]
        values = {field["name"]: field["value"] for field in embed["fields"]}
        assert embed["title"].replace("\\", "") == facts.name
        assert f"<t:{facts.net.timestamp():.0f}:F>" in values["When"]
        assert values["Status"] == WORDS[facts.status]
        assert embed.get("image", {}).get("url") == facts.image_url
    # Nothing is left over.
    assert not database.query(
        "SELECT pid FROM pg_stat_activity WHERE datname = %s AND usename <> 'postgres'", database.name
    )
    assert not list(tmp_path.iterdir())
    assert files(ROOT / "tasks") == tree
    # Nothing grows.
    for first, last in memory.values():
        assert last < 1.01 * first


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if "__pycache__" not in path.parts)
