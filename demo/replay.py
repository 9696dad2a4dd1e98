"""Replays recorded pages with a clock of ten minutes a step, and prints what was told when.

`make replay PAGES=…` takes a folder of pages named by their time, such as 20250503T191502Z.json, or an archive of them.
At each step only the page of that moment is known. The steps run in this process, which is much faster than the DAG's
pods of `make demo PAGES=…`, and as often as the advised SCHEDULE runs them.
"""

import contextlib
import json
import logging
import os
import statistics
import sys
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import fetch.__main__
import notify.__main__
from standins.discord import Discord
from standins.launch_library import UPCOMING, LaunchLibrary
from standins.postgres import ROLES, Postgres
from standins.server import Answer, Request
from step import NOTHING_TO_SAY, Failure

STEP = timedelta(minutes=10)  # the advised SCHEDULE
MOST = timedelta(hours=1)

TOLD = """
    SELECT n.kind, n.launch_id, n.attempt, n.minutes_before, n.net, n.posted_at, n.facts, r.net
    FROM notifications AS n
    JOIN rocket_launches AS r USING (launch_id)
    WHERE n.posted_at IS NOT NULL
    ORDER BY n.id
"""


class Page(NamedTuple):
    """A page and when it was recorded."""

    at: datetime
    body: bytes


class Message(NamedTuple):
    """A message that was posted: the NET that it named then, its body now, and the last NET that is known."""

    kind: str
    launch_id: str
    attempt: int
    minutes_before: int | None
    net: datetime | None
    posted_at: datetime
    body: dict[str, Any]
    last_net: datetime | None


class Read(NamedTuple):
    """A page that fetch_and_store_data has read, and when."""

    at: datetime
    launches: list[dict[str, Any]]


class Replayed(NamedTuple):
    """What came of a replay: `steps` are its moments, `reads` what was known from when on."""

    messages: list[Message]
    posted: int
    edits: int
    requests: list[datetime]
    steps: list[datetime]
    reads: list[Read]


class Recorded(LaunchLibrary):
    """Answers with the page of the moment; a launch by its id as a page last had it, since the API forgets none."""

    def __init__(self) -> None:
        self.known: dict[str, dict[str, Any]] = {}
        self.asked = 0
        super().__init__()

    def answer(self, request: Request) -> Answer:
        """Answer as the Launch Library did."""
        self.asked += 1
        launch = self.known.get(request.path.strip("/").rpartition("/")[2])
        return Answer(200, launch) if launch else super().answer(request)


def recorded_pages(source: Path) -> Iterator[Page]:
    """Yield the pages of a folder or of an archive such as pages.tar.xz, in the order of their times."""
    if source.is_dir():
        for path in sorted(source.glob("*.json")):
            yield Page(recorded_at(path.stem), path.read_bytes())
        return
    with tarfile.open(source, "r|*") as archive:  # as a stream: unpacked it may be very large
        for member in archive:
            if member.name.endswith(".json") and (file := archive.extractfile(member)):
                yield Page(recorded_at(Path(member.name).stem), file.read())


def recorded_at(name: str) -> datetime:
    """Read the time in a page's name."""
    return datetime.strptime(name, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)


def replay(pages: Iterable[Page], postgres: Postgres, database: str) -> Replayed:
    """Run the two steps every ten minutes, as Airflow does, from the first page to an hour after the last."""
    requests, steps, reads = [], [], []
    with Discord() as discord, Recorded() as library:
        environment = {
            "LAUNCH_LIBRARY_URL": library.url + UPCOMING["2.2.0"],
            "DISCORD_WEBHOOK_URL": discord.webhook_url,
            "RUN_TYPE": "scheduled",
        }
        following = iter(pages)
        page, after = next(following), next(following, None)
        now = page.at
        while after or now < page.at + MOST:
            while after and after.at <= now:
                page, after = after, next(following, None)
            if library.page != page.body:
                library.page = page.body
                with contextlib.suppress(ValueError):
                    library.known |= {one["id"]: one for one in json.loads(page.body).get("results", [])}
            before = library.asked
            with (
                environment_of(postgres.env(ROLES["fetch"], database) | environment, now),
                contextlib.suppress(Failure),
            ):
                if fetch.__main__.run() != NOTHING_TO_SAY:
                    reads.append(Read(now, json.loads(page.body)["results"]))
            requests += (library.asked - before) * [now]
            with environment_of(postgres.env(ROLES["notify"], database) | environment, now):
                notify.__main__.run(check=False)
            steps.append(now)
            now += STEP
        with contextlib.closing(postgres.superuser(database)) as connection, connection.cursor() as cursor:
            cursor.execute("SET timezone = 'UTC'")
            cursor.execute(TOLD)
            messages = [Message(*row) for row in cursor.fetchall()]
        edits = sum(posted.edits for posted in discord.messages)
        return Replayed(messages, len(discord.messages), edits, requests, steps, reads)


@contextlib.contextmanager
def environment_of(variables: dict[str, str], now: datetime) -> Iterator[None]:
    """Give a step its environment, and the time."""
    before = dict(os.environ)
    os.environ.update(variables, NOW=now.isoformat())
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def table(messages: Sequence[Message]) -> str:
    """Write how many messages of each kind there were, and how long before or after NET."""
    lines = ["| kind | messages | launches | before NET, median | before NET, least |", "|---|---|---|---|---|"]
    for kind in dict.fromkeys(message.kind for message in messages):
        of_kind = [message for message in messages if message.kind == kind]
        # What was announced is measured by when the launch was at last, a reminder by what it reminded of.
        leads = [
            (net - message.posted_at).total_seconds()
            for message in of_kind
            if (net := message.last_net if kind in ("announced", "outcome") else message.net)
        ]
        launches = len({message.launch_id for message in of_kind})
        lines.append(
            f"| {kind} | {len(of_kind)} | {launches} | {span(statistics.median(leads))} | {span(min(leads))} |"
        )
    return "\n".join(lines)


def span(seconds: float) -> str:
    """Write a length of time in hours and minutes; below zero, it is after NET."""
    minutes = round(seconds / 60)
    return f"{'-' if minutes < 0 else ''}{abs(minutes) // 60} h {abs(minutes) % 60:02} min"


def main() -> int:
    """Replay what PAGES names and print the table; return 2 if there is nothing to replay."""
    source = Path(os.environ.get("PAGES", ""))
    if not os.environ.get("PAGES") or not source.exists():
        print(f"PAGES={source} is no folder or archive of pages: name one.", file=sys.stderr)
        return 2
    logging.disable(logging.CRITICAL)  # the steps' own lines
    with Postgres() as postgres:
        with environment_of(postgres.env(ROLES["init_schema"]), datetime.now(UTC)):
            from init_schema import schema  # noqa: PLC0415  # it brings SQLAlchemy, which nothing else here needs

            schema.migrate("head")
        done = replay(recorded_pages(source), postgres, postgres.env(ROLES["fetch"])["PGDATABASE"])
    busiest = max(sum(at - MOST < other <= at for other in done.requests) for at in done.requests)
    print(table(done.messages))
    print(f"\n{len(done.steps)} runs, {len(done.requests)} requests, at most {busiest} in an hour; {done.edits} edits")
    return 0


if __name__ == "__main__":
    sys.exit(main())
