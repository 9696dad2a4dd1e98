"""Read upcoming launches from the Launch Library and store them in PostgreSQL.

Exit codes: 0 stored, 65 the answer is no page, 75 try again later (network, throttled, the database is away), 78 the
configuration is bad (the address leads to no launches), 143 stopped by SIGTERM.
"""

import contextlib
import logging
import os
import re
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from types import FrameType
from typing import NoReturn

import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812  # it is a class

from fetch import database, launch, store
from fetch.database import BAD_CONFIGURATION, Failure
from fetch.launch_library import LaunchLibrary, Page

DEFAULT_URL = "https://ll.thespacedevs.com/2.3.0/launches/upcoming/"
LOGGED_UNREADABLE = 10  # of a page full of them, the first few say it all
NAMED_STATUSES = 10  # the same
SHRUNK_BY = 5  # launches at least: of a short page, half may go on an ordinary day

log = logging.getLogger("fetch")


class OneLine(logging.Formatter):
    """One record, one line, in UTC: other people's text can neither forge a line nor steer a terminal."""

    converter = staticmethod(time.gmtime)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's own name
        """Write what is not printable as Python would escape it."""
        line = super().formatMessage(record)
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def stop(signum: int, _frame: FrameType | None) -> NoReturn:
    """End as the shell's convention says; what is open is rolled back on the way out.

    Nothing is logged here: the signal may have come in the middle of writing a log line.
    """
    raise SystemExit(128 + signum)


def run() -> None:
    """Read the configuration, then the pages; store them all together."""
    library = LaunchLibrary(os.environ.get("LAUNCH_LIBRARY_URL") or DEFAULT_URL, os.environ.get("LAUNCH_LIBRARY_TOKEN"))
    most = pages_wanted(os.environ.get("LAUNCH_LIBRARY_PAGES") or "1")
    seen_at = now(os.environ.get("NOW"))

    # First the database: without it, a request would be spent for nothing.
    with contextlib.closing(database.connect()) as connection:
        store.prepare(connection)
        try:
            stage_all(connection, library, most)
        except Failure as failure:
            with contextlib.suppress(psycopg2.Error):
                store.record_failure(connection, library.requests, str(failure))
            raise
        counts = store.merge(connection, library.requests, seen_at)
    for request in library.requests:
        for warning in request.warnings:
            log.warning("%s", warning)
    log.info(
        "Stored %d launches: %d added, %d changed, %d unchanged; %d unreadable; pages read: %d",
        *counts,
        sum(request.error is None for request in library.requests),
    )


def stage_all(connection: Connection, library: LaunchLibrary, most: int | None) -> None:
    """Read the pages into the database's stage; fail if there are launches and none can be read."""
    pages = enumerate(library.pages(most))
    read = sum(stage_page(connection, page, first=number == 0) for number, page in pages)
    unreadable = sum(request.unreadable for request in library.requests)
    if unreadable and not read:
        # Whatever the address leads to, it will an hour later, too.
        raise Failure(
            BAD_CONFIGURATION,
            f"None of the {unreadable} launches can be read: nothing was stored. Check that LAUNCH_LIBRARY_URL is a "
            "list of launches, in a version that this image knows.",
        )


def stage_page(connection: Connection, page: Page, *, first: bool) -> int:
    """Read a page into the stage, note what is odd about it, and return how many of its launches can be read."""
    launches = list(readable(page))
    staged = store.stage(connection, page.request, launches)
    # Later pages are not compared: where the list ends changes all the time.
    before = store.last_count(connection, page.request) if first else 0
    page.request.warnings += oddities(before, staged + page.request.unreadable, page.request.unreadable, launches)
    return staged


def oddities(before: int, count: int, unreadable: int, launches: Iterable[launch.Launch]) -> Iterator[str]:
    """Yield warnings about a page of `count` launches that had `before` the last time, each a printable line."""
    if count <= before / 2 and count <= before - SHRUNK_BY:
        yield (
            f"The page has shrunk from {before} to {count} launches since the last good fetch. What it lacks stays "
            "stored; if the page stays short, check LAUNCH_LIBRARY_URL."
        )
    if unreadable:
        yield f"Launches left out, as they cannot be read: {unreadable} of {count}. The run's log says why."
    known = launch.STATUSES.values()
    # Other people's text: cut, quoted, each word once.
    unknown = sorted({repr(one.status[:40]) for one in launches if one.status and one.status not in known})
    if unknown:
        more = f" and {len(unknown) - NAMED_STATUSES} more" if len(unknown) > NAMED_STATUSES else ""
        words = ", ".join(unknown[:NAMED_STATUSES]) + more
        yield f"Unknown status, stored and shown as it is: {words}. A newer image may know it."


def pages_wanted(setting: str) -> int | None:
    """Return how many pages to read, None for all."""
    if setting == "all":
        return None
    if re.fullmatch("[1-9][0-9]{0,5}", setting):
        return int(setting)
    raise Failure(BAD_CONFIGURATION, f"LAUNCH_LIBRARY_PAGES is {setting[:40]!r}: give a number of pages, or all.")


def now(setting: str | None) -> datetime:
    """Return the clock's time, or NOW, by which recorded pages are replayed at the time of their recording."""
    if not setting:
        return datetime.now(UTC)
    try:
        return datetime.fromisoformat(setting).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Failure(BAD_CONFIGURATION, f"NOW is {setting!r}: give a time such as 2026-11-24T07:00:00Z.") from None


def readable(page: Page) -> Iterator[launch.Launch]:
    """Yield the launches of a page; count, and log, what cannot be read."""
    for position, result in enumerate(page.results, 1):
        try:
            yield launch.read(result)
        except launch.Unreadable as reason:
            page.request.unreadable += 1
            if page.request.unreadable <= LOGGED_UNREADABLE:
                name = str(result.get("id") or result.get("name"))[:80] if isinstance(result, dict) else "?"
                log.warning("Launch %d of the page (%s) cannot be read and is left out: %s", position, name, reason)


def main() -> int:
    """Run the step and return its exit code."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(OneLine("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%SZ"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # it warns of a malformed header with a traceback
    signal.signal(signal.SIGTERM, stop)
    try:
        run()
    except (Failure, psycopg2.Error) as error:
        failure = error if isinstance(error, Failure) else database.explain(error)
        log.error("%s", failure)  # noqa: TRY400  # the sentence is for people; a traceback would bury it
        return failure.exit_code
    except SystemExit:
        log.error("Stopped by SIGTERM: what was not committed is undone. Run the step again.")  # noqa: TRY400
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main())
