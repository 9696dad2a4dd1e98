"""Read upcoming launches from the Launch Library and store them in PostgreSQL.

Exit codes: 0 stored, 65 the answer is no page, 75 try again later (network, throttled, the database is away), 78 the
configuration is bad (the address leads to no launches), 143 stopped by SIGTERM.
"""

import contextlib
import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator

import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812  # it is a class

import step
from fetch import launch, store
from fetch.launch_library import LaunchLibrary, Page
from step import BAD_CONFIGURATION, Failure

DEFAULT_URL = "https://ll.thespacedevs.com/2.3.0/launches/upcoming/"
LOGGED_UNREADABLE = 10  # of a page full of them, the first few say it all
NAMED_STATUSES = 10  # the same
SHRUNK_BY = 5  # launches at least: of a short page, half may go on an ordinary day

log = logging.getLogger("fetch")


def run() -> None:
    """Read the configuration, then the pages; store them all together."""
    library = LaunchLibrary(os.environ.get("LAUNCH_LIBRARY_URL") or DEFAULT_URL, os.environ.get("LAUNCH_LIBRARY_TOKEN"))
    most = pages_wanted(os.environ.get("LAUNCH_LIBRARY_PAGES") or "1")
    seen_at = step.now()

    # First the database: without it, a request would be spent for nothing.
    with contextlib.closing(step.connect()) as connection:
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
    launches, unreadable = readable(page.results)
    staged = store.stage(connection, page.request, launches)
    # Later pages are not compared: where the list ends changes all the time.
    before = store.last_count(connection, page.request) if first else 0
    page.request.unreadable = unreadable
    page.request.warnings += oddities(before, staged + unreadable, unreadable, launches)
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


def readable(results: Iterable[object]) -> tuple[list[launch.Launch], int]:
    """Return the launches of a page and the number of those that cannot be read; the log says why."""
    launches, unreadable = [], 0
    for position, result in enumerate(results, 1):
        try:
            launches.append(launch.read(result))
        except launch.Unreadable as reason:
            unreadable += 1
            if unreadable <= LOGGED_UNREADABLE:
                name = str(result.get("id") or result.get("name"))[:80] if isinstance(result, dict) else "?"
                log.warning("Launch %d of the page (%s) cannot be read and is left out: %s", position, name, reason)
    return launches, unreadable


def main() -> int:
    """Run the step and return its exit code."""
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # it warns of a malformed header with a traceback
    return step.main(run)


if __name__ == "__main__":
    sys.exit(main())
