"""What every layer uses: a real PostgreSQL, fresh databases in it, and the steps as the programs that they are."""

import contextlib
import io
import itertools
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from standins.kafka import PROGRAMS, Kafka
from standins.opensearch import OpenSearch
from standins.postgres import ROLES, Postgres

ROOT = Path(__file__).parent.parent
RECORDED_PAGES = os.environ.get("RECORDED_PAGES")

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER_OPTIONS = [
    "--no-sandbox",  # this may run as root
    "--disable-gpu",
    # Nothing of its own over the network.
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_configure() -> None:
    if RECORDED_PAGES and not Path(RECORDED_PAGES).is_dir():
        raise pytest.UsageError(f"RECORDED_PAGES={RECORDED_PAGES} is not a folder: name the one with the pages.")


def pytest_report_header() -> str | None:
    return None if RECORDED_PAGES else "tests on recorded pages: left out; RECORDED_PAGES=FOLDER adds them"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs recorded pages where there are none."""
    left_out = [item for item in items if not RECORDED_PAGES and "recorded" in getattr(item, "fixturenames", ())]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)


@dataclass
class Result:
    """How a step ended: its exit code and its log lines, without their times."""

    code: int
    lines: list[str]

    @property
    def last(self) -> str:
        return self.lines[-1]


def run_step(name: str, env: dict[str, str], *arguments: str, seconds: float = 60) -> Result:
    """Run a step as its image does, with no other environment than what is given."""
    process = subprocess.run(
        [sys.executable, "-W", "error", "-m", name, *arguments],
        cwd=ROOT / "tasks",
        env={"PATH": os.environ["PATH"]} | env,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert not process.stderr, process.stderr
    return Result(process.returncode, [line.partition(" ")[2] for line in process.stdout.splitlines()])


def run_in_process(main: Callable[[], int], env: dict[str, str]) -> Result:
    """Do what `run_step` does in this process: faster by the start of a Python, and its limits can be shortened."""
    output, root, handler = io.StringIO(), logging.getLogger(), signal.getsignal(signal.SIGTERM)
    with (
        contextlib.redirect_stdout(output),
        mock.patch.dict(os.environ, env, clear=True),
        mock.patch.object(root, "handlers", []),
        mock.patch.object(root, "level", root.level),
        mock.patch.object(logging.getLogger("werkzeug"), "disabled", new=True),
    ):
        try:
            code = main()
        finally:
            signal.signal(signal.SIGTERM, handler)
    return Result(code, [line.partition(" ")[2] for line in output.getvalue().splitlines()])


@contextlib.contextmanager
def started(name: str, env: dict[str, str], code: str = "") -> Iterator["subprocess.Popen[str]"]:
    """Start a step as `run_step` does, or this code in its place; it is gone at the end."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", *(("-c", code) if code else ("-m", name))],
        cwd=ROOT / "tasks",
        env={"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1"} | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def assert_stops(process: "subprocess.Popen[str]") -> None:
    """SIGTERM, which was sent, ends the step soon, with a sentence."""
    began = time.monotonic()
    output, _ = process.communicate(timeout=20)
    assert time.monotonic() - began < 5
    assert process.returncode == 143, output
    assert output.endswith("ERROR Stopped by SIGTERM: what was not committed is undone. Run the step again.\n")


class Database:
    """A database of its own for one test."""

    def __init__(self, server: Postgres, name: str) -> None:
        self.server, self.name = server, name

    def env(self, step: str) -> dict[str, str]:
        return self.server.env(ROLES[step], self.name)

    def run(self, step: str, *arguments: str, seconds: float = 60, **env: str) -> Result:
        """Run a step on this database, as its own role; it waits a second at most for a connection."""
        always = self.env(step) | {"DATABASE_WAIT_SECONDS": "1"}
        return run_step(step, always | env, *arguments, seconds=seconds)

    def query(self, statement: str, *parameters: object) -> list[Any]:
        """Run a statement as the superuser; return its rows, if it has any."""
        connection = self.server.superuser(self.name)
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute("SET timezone = 'UTC'")
                cursor.execute(statement, parameters)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def tables(self) -> dict[str, list[Any]]:
        """Return all that the steps have stored, to compare before and after."""
        names = ("rocket_launches", "launch_changes", "fetches", "notifications")
        return {name: self.query(f"SELECT * FROM {name} ORDER BY id") for name in names}


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser's path."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not found:
        pytest.skip("no Chromium here: apt-get install chromium")
    return found


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A server for the whole run."""
    with Postgres() as server:
        yield server


@pytest.fixture(scope="session")
def kafka() -> Iterator[Kafka]:
    """A broker for the whole run."""
    if missing := [program for program in PROGRAMS if not shutil.which(program)]:
        pytest.skip(f"Kafka needs Java, and no {missing[0]} is here: apt-get install default-jre-headless maven")
    with Kafka() as broker:
        yield broker


@pytest.fixture(scope="session")
def opensearch() -> Iterator[OpenSearch]:
    """A search server for the whole run."""
    if not shutil.which("mvn"):
        pytest.skip("OpenSearch is fetched by Maven, and no mvn is here: apt-get install maven")
    with OpenSearch() as server:
        yield server


@pytest.fixture(scope="session")
def new_database(postgres: Postgres) -> Callable[..., Database]:
    """Make databases: empty, or with the schema."""
    postgres.create_database("migrated")
    assert Database(postgres, "migrated").run("init_schema").code == 0
    numbers = itertools.count(1)

    def make(*, empty: bool = False) -> Database:
        name = f"test_{next(numbers)}"
        postgres.create_database(name, template="template1" if empty else "migrated")
        return Database(postgres, name)

    return make


@pytest.fixture
def database(new_database: Callable[..., Database]) -> Database:
    """A database with the schema."""
    return new_database()


@pytest.fixture
def empty_database(new_database: Callable[..., Database]) -> Database:
    """A database with nothing in it."""
    return new_database(empty=True)


@pytest.fixture(scope="session")
def recorded() -> Path:
    """Real answers of the Launch Library, which are not part of this repository."""
    assert RECORDED_PAGES
    return Path(RECORDED_PAGES)
