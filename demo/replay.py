"""Replays recorded pages with a clock of ten minutes a step, and prints what was told when.

`make replay PAGES=…` takes a folder of pages named by their time, such as 20250503T191502Z.json, or an archive of them.
At each step only the page of that moment is known. The steps run in this process, which is much faster than the DAG's
pods of `make demo PAGES=…`, and as often as the advised SCHEDULE runs them.
"""

import contextlib
import json
import logging
import os
import sys
from bisect import bisect
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import fetch.__main__
import notify.__main__
from demo.recorded import TOLD, Message, NoPages, Page, recorded_pages, table
from init_schema import schema
from standins.discord import Discord
from standins.launch_library import LaunchLibrary
from standins.postgres import DATABASE, ROLES, Postgres
from step import NOTHING_TO_SAY, Failure

STEP = timedelta(minutes=10)  # the advised SCHEDULE
HOUR = timedelta(hours=1)


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

    @property
    def busiest_hour(self) -> int:
        """The most requests within an hour."""
        return max(bisect(self.requests, at) - bisect(self.requests, at - HOUR) for at in self.requests)


def replay(pages: Iterable[Page], postgres: Postgres, database: str) -> Replayed:
    """Run the two steps every ten minutes, as Airflow does, from the first page to an hour after the last."""
    requests: list[datetime] = []
    steps, reads = [], []
    with Discord() as discord, LaunchLibrary() as library:
        environment = {
            "LAUNCH_LIBRARY_URL": library.upcoming_url,
            "DISCORD_WEBHOOK_URL": discord.webhook_url,
            "RUN_TYPE": "scheduled",
        }
        following = iter(pages)
        page, after = next(following), next(following, None)
        now = page.at
        while after or now < page.at + HOUR:
            while after and after.at <= now:
                page, after = after, next(following, None)
            library.page = page.body
            environment["NOW"] = now.isoformat()
            with (
                # As in a pod, nothing else is there: no HEARTBEAT_URL that would be requested.
                mock.patch.dict(os.environ, environment | postgres.env(ROLES["fetch"], database), clear=True),
                contextlib.suppress(Failure),
            ):
                if fetch.__main__.run() != NOTHING_TO_SAY:
                    reads.append(Read(now, json.loads(page.body)["results"]))
            requests += (len(library.requests) - len(requests)) * [now]
            with mock.patch.dict(os.environ, environment | postgres.env(ROLES["notify"], database), clear=True):
                notify.__main__.run(check=False)
            steps.append(now)
            now += STEP
        with contextlib.closing(postgres.superuser(database)) as connection, connection.cursor() as cursor:
            cursor.execute("SET timezone = 'UTC'")
            cursor.execute(TOLD)
            messages = [Message(*row) for row in cursor.fetchall()]
        edits = sum(posted.edits for posted in discord.messages)
        return Replayed(messages, len(discord.messages), edits, requests, steps, reads)


def main() -> int:
    """Replay what PAGES names and print the table; return 2 if there is nothing to replay."""
    if not (source := os.environ.get("PAGES")):
        print("PAGES is not set: give a folder or an archive with recorded pages.", file=sys.stderr)
        return 2
    logging.disable(logging.CRITICAL)  # the steps' own lines
    try:
        pages = recorded_pages(Path(source))
        with Postgres() as postgres:
            with mock.patch.dict(os.environ, postgres.env(ROLES["init_schema"])):
                schema.migrate("head")
            done = replay(pages, postgres, DATABASE)
    except NoPages as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    print(table(done.messages))
    print(
        f"\n{len(done.steps)} runs; {len(done.requests)} requests, at most {done.busiest_hour} in an hour; "
        f"{done.posted} messages posted, {done.edits} edits"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
