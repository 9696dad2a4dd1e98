"""publish_launches against a real PostgreSQL and a folder as the object store: what its tests share."""

import hashlib
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import pytest
from selectolax.lexbor import LexborHTMLParser

import objects
import step
from objects import Objects
from publish import __main__ as program
from tests.conftest import Database, Result, run_in_process

NOW = datetime(2031, 1, 1, tzinfo=UTC)
TOMORROW = NOW + timedelta(days=1)
ADDRESS = "https://launches.example.org"
ISO = "%Y-%m-%dT%H:%M:%SZ"
DETAILS = {
    "launch_service_provider": {"name": "Falcon Works"},
    "rocket": {"configuration": {"full_name": "Kestrel 2"}},
    "pad": {"name": "Pad 1", "latitude": "5.2", "longitude": "-52.8", "location": {"name": "Kourou"}},
    "mission": {"name": "Sparrow", "type": "Communications", "description": "It brings a sparrow into orbit."},
    "image": {"name": "A kestrel", "credit": "A. Painter"},
    "vid_urls": [{"url": "https://video.example.org/1", "type": {"name": "Official Webcast"}}],
    "updates": [{"created_on": "2030-12-31T10:00:00Z", "comment": "Weather is fine."}],
}
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x05\0\0\0\x02\xd0\x08\x06\0\0\0\0\0\0\0"

Publish = Callable[..., Result]


class Launches:
    """Launches as fetch_and_store_data stores them, without a store."""

    def __init__(self, database: Database) -> None:
        self._database, self._number = database, 0

    def add(self, name: str = "Kestrel 2 | Sparrow", net: datetime | None = TOMORROW, **columns: object) -> str:
        """Store a launch that was first seen a month ago, and return its id."""
        self._number += 1
        row: dict[str, object] = {
            "launch_id": f"00000000-0000-4000-8000-{self._number:012}",
            "name": name,
            "net": net,
            "net_precision": "minute",
            "status": "Go",
            "first_seen_at": NOW - timedelta(days=30),
            "last_seen_at": NOW,
            "details": DETAILS,
        } | columns
        row["details"] = json.dumps(row["details"])
        places = ", ".join(len(row) * ["%s"])
        self._database.query(f"INSERT INTO rocket_launches ({', '.join(row)}) VALUES ({places})", *row.values())
        return str(row["launch_id"])

    def change(self, launch_id: str, at: datetime = NOW, **columns: object) -> None:
        """Change a launch, and note it down as fetch_and_store_data does."""
        for field, value in columns.items():
            [(old,)] = self._database.query(f"SELECT {field} FROM rocket_launches WHERE launch_id = %s", launch_id)
            texts = [f"{one:{ISO}}" if isinstance(one, datetime) else one for one in (old, value)]
            self._database.query(
                "INSERT INTO launch_changes (launch_id, field, old_value, new_value, seen_at)"
                " VALUES (%s, %s, %s, %s, %s)",
                *(launch_id, field, *texts, at),
            )
            self._database.query(f"UPDATE rocket_launches SET {field} = %s WHERE launch_id = %s", value, launch_id)

    def picture(self, launch_id: str, store: Objects, body: bytes = PNG) -> str:
        """Keep a picture as crawl_launch_pages does, and return its digest."""
        sha256 = hashlib.sha256(body).hexdigest()
        store.put(f"crawled/{sha256}", body, {})
        self._database.query(
            "INSERT INTO launch_links (launch_id, url, kind, first_seen_at, fetched_at, status, object_key, sha256,"
            " type, bytes, width, height) VALUES (%s, %s, 'image', now(), now(), 200, %s, %s, 'image/png', %s,"
            " 1280, 720)",
            *(launch_id, f"https://example.org/{sha256}", f"crawled/{sha256}", sha256, len(body)),
        )
        return sha256


class Site:
    """What a reader finds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def text(self, path: str = "index.html") -> str:
        return (self.folder / path).read_text(encoding="utf-8")

    def page(self, path: str = "index.html") -> LexborHTMLParser:
        return LexborHTMLParser(self.text(path))

    def files(self) -> dict[str, tuple[int, bytes]]:
        """Return each file's time and content, by its path."""
        found = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return {
            path.relative_to(self.folder).as_posix(): (path.stat().st_mtime_ns, path.read_bytes()) for path in found
        }

    def assert_whole(self) -> None:
        """Every page that is there names only what is there."""
        for path in self.files():
            if path.endswith(".html"):
                for name in names(self.page(path)):
                    target = urlsplit(urljoin(path, name)).path
                    assert (self.folder / target).is_file(), f"{path} names {name}"
            elif path.endswith((".xml", ".json", ".ics")):
                words = (
                    (self.folder / path)
                    .read_bytes()
                    .decode()
                    .replace("\r\n ", "")
                    .replace('"', " ")
                    .replace("<", " ")
                    .split()
                )
                for word in words:
                    address = word.removeprefix("URL:").removeprefix("DESCRIPTION:")
                    if address.startswith(f"{ADDRESS}/"):
                        target = address.removeprefix(f"{ADDRESS}/")
                        assert (self.folder / target).is_file() or target == "index.html", f"{path} names {target}"


def names(page: LexborHTMLParser) -> list[str]:
    """Return what a page of ours names, but for what is elsewhere."""
    found = [node.attributes.get("href") or node.attributes.get("src") or "" for node in page.css("[href], [src]")]
    return [name for name in found if not name.startswith(("https://", "http://", "#"))]


def compressed(text: str) -> bytes:
    """Return a text as an object that the store has."""
    body = io.BytesIO()
    with objects.compressor(body) as file:
        file.write(text.encode())
    return body.getvalue()


@pytest.fixture(scope="module")
def one_database(new_database: Callable[..., Database]) -> Database:
    return new_database()


@pytest.fixture
def database(one_database: Database) -> Database:
    """A database with the schema and nothing in it."""
    one_database.query(
        "TRUNCATE rocket_launches, launch_links, published_launches, published_files RESTART IDENTITY CASCADE"
    )
    return one_database


@pytest.fixture
def launches(database: Database) -> Launches:
    return Launches(database)


@pytest.fixture
def store(tmp_path: Path) -> Objects:
    return Objects(f"file://{tmp_path}/store")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "store" / "public")


@pytest.fixture
def publish(database: Database, store: Objects) -> Publish:
    """Run the step in this process; `after` is the time since the first run."""

    def run(after: timedelta = timedelta(), **env: str) -> Result:
        settings = {
            "DATABASE_WAIT_SECONDS": "1",
            "NOW": (NOW + after).isoformat(),
            "OBJECT_STORE": store.url,
            "PUBLIC_URL": ADDRESS,
        }
        return run_in_process(partial(step.main, program.run), database.env("publish") | settings | env)

    return run
