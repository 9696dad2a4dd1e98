"""The steps as processes: the memory that they take at most, and the time to what they do first."""

import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

from bench.measure import ROOT, Measure, interleaved
from bench.store import launches
from standins.discord import Discord
from standins.launch_library import LaunchLibrary
from standins.postgres import ROLES, Postgres

MANY = 100_000
WEBHOOK = "https://discord.com/api/webhooks/1310000000000000001/stand-in-token"  # nobody asks it

ADDRESS = "https://launches.example.org"  # nor that
KEY = {"LAUNCH_LIBRARY_TOKEN": "stand-in-key"}  # for more than 15 requests an hour

# A process begins with the size of the one that starts it, and ours is large: a small one in between, therefore.
PEAK = """
import os, sys
pid = os.posix_spawn(sys.executable, [sys.executable, *sys.argv[1:]], os.environ)
_, status, usage = os.wait4(pid, 0)
print(usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""


class Library(LaunchLibrary):
    """A Launch Library with more launches than the real one has."""

    def __init__(self, count: int) -> None:
        self._launches = [one.details for one in launches(count)]
        super().__init__()

    def launches(self) -> list[dict[str, Any]]:
        """Return all, in order."""
        return self._launches


def detailed_page(count: int) -> bytes:
    """Return a page of launches that have 50 kB each, as `mode=detailed` gives them."""
    stage = {
        "id": 7,
        "name": "Σ a stage — with a name",
        "height": 70.125,
        "reused": True,
        "pad": None,
        "flights": [1, 2],
    }
    results = [one.details | {"id": f"detailed-{n}", "stages": 400 * [stage]} for n, one in enumerate(launches(count))]
    return json.dumps({"count": count, "next": None, "results": results}, ensure_ascii=False).encode()


def peak(*arguments: str, env: dict[str, str] | None = None, folder: str = ".") -> float:
    """Run Python, and return the most memory that it had, in MiB."""
    command = [sys.executable, "-S", "-c", PEAK, *arguments]
    done = subprocess.run(command, env=env or {}, cwd=ROOT / folder, stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode in (0, 99), f"{arguments} ended with {done.returncode}: {done.stdout}"
    return int(done.stdout.split()[-1]) / 1024


def measures(rounds: int) -> Iterator[Measure]:
    """Measure every step, at first with nothing to do but a page of 100."""
    yield from time_to_first_act(3 * rounds)
    with (
        Postgres() as server,
        Discord() as discord,
        Library(100) as page,
        Library(MANY) as many,
        LaunchLibrary() as detailed,
        tempfile.TemporaryDirectory() as folder,
    ):
        channel = {"DISCORD_WEBHOOK_URL": discord.webhook_url, "ANNOUNCE_HOURS": "1"}  # few wait for Discord's limits

        def run(name: str, **env: str) -> Callable[[], float]:
            return lambda: peak("-m", name, env=server.env(ROLES[name]) | env, folder="tasks")

        run("init_schema")()  # makes the tables, which the next runs find
        peaks = interleaved(
            rounds,
            bare=lambda: peak("-c", "pass"),
            init_schema=run("init_schema"),
            fetch=run("fetch", LAUNCH_LIBRARY_URL=page.upcoming_url, **KEY),
            notify=run("notify", **channel),
            crawl=run("crawl", CRAWL_CONTACT="crawl@example.org", CRAWL_NETWORKS="127.0.0.0/8", OBJECT_STORE="none"),
            publish=run("publish", PUBLIC_URL=ADDRESS, OBJECT_STORE=Path(folder).as_uri()),
        )
        detailed.page = detailed_page(100)
        one_detailed = run("fetch", LAUNCH_LIBRARY_URL=detailed.upcoming_url)()
        all_pages = run("fetch", LAUNCH_LIBRARY_URL=many.upcoming_url, LAUNCH_LIBRARY_PAGES="all", **KEY)()
        all_stored = run("notify", **channel)()
    bare = f"bare interpreter: {median(peaks['bare']):.0f} MiB"
    for name in ROLES.keys() & peaks.keys():  # stream and index have parts of their own
        yield Measure(f"peak memory of {name}", bare, "≤ 64 MiB", peaks[name], unit=" MiB")
    yield Measure("… of fetch, a detailed page of 100", bare, "≤ 64 MiB", [one_detailed], unit=" MiB")
    yield Measure(f"… of fetch, all pages of {MANY:,}", "a page of 100", "flat", [all_pages], peaks["fetch"][:1])
    yield Measure(f"… of notify, {MANY:,} stored", "100 stored", "flat", [all_stored], peaks["notify"][:1])


def time_to_first_act(rounds: int) -> Iterator[Measure]:
    """Measure the time until a step asks for its database, beyond what an interpreter takes that does nothing."""
    with socket.create_server(("127.0.0.1", 0)) as postgres:
        port = str(postgres.getsockname()[1])

        def first_act(name: str) -> Callable[[], float]:
            settings = {"DISCORD_WEBHOOK_URL": WEBHOOK, "CRAWL_CONTACT": "crawl@example.org", "PUBLIC_URL": ADDRESS}
            settings |= {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9", "SEARCH_URL": "http://127.0.0.1:9"}
            settings |= {"OBJECT_STORE": "s3://nowhere", "AWS_REGION": "nowhere"} if name == "publish" else {}
            env = {"PGHOST": "127.0.0.1", "PGPORT": port} | settings
            return lambda: seconds_until_connected([sys.executable, "-m", name], env, "tasks", postgres)

        def bare() -> float:
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", "pass"], check=True)
            return time.perf_counter() - started

        seconds = interleaved(rounds, bare=bare, **{name: first_act(name) for name in ROLES})
    against = f"bare interpreter: {median(seconds['bare']):.2f} s"
    for name in ROLES:
        more = [ours - theirs for ours, theirs in zip(seconds[name], seconds["bare"], strict=True)]
        yield Measure(f"start of {name} to its first act", against, "≤ 0.4 s more", more, unit=" s more")


def seconds_until_connected(command: list[str], env: dict[str, str], folder: str, server: socket.socket) -> float:
    """Start a program and return the seconds until it connects; it is then stopped."""
    started = time.perf_counter()
    with subprocess.Popen(command, env=env, cwd=ROOT / folder, stdout=subprocess.DEVNULL) as process:
        connection, _ = server.accept()
        seconds = time.perf_counter() - started
        process.kill()
        connection.close()
    return seconds
