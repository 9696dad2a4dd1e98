"""Read upcoming launches from the Launch Library and store them in PostgreSQL.

Exit codes: 0 stored, 65 the answer is no page, 75 try again later (network, throttled, the database is away), 78 the
configuration is bad (the address leads to no launches), 99 no request is due (or a scheduled one may succeed later, and
the newest page is young), 143 stopped by SIGTERM.
"""

import contextlib
import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812  # it is a class

import objects
import step
from fetch import launch, store
from fetch.archive import Archive
from fetch.follow import follow
from fetch.launch_library import REQUESTS_AN_HOUR, LaunchLibrary, Request
from step import BAD_CONFIGURATION, DONE, NOTHING_TO_SAY, TRY_LATER, Failure

DEFAULT_URL = "https://ll.thespacedevs.com/2.3.0/launches/upcoming/?mode=detailed"
LOGGED_UNREADABLE = 10  # of a page full of them, the first few say it all
NAMED_STATUSES = 10  # the same
YOUNG = timedelta(hours=3)  # of a page
SHRUNK_BY = 5  # launches at least: of a short page, half may go on an ordinary day

log = logging.getLogger("fetch")


def run() -> int:
    """Read the configuration, then the pages; store them all together. Return the exit code."""
    token = os.environ.get("LAUNCH_LIBRARY_TOKEN")
    library = LaunchLibrary(os.environ.get("LAUNCH_LIBRARY_URL") or DEFAULT_URL, token)
    most = pages_wanted(os.environ.get("LAUNCH_LIBRARY_PAGES") or "1")
    seen_at = step.now()
    kept_in = objects.from_environment()

    # First the database: without it, a request would be spent for nothing.
    with contextlib.closing(step.connect()) as connection:
        store.prepare(connection)
        library.keep = Archive(kept_in, connection, seen_at).keep
        cadence = store.cadence(connection, seen_at)
        library.budget = None if token else REQUESTS_AN_HOUR - cadence.spent
        is_scheduled = os.environ.get("RUN_TYPE") == "scheduled"
        if is_scheduled and (reason := why_not_now(cadence, library.budget, seen_at)):
            log.info("%s", reason)
            return NOTHING_TO_SAY
        try:
            if kept_in:
                kept_in.check()
            stage_all(connection, library, most)
        except Failure as failure:
            with contextlib.suppress(psycopg2.Error):
                store.record_failure(connection, library.requests, seen_at, str(failure))
            if is_scheduled and failure.exit_code == TRY_LATER and is_young(cadence, seen_at):
                # Tries of this run would keep the next one, and a message that is due, waiting for up to hours.
                log.warning("%s The newest page is young enough to go by; the next run asks again.", failure)
                return NOTHING_TO_SAY
            raise
        pages = sum(request.error is None for request in library.requests)
        followed = follow(connection, library, cadence.spent, seen_at)
        counts = store.merge(connection, library.requests, seen_at, followed.asked, followed.withdrawn)
    for request in library.requests:
        for warning in request.warnings:
            log.warning("%s", warning)
    log.info(
        "Stored %d launches: %d added, %d changed, %d unchanged; %d unreadable; pages read: %d%s",
        *counts,
        pages,
        f"; asked for by id: {len(followed.asked)}" if followed.asked else "",
    )
    return DONE


def is_young(cadence: store.Cadence, now: datetime) -> bool:
    """Tell whether the newest page may still be gone by."""
    return cadence.good_at is not None and now - cadence.good_at < YOUNG


def why_not_now(cadence: store.Cadence, budget: int | None, now: datetime) -> str | None:
    """Return why a scheduled run makes no request, or None if it does."""
    if now < cadence.due_at:
        return (
            "No request: no launch is within two hours, and the last good fetch is less than an hour old. "
            f"The next is due at {cadence.due_at:%Y-%m-%d %H:%M} UTC."
        )
    if budget is not None and budget <= 0:
        return (
            f"No request: the last hour has had its {REQUESTS_AN_HOUR}. The next is possible at "
            f"{cadence.free_at:%Y-%m-%d %H:%M} UTC, or with LAUNCH_LIBRARY_TOKEN."
        )
    return None


def stage_all(connection: Connection, library: LaunchLibrary, most: int | None) -> None:
    """Read the pages into the database's stage; fail if there are launches and none can be read."""
    pages = enumerate(library.pages(most))
    read = sum(stage_page(connection, *page, first=number == 0) for number, page in pages)
    unreadable = sum(request.unreadable for request in library.requests)
    if unreadable and not read:
        # Whatever the address leads to, it will an hour later, too.
        raise Failure(
            BAD_CONFIGURATION,
            f"None of the {unreadable} launches can be read: nothing was stored. Check that LAUNCH_LIBRARY_URL is a "
            "list of launches, in a version that this image knows.",
        )


def stage_page(connection: Connection, request: Request, results: Iterable[Any], *, first: bool) -> int:
    """Read a page into the stage, note what is odd about it, and return how many of its launches can be read."""
    # Later pages are not compared: where the list ends changes all the time.
    before = store.last_count(connection, request) if first else 0
    unknown: set[str] = set()
    staged = store.stage(connection, request, readable(request, results, unknown))
    request.warnings += oddities(before, staged + request.unreadable, request.unreadable, unknown)
    return staged


def oddities(before: int, count: int, unreadable: int, unknown: set[str]) -> Iterator[str]:
    """Yield warnings about a page of `count` launches that had `before` the last time, each a printable line."""
    if count <= before / 2 and count <= before - SHRUNK_BY:
        yield (
            f"The page has shrunk from {before} to {count} launches since the last good fetch. What it lacks stays "
            "stored; if the page stays short, check LAUNCH_LIBRARY_URL."
        )
    if unreadable:
        yield f"Launches left out, as they cannot be read: {unreadable} of {count}. The run's log says why."
    if unknown:
        more = f" and {len(unknown) - NAMED_STATUSES} more" if len(unknown) > NAMED_STATUSES else ""
        words = ", ".join(sorted(unknown)[:NAMED_STATUSES]) + more
        yield f"Unknown status, stored and shown as it is: {words}. A newer image may know it."


def pages_wanted(setting: str) -> int | None:
    """Return how many pages to read, None for all."""
    if setting == "all":
        return None
    if re.fullmatch("[1-9][0-9]{0,5}", setting):
        return int(setting)
    raise Failure(BAD_CONFIGURATION, f"LAUNCH_LIBRARY_PAGES is {setting[:40]!r}: give a number of pages, or all.")


def readable(request: Request, results: Iterable[Any], unknown: set[str]) -> Iterator[tuple[int, launch.Launch]]:
    """Yield the launches of a page with their places, and add the statuses that are not known to `unknown`.

    Those that cannot be read are counted in the request; the log says why.
    """
    known = launch.STATUSES.values()
    for position, result in enumerate(results):
        try:
            one = launch.read(result)
        except launch.Unreadable as reason:
            request.unreadable += 1
            if request.unreadable <= LOGGED_UNREADABLE:
                name = str(result.get("id") or result.get("name"))[:80] if isinstance(result, dict) else "?"
                log.warning("Launch %d of the page (%s) cannot be read and is left out: %s", position + 1, name, reason)
            continue
        if one.status and one.status not in known:
            unknown.add(repr(one.status[:40]))  # other people's text: cut, quoted
        yield position, one


def main() -> int:
    """Run the step and return its exit code."""
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # it warns of a malformed header with a traceback
    return step.main(run)


if __name__ == "__main__":
    sys.exit(main())
