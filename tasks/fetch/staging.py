"""Pages into the database's stage, wherever they come from: what can be read of them, and what is odd about one."""

import logging
from collections.abc import Iterable, Iterator
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812  # it is a class

from fetch import launch, store
from fetch.launch_library import Request
from step import BAD_CONFIGURATION, Failure

LOGGED_UNREADABLE = 10  # of a page full of them, the first few say it all
NAMED_STATUSES = 10  # the same
SHRUNK_BY = 5  # launches at least: of a short page, half may go on an ordinary day

log = logging.getLogger(__name__)


def stage_all(connection: Connection, pages: Iterable[tuple[Request, Iterator[Any]]]) -> int:
    """Read pages, each a request and its launches, into the database's stage, and return how many pages there were.

    Raises the Failure of a page, and one (78) if there are launches and none can be read.
    """
    read = unreadable = number = 0
    for number, (request, results) in enumerate(pages, 1):
        read += stage_page(connection, request, results, first=number == 1)
        unreadable += request.unreadable
    if unreadable and not read:
        # Whatever the address leads to, it will an hour later, too.
        raise Failure(
            BAD_CONFIGURATION,
            f"None of the {unreadable} launches can be read: nothing was stored. Check that LAUNCH_LIBRARY_URL is a "
            "list of launches, in a version that this image knows.",
        )
    return number


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
