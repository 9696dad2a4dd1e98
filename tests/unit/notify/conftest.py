"""notify_discord as a program, against a real PostgreSQL and a stand-in for Discord: what its tests share."""

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from standins.discord import TOKEN, WEBHOOK_ID, Discord
from standins.postgres import Postgres
from standins.server import Answer, Request
from tests.conftest import Database, Result, run_step, started
from tests.unit import raw_server as raw

NOW = "2026-11-24T07:00:00Z"
EARLIER = "2026-11-24T06:00:00Z"
SOON, LATER, LAST = "2026-11-25T12:00:00Z", "2026-11-26T12:00:00Z", "2026-11-27T12:00:00Z"

KEY = "0f1e-heartbeat-key"
TWICE = "did not learn if it arrived: it may now be there twice"


HOSTILE = "x\n2026-11-24T07:00:00Z INFO forged\r\x1b[2J\x9b31m\u2028\u2029\x85\x0b\u202e\0\x7f @everyone"
REFUSED = {
    "400 50035": (Answer(400, {"message": "Invalid Form Body", "code": 50035, "errors": {}}), 65, "Invalid Form Body"),
    "401 50027": (Answer(401, {"message": "Invalid Webhook Token", "code": 50027}), 78, "set DISCORD_WEBHOOK_URL"),
    "404 10015": (Answer(404, {"message": "Unknown Webhook", "code": 10015}), 78, "set DISCORD_WEBHOOK_URL"),
    "404 of a web page": (Answer(404, "<html>not here</html>"), 78, "set DISCORD_WEBHOOK_URL"),
    "403": (Answer(403, {"message": "Missing Access", "code": 50001}), 78, "set DISCORD_WEBHOOK_URL"),
    "an echo": (Answer(400, {"message": f"no {TOKEN}", "code": 0}), 65, "no …"),
    "a code that is none": (Answer(400, {"code": "x"}), 65, "HTTP 400"),
    "moved for good": (Answer(301, None, {"Location": "http://127.0.0.1:1/"}), 78, "The webhook has moved"),
    "moved": (Answer(307, None, {"Location": "http://127.0.0.1:1/"}), 78, "The webhook has moved"),
    "moved for good, and to stay a POST": (Answer(308, None, {"Location": "/elsewhere"}), 78, "The webhook has moved"),
}


class Watched(Discord):
    """Calls somebody when a message is saved and its answer not yet sent."""

    def __init__(self) -> None:
        self.when_saved: Callable[[], object] | None = None
        super().__init__()

    def post(self, request: Request) -> Answer:
        answer = super().post(request)
        if self.when_saved:
            call, self.when_saved = self.when_saved, None
            call()
        return answer

    def count(self, method: str) -> int:
        return sum(request.method == method for request in self.requests)

    def titles(self) -> list[str]:
        """Return the titles of the announcements, which no other kind of message has."""
        return [title for message in self.messages if (title := message.body["embeds"][0].get("title"))]


@pytest.fixture
def discord() -> Iterator[Watched]:
    with Watched() as standin:
        yield standin


@pytest.fixture(scope="module")
def scratch(new_database: Callable[..., Database]) -> Database:
    return new_database()


@pytest.fixture
def database(scratch: Database) -> Database:
    """The same database each time, emptied, since making one takes longer than most tests here."""
    scratch.query("TRUNCATE rocket_launches, launch_changes, fetches, notifications RESTART IDENTITY")
    return scratch


@pytest.fixture(scope="module")
def own_server() -> Iterator[Postgres]:
    """A server that may be stopped."""
    with Postgres() as server:
        assert Database(server, "launches").run("init_schema").code == 0
        yield server


def add(database: Database, launch_id: str, net: str | None, **columns: str | None) -> None:
    """Store a launch, seen now, to be launched at a minute that is known."""
    row: dict[str, str | None] = {
        "launch_id": launch_id,
        "name": launch_id,
        "net": net,
        "net_precision": "minute",
        "status": "Go",
        "image_url": f"https://example.org/{launch_id}.png",
        "details": "{}",
        "first_seen_at": EARLIER,
        "last_seen_at": NOW,
    } | columns
    places = ", ".join(len(row) * ["%s"])
    database.query(f"INSERT INTO rocket_launches ({', '.join(row)}) VALUES ({places})", *row.values())


def change(database: Database, launch_id: str, **columns: str | None) -> None:
    for column, value in columns.items():
        database.query(f"UPDATE rocket_launches SET {column} = %s WHERE launch_id = %s", value, launch_id)


def run(database: Database, url: str | None, **env: str) -> Result:
    """Run the step, and assert what holds for every run: one line a record, and no secret in any."""
    environment = database.env("notify") | {"DATABASE_WAIT_SECONDS": "1", "NOW": NOW} | env
    result = run_step("notify", environment | ({} if url is None else {"DISCORD_WEBHOOK_URL": url}))
    assert_tells_no_secret(result.lines, environment)
    return result


def assert_tells_no_secret(lines: list[str], environment: dict[str, str]) -> None:
    for line in lines:
        assert line.startswith(("INFO ", "WARNING ", "ERROR "))
        assert TOKEN not in line
        assert KEY not in line
        assert environment["PGPASSWORD"] not in line


def running(database: Database, url: str) -> contextlib.AbstractContextManager[subprocess.Popen[str]]:
    """The step, while it runs."""
    return started("notify", database.env("notify") | {"NOW": NOW, "DISCORD_WEBHOOK_URL": url})


raw_server = partial(raw.raw_server, path=f"/api/webhooks/{WEBHOOK_ID}/{TOKEN}")
RESET = raw.says(b"", reset=True)
HALF = raw.says(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{")
NONSENSE = raw.says(b"SSH-2.0-OpenSSH\r\n\r\n")
MALFORMED = raw.says(b"HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


def attempted(database: Database) -> list[bool]:
    return [attempt for (attempt,) in database.query("SELECT attempted_at IS NOT NULL FROM notifications ORDER BY id")]
