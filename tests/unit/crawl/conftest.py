"""crawl_launch_pages against a real PostgreSQL and real web servers, each a site of its own: what its tests share."""

import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

import step
from crawl import __main__ as program
from crawl import polite
from objects import Objects
from tests.conftest import Database, Result, run_in_process

NOW = datetime(2031, 1, 1, tzinfo=UTC)
APART = 0.05  # seconds, in place of five
CONTACT = "crawl@example.org"
HTML = "text/html; charset=utf-8"

Crawl = Callable[..., Result]
Links = Callable[..., None]


class Site:
    """A web server with an address of its own, and what it was asked: each path, and when."""

    def __init__(self, host: str) -> None:
        self.server = HTTPServer(host=host, port=0)
        self.pages: dict[str, Callable[[Request], Response]] = {}
        self.asked: list[tuple[str, float]] = []
        self.requests: list[Request] = []
        self.server.expect_request(re.compile(".*")).respond_with_handler(self._answer)
        self.server.start()
        self.origin = f"http://{host}:{self.server.port}"

    def _answer(self, request: Request) -> Response:
        self.asked.append((request.full_path.rstrip("?"), time.monotonic()))
        self.requests.append(request)
        page = self.pages.get(request.full_path.rstrip("?"))
        return page(request) if page else Response("Not found", 404)

    def says(self, path: str, body: str | bytes = b"", status: int = 200, media: str = HTML, **headers: str) -> str:
        """Let it answer so, and return the address."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.pages[path] = lambda _: Response(body, status, named | {"Content-Type": media})
        return self.origin + path

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]


@pytest.fixture
def new_site() -> Iterator[Callable[[], Site]]:
    """Make sites, each with another address of this machine."""
    made: list[Site] = []

    def make() -> Site:
        made.append(Site(f"127.0.0.{len(made) + 2}"))
        return made[-1]

    yield make
    for site in made:
        site.server.stop()


@pytest.fixture
def site(new_site: Callable[[], Site]) -> Site:
    return new_site()


@pytest.fixture(scope="module")
def one_database(new_database: Callable[..., Database]) -> Database:
    return new_database()


@pytest.fixture
def database(one_database: Database) -> Database:
    """A database with the schema and nothing in it."""
    one_database.query("TRUNCATE rocket_launches, launch_links, crawled_hosts RESTART IDENTITY CASCADE")
    return one_database


@pytest.fixture
def store(tmp_path: Path) -> Objects:
    return Objects(f"file://{tmp_path}/store")


@pytest.fixture
def launch(database: Database) -> Links:
    """Store a launch that links to pages, and to what else is given."""
    numbers = iter(range(1, 1000))

    def add(*pages: str, in_days: float = 1, **details: object) -> None:
        launch_id = f"00000000-0000-4000-8000-{next(numbers):012}"
        more = {"info_urls": [{"url": url, "type": {"id": 1, "name": "Official Page"}} for url in pages]}
        database.query(
            "INSERT INTO rocket_launches (launch_id, name, net, details) VALUES (%s, 'Kestrel', %s, %s)",
            launch_id,
            NOW + timedelta(days=in_days),
            json.dumps(more | details),
        )

    return add


@pytest.fixture
def crawl(database: Database, store: Objects) -> Crawl:
    """Run the step in this process, with requests less far apart; `after` is the time since the first run."""

    def run(after: timedelta = timedelta(), apart: float = APART, **env: str) -> Result:
        settings = {
            "DATABASE_WAIT_SECONDS": "1",
            "NOW": (NOW + after).isoformat(),
            "OBJECT_STORE": store.url,
            "CRAWL_CONTACT": CONTACT,
            "CRAWL_NETWORKS": "127.0.0.0/8",
        }
        with mock.patch.object(polite, "APART", apart):
            return run_in_process(partial(step.main, program.run), database.env("crawl") | settings | env)

    return run


def links(database: Database, columns: str) -> list[Any]:
    return database.query(f"SELECT {columns} FROM launch_links ORDER BY id")
