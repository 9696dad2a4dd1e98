"""Each step, killed at a hundred random moments: all of its work is there or none, and the next run completes.

The moments are uniform, from the start of the program or from its connection to the database to a little after its end.
"""

import contextlib
import hashlib
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urljoin
from urllib.request import urlopen

import pytest
from psycopg2.extensions import cursor as Cursor  # noqa: N812  # it is a class
from requests import HTTPError

from objects import Objects
from standins.kafka import Kafka
from standins.launch_library import LaunchLibrary
from standins.opensearch import OpenSearch
from standins.postgres import Postgres
from standins.server import Answer
from stream.topics import CHANGES, LAUNCHES
from tests.conftest import ROOT, Database, run_step
from tests.faults.world import SlowDiscord, World, first_line, iso, kind_of, stored_in
from tests.unit.crawl.conftest import Site
from tests.unit.index.conftest import Index, expected
from tests.unit.publish.conftest import ADDRESS, Launches
from tests.unit.publish.conftest import Site as Published
from tests.unit.stream.conftest import Topics

TIMES = 100
START = datetime(2031, 1, 1, tzinfo=UTC)
TWICE = "did not learn if it arrived: it may now be there twice"

KINDS = ("announced", "reminder", "slipped", "outcome")

both = pytest.mark.parametrize("since", ["its start", "its connection"])


def until(condition: Callable[[], object], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.001)


@pytest.fixture
def cursor(postgres: Postgres) -> Iterator[Cursor]:
    """The superuser's, connected all the time: it sees others come and go within a millisecond."""
    with contextlib.closing(postgres.superuser("postgres")) as connection:
        connection.autocommit = True
        yield connection.cursor()


class Killer:
    """Starts a step again and again, and kills it at a random moment."""

    def __init__(  # noqa: PLR0917  # two fixtures each
        self, database: Database, step: str, since: str, rng: random.Random, cursor: Cursor, code: str = ""
    ) -> None:
        self.database, self.step, self.since, self._rng, self._cursor = database, step, since, rng, cursor
        self._command = [sys.executable, *(("-c", code) if code else ("-m", step))]
        self._undisturbed: deque[float] = deque(maxlen=5)
        self.hits: Counter[str] = Counter()
        self.kills = 0

    def backends(self) -> int:
        """Count the step's connections, as PostgreSQL knows them."""
        statement = "SELECT 1 FROM pg_stat_activity WHERE datname = %s AND usename <> 'postgres'"
        self._cursor.execute(statement, [self.database.name])
        return self._cursor.rowcount

    def run(self, env: dict[str, str], *arguments: str, kill_after: float | None = None) -> None:
        """Run the step, and wait until nothing of it is left."""
        with subprocess.Popen(
            [*self._command, *arguments],
            cwd=ROOT / "tasks",
            env=self.database.env(self.step) | {"PATH": os.environ["PATH"]} | env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            if self.since == "its connection":
                until(lambda: self.backends() or process.poll() is not None)
            began = time.monotonic()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(kill_after)
            process.kill()
            ran = time.monotonic() - began
            output, _ = process.communicate()
        assert "Traceback" not in output, output
        if process.returncode != -signal.SIGKILL:
            self.hits["had ended"] += 1
            self._undisturbed.append(ran)  # how long it takes is measured all the time: the machine has other work
        # Its connection outlives it by a moment, and so does its request, which the stand-in takes before this one.
        until(lambda: not self.backends())
        if url := env.get("LAUNCH_LIBRARY_URL") or env.get("DISCORD_WEBHOOK_URL"):
            urlopen(urljoin(url, "/control")).close()
        until(lambda: not any("process_request" in thread.name for thread in threading.enumerate()))

    def measure(self, env: dict[str, str], *arguments: str) -> None:
        """Run it undisturbed, to know how long that takes."""
        self.run(env, *arguments)
        self.hits.clear()

    def kill(self, env: dict[str, str], *arguments: str) -> None:
        """Run it and kill it at a random moment."""
        self.kills += 1
        seconds = self._rng.uniform(0, 1.1 * median(self._undisturbed))
        self.run(env, *arguments, kill_after=seconds)

    def report(self, *expected: str) -> None:
        """Say what was hit. What was not hit was not tested, so that is a failure."""
        counts = ", ".join(f"{count} {what}" for what, count in sorted(self.hits.items()))
        print(
            f"{self.step}, killed {self.kills} times within {median(self._undisturbed):.2f} s of {self.since}: {counts}"
        )
        assert all(self.hits[what] for what in expected), self.hits


@both
def test_fetch_stores_a_page_or_nothing(database: Database, rng: random.Random, cursor: Cursor, since: str) -> None:
    world, killer = World(rng, START), Killer(database, "fetch", since, rng, cursor)
    with LaunchLibrary() as library:

        def turn() -> dict[str, str]:
            world.now += timedelta(hours=1)
            world.turn()
            library.page = world.page()
            return {"LAUNCH_LIBRARY_URL": library.upcoming_url, "NOW": iso(world.now)}

        for _ in range(3):
            killer.measure(turn())
            world.store(world.now)
        for _ in range(TIMES):
            env = turn()
            before, asked = database.tables(), len(library.requests)
            killer.kill(env)
            killer.hits["had asked"] += len(library.requests) > asked
            if database.tables() == before:
                killer.hits["before"] += 1
            else:
                killer.hits["after"] += 1
                world.store(world.now)
                assert stored_in(database) == world.tables()
            again = iso(world.now + timedelta(minutes=1))
            assert run_step("fetch", database.env("fetch") | env | {"NOW": again}).code == 0
            world.store(world.now + timedelta(minutes=1))
            assert stored_in(database) == world.tables()
    killer.report("before", "after", "had asked")


def but_for_details(tables: dict[str, Any]) -> dict[str, Any]:
    """Return tables without what the object store has."""
    return tables | {"launches": {key: (*row[:5], *row[6:]) for key, row in tables["launches"].items()}}


def test_with_a_store_every_row_has_its_object_and_the_next_check_adopts_the_others(
    database: Database, rng: random.Random, cursor: Cursor, tmp_path: Path
) -> None:
    world, killer = World(rng, START), Killer(database, "fetch", "its start", rng, cursor)
    kept_in = {"OBJECT_STORE": f"file://{tmp_path}/store"}
    store = Objects(kept_in["OBJECT_STORE"])
    with LaunchLibrary() as library:

        def turn() -> dict[str, str]:
            world.now += timedelta(hours=1)
            world.turn()
            library.page = world.page()
            return {"LAUNCH_LIBRARY_URL": library.upcoming_url, "NOW": iso(world.now)} | kept_in

        for _ in range(3):
            killer.measure(turn())
            world.store(world.now)
        for _ in range(TIMES):
            env = turn()
            rows, objects = database.query("SELECT id FROM fetches"), len(list(store.keys("launch-library/")))
            killer.kill(env)
            is_stored = database.query("SELECT id FROM fetches") != rows
            is_kept = len(list(store.keys("launch-library/"))) > objects
            killer.hits["stored" if is_stored else "kept only" if is_kept else "before"] += 1
            if is_stored:
                world.store(world.now)
            assert but_for_details(stored_in(database)) == but_for_details(world.tables())
            named = {key for (key,) in database.query("SELECT object_key FROM fetches")}
            assert named <= set(store.keys("launch-library/"))
            world.now += timedelta(minutes=1)
            assert run_step("fetch", database.env("fetch") | env | {"NOW": iso(world.now)}).code == 0
            world.store(world.now)
            assert but_for_details(stored_in(database)) == but_for_details(world.tables())
    killer.report("before", "kept only", "stored")
    kept_in["NOW"] = iso(world.now + timedelta(hours=1))
    checked = run_step("fetch", database.env("fetch") | kept_in, "--check-store", seconds=120)
    assert checked.code == 65
    assert f"{killer.hits['kept only']} had no row in fetches and have one now" in checked.last
    assert run_step("fetch", database.env("fetch") | kept_in, "--check-store", seconds=120).code == 0


def test_a_rebuild_swaps_the_tables_or_leaves_them(
    database: Database, rng: random.Random, cursor: Cursor, tmp_path: Path
) -> None:
    world, killer = World(rng, START), Killer(database, "fetch", "its start", rng, cursor)
    kept_in = {"OBJECT_STORE": f"file://{tmp_path}/store"}
    with LaunchLibrary() as library:
        for _ in range(30):
            world.now += timedelta(hours=1)
            world.turn()
            library.page = world.page()
            env = {"LAUNCH_LIBRARY_URL": library.upcoming_url, "NOW": iso(world.now)} | kept_in
            assert run_step("fetch", database.env("fetch") | env).code == 0
    right = database.tables()
    assert right["launch_changes"]
    wrong = "UPDATE rocket_launches SET name = 'Wrong ' || id; UPDATE fetches SET seen = 0"
    for number in range(TIMES + 3):
        database.query(wrong)
        before = database.tables()
        if number < 3:
            killer.measure(kept_in, "--from-store")
            continue
        killer.kill(kept_in, "--from-store")
        after = database.tables()
        assert after in (before, right)
        killer.hits["before" if after == before else "after"] += 1
    assert run_step("fetch", database.env("fetch") | kept_in, "--from-store").code == 0
    assert database.tables() == right
    killer.report("before", "after")


def test_fetch_records_a_failed_request_or_not_and_touches_no_launch(
    database: Database, rng: random.Random, cursor: Cursor
) -> None:
    world, killer = World(rng, START), Killer(database, "fetch", "its connection", rng, cursor)
    with LaunchLibrary() as library:
        library.page = world.page()
        # The token is for more than 15 requests an hour.
        env = {"LAUNCH_LIBRARY_URL": library.upcoming_url, "LAUNCH_LIBRARY_TOKEN": "t0ken", "NOW": iso(world.now)}
        assert run_step("fetch", database.env("fetch") | env).code == 0
        world.store(world.now)
        failures = [Answer(500, "<html>"), Answer(200, {}), Answer(429, {"detail": ""}, {"Retry-After": "3600"})]
        for number in range(TIMES + 3):
            fault = failures[number % 3]
            library.faults = [fault]
            if number < 3:
                killer.measure(env)
                world.fail(fault.status)
                continue
            killer.kill(env)
            after = len(database.query("SELECT 1 FROM fetches")) > len(world.fetches)
            killer.hits["after" if after else "before"] += 1
            if after:
                world.fail(fault.status)
            assert stored_in(database) == world.tables()
        library.faults = []
        assert run_step("fetch", database.env("fetch") | env).code == 0
        world.store(world.now)
        assert stored_in(database) == world.tables()
    killer.report("before", "after")


def schema(database: Database) -> list[str]:
    """Return the schema with its owners and rights as pg_dump writes it, and its revision."""
    server = database.server
    program = [str(server._server.bin_path / "pg_dump"), "-h", str(server._data), "-p", str(server.port)]
    command = [*program, "-U", "postgres", "--schema-only", database.name]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if "restrict " not in line]  # a token, new each time
    return lines + [number for (number,) in database.query("SELECT version_num FROM alembic_version")]


def kept(database: Database) -> list[Any]:
    """Return what a revision must keep of another's launches."""
    if not database.query("SELECT 1 FROM pg_tables WHERE tablename = 'rocket_launches'"):
        return []
    return database.query("SELECT id, launch_id, name, net::timestamp, details::jsonb FROM rocket_launches ORDER BY id")


@both
def test_init_schema_moves_all_the_way_or_not_at_all(
    empty_database: Database, rng: random.Random, cursor: Cursor, since: str
) -> None:
    database, killer, schemas = empty_database, Killer(empty_database, "init_schema", since, rng, cursor), {}
    assert database.run("init_schema").code == 0  # on the way back it leaves Alembic's own table, empty
    ways = ["base", "head", "0001", "head"]
    for to in ways:
        killer.measure({}, "--to", to)
        schemas[to] = schema(database)
    rows: list[Any] = []
    for here, to in itertools.islice(itertools.pairwise(itertools.cycle(["head", *ways])), TIMES):
        if here == "head" and not rows:
            database.query(
                "INSERT INTO rocket_launches (launch_id, name, net, details) SELECT n, 'Kestrel ' || n, now(), '[1]' "
                "FROM generate_series(1, 30) AS n"
            )
            rows = kept(database)
        killer.kill({}, "--to", to)
        now, after = (schema(database), kept(database)), (schemas[to], [] if to == "base" else rows)
        killer.hits["before" if now == (schemas[here], rows) else "after"] += 1
        assert now in ((schemas[here], rows), after)
        assert database.run("init_schema", "--to", to).code == 0
        assert (schema(database), kept(database)) == after
        rows = after[1]
    killer.report("before", "after")


@pytest.fixture
def discord() -> Iterator[SlowDiscord]:
    with SlowDiscord() as standin:
        standin.delay = 0.05  # as far away as the real one
        yield standin


class Course:
    """Launches to tell of, one after the other, each the next when its time comes."""

    def __init__(self, database: Database, discord: SlowDiscord) -> None:
        self.database, self.discord = database, discord
        self.now, self.name, self.kind = START, "", ""

    def add(self) -> None:
        """Store a launch, which is the next."""
        self.now += timedelta(days=1)
        self.name, self.kind = f"Kestrel at {iso(self.now)}", "announced"
        self.database.query(
            "INSERT INTO rocket_launches (launch_id, name, net, net_precision, status, details, last_seen_at) "
            "VALUES (%s, %s, %s, 'minute', 'Go', '{}', %s)",
            *(self.name, self.name, self.now + timedelta(hours=5), self.now),
        )

    def add_with(self, kind: str) -> None:
        """Store a launch of which a message of this kind is due, and no other."""
        self.add()
        self.kind = kind
        if kind != "announced":
            self.until_quiet()
        match kind:
            case "reminder":
                self.now += timedelta(hours=4.5)
            case "slipped":
                self.now += timedelta(hours=1)
                self.change("net", self.now + timedelta(hours=7))
            case "outcome":
                self.now += timedelta(hours=6)
                self.change("status", "Success")

    def change(self, field: str, value: object) -> None:
        """Change the launch as fetch does."""
        ((before,),) = self.database.query(f"SELECT {field} FROM rocket_launches WHERE launch_id = %s", self.name)
        self.database.query(f"UPDATE rocket_launches SET {field} = %s WHERE launch_id = %s", value, self.name)
        old, new = (iso(one) if isinstance(one, datetime) else one for one in (before, value))
        self.database.query(
            "INSERT INTO launch_changes (launch_id, field, old_value, new_value, seen_at) VALUES (%s, %s, %s, %s, %s)",
            *(self.name, field, old, new, self.now),
        )

    @property
    def env(self) -> dict[str, str]:
        return {"DISCORD_WEBHOOK_URL": self.discord.webhook_url, "NOW": iso(self.now)}

    def messages(self) -> int:
        """Count the launch's messages of the kind."""
        return sum(
            first_line(message).startswith(self.name) and kind_of(message) == self.kind
            for message in self.discord.messages
        )

    def until_quiet(self) -> list[str]:
        """Run the step until there is nothing more to say; return what it logged."""
        lines = []
        for _ in range(3):
            result = run_step("notify", self.database.env("notify") | self.env)
            lines += result.lines
            if result.code == 99:
                return lines
            assert result.code == 0, result
        raise AssertionError(lines)

    def known(self) -> str:
        """Return what the database knows about the launch's message of the kind."""
        statement = "SELECT message_id, attempted_at FROM notifications WHERE launch_id = %s AND kind = %s"
        match self.database.query(statement, self.name, self.kind):
            case []:
                return "nothing"
            case [(str(message_id), None)]:
                assert message_id in [message.id for message in self.discord.messages]
                return "posted"
            case [(None, datetime())]:
                return "attempted"
        raise AssertionError("no such state")


@both
def test_notify_posts_a_second_message_only_where_an_answer_was_lost_and_says_so(
    database: Database, discord: SlowDiscord, rng: random.Random, cursor: Cursor, since: str
) -> None:
    killer, launch = Killer(database, "notify", since, rng, cursor), Course(database, discord)
    for _ in range(3):
        launch.add()
        killer.measure(launch.env)
    for _ in range(TIMES):
        launch.add_with(rng.choice(KINDS))
        before = len(discord.messages)
        killer.kill(launch.env)
        arrived, known = launch.messages(), launch.known()
        killer.hits[launch.kind] += 1
        killer.hits[f"{known} with {arrived} sent"] += 1
        assert (known, arrived) in (("nothing", 0), ("attempted", 0), ("attempted", 1), ("posted", 1))
        lines = launch.until_quiet()
        assert launch.known() == "posted"
        assert launch.messages() == (2 if (known, arrived) == ("attempted", 1) else 1), (known, arrived)
        assert len(discord.messages) == before + launch.messages()
        said = [line for line in lines if TWICE in line]
        assert len(said) == (known == "attempted"), lines
        assert all(launch.name in line for line in said)
    killer.report("attempted with 1 sent", "posted with 1 sent", *KINDS)


def test_notify_edits_and_never_posts_again_for_that(
    database: Database, discord: SlowDiscord, rng: random.Random, cursor: Cursor
) -> None:
    killer, launch = Killer(database, "notify", "its connection", rng, cursor), Course(database, discord)
    launch.add()
    launch.until_quiet()
    for number in range(TIMES + 3):
        name = f"Kestrel {number}"
        database.query("UPDATE rocket_launches SET name = %s", name)
        if number < 3:
            killer.measure(launch.env)
            continue
        edits = discord.messages[0].edits
        killer.kill(launch.env)
        done = database.query("SELECT 1 FROM notifications WHERE facts#>>'{embeds,0,title}' = %s", name)
        arrived = discord.messages[0].edits - edits
        killer.hits[f"{'recorded' if done else 'before the record'} with {arrived} sent"] += 1
        assert arrived == 1 or not done
        launch.until_quiet()
        (message,) = discord.messages
        assert message.body["embeds"][0]["title"] == name
        assert message.edits - edits == (1 if done else arrived + 1)
    killer.report("before the record with 1 sent", "recorded with 1 sent")


@pytest.mark.parametrize("window", ["before the answer", "before the answer is recorded"])
@pytest.mark.parametrize("kind", KINDS)
def test_notify_killed_in_the_very_window_is_honest_and_posts_again(
    database: Database, discord: SlowDiscord, kind: str, window: str
) -> None:
    launch = Course(database, discord)
    launch.add_with(kind)
    discord.delay = 0.5
    environment = database.env("notify") | {"PATH": os.environ["PATH"]} | launch.env
    with (
        subprocess.Popen([sys.executable, "-m", "notify"], cwd=ROOT / "tasks", env=environment) as process,
        contextlib.closing(database.server.superuser(database.name)) as another,
    ):
        until(launch.messages)
        if window == "before the answer is recorded":
            another.cursor().execute("LOCK TABLE notifications IN EXCLUSIVE MODE")
            waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock'"
            until(lambda: database.query(waiting, database.name))
        process.kill()
    assert (launch.known(), launch.messages()) == ("attempted", 1)
    said = [line for line in launch.until_quiet() if TWICE in line]
    assert len(said) == 1
    assert launch.name in said[0]
    assert (launch.known(), launch.messages()) == ("posted", 2)


# crawl_launch_pages, whose requests are five seconds apart otherwise.
HURRIED = """
import sys, step
from crawl import __main__, polite
polite.APART = 0.01
sys.exit(step.main(__main__.run))
"""


def test_a_crawl_keeps_an_object_with_its_row_and_asks_for_nothing_twice_a_day(
    database: Database, rng: random.Random, cursor: Cursor, tmp_path: Path
) -> None:
    killer = Killer(database, "crawl", "its start", rng, cursor, HURRIED)
    store = Objects(f"file://{tmp_path}/store")
    site = Site("127.0.0.2")
    paths = [f"/{number}" for number in range(8)]
    links = [{"url": site.origin + path} for path in paths]
    database.query(
        "INSERT INTO rocket_launches (launch_id, name, details) VALUES ('a', 'A', %s)", json.dumps({"info_urls": links})
    )

    def day(number: int) -> dict[str, str]:
        """Begin a day, on which every page is another; return the environment of its runs."""
        for path in paths:
            site.says(path, f"<title>{path} on day {number}</title>")
        now = START + timedelta(days=3 * number)
        database.query("UPDATE rocket_launches SET net = %s; UPDATE launch_links SET next_at = %s", now, now)
        site.asked.clear()
        settings = {"CRAWL_CONTACT": "crawl@example.org", "CRAWL_NETWORKS": "127.0.0.0/8", "OBJECT_STORE": store.url}
        return settings | {"NOW": iso(now)}

    def kept() -> dict[str, str]:
        """Return the title that each page's row has, once its object is what the row says."""
        rows = database.query("SELECT url, title, object_key, sha256 FROM launch_links WHERE object_key IS NOT NULL")
        for _, _, key, digest in rows:
            assert hashlib.sha256(store.get(key)[0]).hexdigest() == digest
        return {url.removeprefix(site.origin): title for url, title, *_ in rows}

    try:
        for number in range(3):
            killer.measure(day(number))
        for number in range(3, 3 + TIMES):
            env = day(number)
            killer.kill(env)
            new = {path for path, title in kept().items() if title.endswith(f" {number}")}
            asked = {path for path, _ in site.asked} - {"/robots.txt"}
            killer.hits["all" if len(new) == len(paths) else "some" if new else "none"] += 1
            killer.hits["asked for, without a row"] += bool(asked - new)
            assert len(asked - new) <= 1
            assert new <= asked
            later = iso(datetime.fromisoformat(env["NOW"]) + timedelta(hours=1))
            killer.run(env | {"NOW": later})
            assert Counter(path for path, _ in site.asked if path != "/robots.txt").most_common(1)[0][1] == 1
            there = {hashlib.sha256(f"<title>{path} on day {number}</title>".encode()).hexdigest() for path in paths}
            in_rows = {digest for (digest,) in database.query("SELECT sha256 FROM launch_links")}
            assert {key.rpartition("/")[2] for key in store.keys("crawled/")} & there <= in_rows
            missing = {path for path, title in kept().items() if not title.endswith(f" {number}")}
            killer.hits["adopted"] += len(asked - new) - len(missing)
            assert missing <= asked - new
    finally:
        site.server.stop()
    killer.report("none", "some", "all", "asked for, without a row")


@pytest.mark.parametrize("is_first", [False, True], ids=["a later version", "the first version"])
def test_a_reader_never_sees_a_page_that_names_what_is_not_there(
    database: Database, rng: random.Random, cursor: Cursor, tmp_path: Path, *, is_first: bool
) -> None:
    killer, launches = Killer(database, "publish", "its connection", rng, cursor), Launches(database)
    store, site = Objects(f"file://{tmp_path}/store"), Published(tmp_path / "store" / "public")
    slipping = launches.add()

    def version(number: int) -> dict[str, str]:
        """Make a version that differs in all that there is; return the environment of its run."""
        now = START + timedelta(hours=number)
        if is_first:
            shutil.rmtree(site.folder, ignore_errors=True)
            database.query("TRUNCATE published_launches, published_files")
        launches.change(slipping, now, net=now + timedelta(days=2))
        provider = {"launch_service_provider": {"name": f"Provider {number}"}}
        new = launches.add(f"Version {number}", now + timedelta(days=1), last_seen_at=now, details=provider)
        launches.picture(new, store, f"picture {number}".encode())
        database.query("UPDATE rocket_launches SET last_seen_at = %s", now)
        return {"NOW": iso(now), "OBJECT_STORE": store.url, "PUBLIC_URL": ADDRESS}

    for number in range(3):
        killer.measure(version(number))
        site.assert_whole()
    for number in range(3, 3 + TIMES // 2):
        env = version(number)
        killer.kill(env)
        site.assert_whole()
        index = site.folder / "index.html"
        is_there = index.exists() and f"Version {number}" in index.read_text(encoding="utf-8")
        begun = any(f"Version {number}" in path.read_text(encoding="utf-8") for path in site.folder.rglob("*.html"))
        killer.hits["all" if is_there else "some" if begun else "none"] += 1
        if number % 5 == 0:
            killer.run(env)
            site.assert_whole()
            assert f"Version {number}" in site.text()
    killer.report("none", "some", "all")


# As the program is, but for transactions so small that three fetches take three.
SMALL = "import sys, step; from stream import __main__ as stream; stream.BATCH = 1; sys.exit(step.main(stream.run))"


def test_a_stream_has_each_change_once_and_never_half_a_fetch(
    database: Database, rng: random.Random, cursor: Cursor, kafka: Kafka
) -> None:
    killer, launches, topics = (
        Killer(database, "stream", "its start", rng, cursor, SMALL),
        Launches(database),
        Topics(kafka),
    )
    topics.delete(LAUNCHES, CHANGES)
    some = [launches.add() for _ in range(5)]
    start = datetime.now(UTC) - timedelta(days=10)
    fetches, env = itertools.count(), kafka.env()
    total = 0

    def fetch_thrice() -> None:
        """Let three fetches change five launches each, and one find a new one."""
        nonlocal total
        for number in itertools.islice(fetches, 3):
            for one in some:
                launches.change(one, start + timedelta(minutes=number), status=f"Hold {number}")
            total += len(some)
        launches.add()

    for _ in range(3):
        fetch_thrice()
        killer.measure(env)
    for _ in range(TIMES):
        before = total
        fetch_thrice()
        killer.kill(env)
        seen = len(topics.changes())
        assert seen % len(some) == 0
        killer.hits["none" if seen == before else "all" if seen == total else "some"] += 1
        assert before <= seen <= total
        killer.run(env)
        topics.assert_equal(database)
    killer.report("none", "some", "all")


# As the program is, but each document takes a request of its own, and the mapping's version is given.
SINGLY = """
import os, sys, step
from index import __main__ as index
index.LARGEST, index.VERSION = 1, int(os.environ["VERSION"])
index.INDEX = f"launches-{index.VERSION}"
sys.exit(step.main(index.run))
"""


@pytest.fixture
def index(opensearch: OpenSearch) -> Index:
    """The index, which is not there yet."""
    opensearch.delete()
    return Index(opensearch)


class Changing:
    """Launches of which some change, one goes and one comes, each time."""

    def __init__(self, database: Database) -> None:
        self._database, self._launches, self._number = database, Launches(database), 0
        self._same = [self._launches.add() for _ in range(4)]

    def turn(self) -> dict[str, dict[str, Any]]:
        """Let them change; return what their documents have to say."""
        self._number += 1
        coming, going = ("odd", "even") if self._number % 2 else ("even", "odd")
        self._database.query("DELETE FROM rocket_launches WHERE launch_id = %s", going)
        self._launches.add(f"Kestrel {self._number}", launch_id=coming)
        for one in self._same[1:]:
            slipped = START + timedelta(hours=self._number)
            self._launches.change(one, START, name=f"Kestrel {self._number}", net=slipped)
        return expected(self._database)


def test_an_index_never_has_half_a_launch_or_an_older_one(
    database: Database, rng: random.Random, cursor: Cursor, index: Index
) -> None:
    killer, launches = Killer(database, "index", "its connection", rng, cursor, SINGLY), Changing(database)
    env = index.server.env() | {"VERSION": "1"}
    versions: list[dict[str, dict[str, Any]]] = []
    for _ in range(3):
        versions.append(launches.turn())
        killer.measure(env)
        index.assert_equal(database)
    seen = dict.fromkeys(versions[-1], 0)
    versions = versions[-1:]
    for _ in range(TIMES):
        versions.append(launches.turn())
        killer.kill(env)
        assert index.names() == {"launches-1": ["launches"]}
        found = index.documents()
        for launch_id in {*found, *seen, *versions[-1]}:
            # Each is as it was in one of the versions, and in none before that of the last time.
            having = [at for at, version in enumerate(versions) if version.get(launch_id) == found.get(launch_id)]
            later = [at for at in having if at >= seen.get(launch_id, 0)]
            assert later, (launch_id, found.get(launch_id), having)
            seen[launch_id] = later[0]
        killer.hits["all" if found == versions[-1] else "none" if found in versions else "some"] += 1
        if rng.random() < 0.5:
            killer.run(env)
            index.assert_equal(database)
            versions, seen = versions[-1:], dict.fromkeys(versions[-1], 0)
    killer.report("none", "some", "all")


def read(index: Index, name: str = "launches") -> dict[str, dict[str, Any]]:
    """Return what readers see, who ask again as `make search` does: a search fails whose index comes or goes then."""
    end = time.monotonic() + 10
    while True:
        try:
            return index.documents(name)
        except HTTPError as error:
            if error.response.status_code != 503 or time.monotonic() > end:
                raise


def test_readers_have_the_old_index_or_the_new_one_whole(
    database: Database, rng: random.Random, cursor: Cursor, index: Index
) -> None:
    """While the index of a new mapping is built beside the old one."""
    # Another completes: that is less work, and says nothing of how long the whole takes.
    killer, completing = (Killer(database, "index", "its connection", rng, cursor, SINGLY) for _ in range(2))
    launches = Changing(database)
    for number in range(TIMES + 13):
        old, new = (f"launches-{1 + (number + ahead) % 2}" for ahead in range(2))
        before = read(index) if number else {}
        after = launches.turn()
        env = index.server.env() | {"VERSION": new.rpartition("-")[2]}
        if number < 3:
            killer.measure(env)
            index.assert_equal(database)
            continue
        if number % 10 == 0:
            killer.run(env)
            continue
        killer.kill(env)
        found, names = read(index), index.names()  # the alias can move between the two
        assert found in (before, after)
        if names.get(new):
            killer.hits["new"] += 1
            assert names == {new: ["launches"]}
        else:
            killer.hits["old, and some of the new" if new in names and read(index, new) else "old"] += 1
            assert names[old] == ["launches"]
            assert found == before
        launches.turn()
        completing.run(env)
        assert index.names() == {new: ["launches"]}
        index.assert_equal(database)
    killer.report("old", "old, and some of the new", "new")
