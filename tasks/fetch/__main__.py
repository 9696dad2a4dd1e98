"""Read upcoming launches from the Launch Library and store them in PostgreSQL.

Exit codes: 0 stored, 65 the answer is no page, 75 try again later (network, throttled, the database is away), 78 the
configuration is bad (the address leads to no launches), 99 no request is due (or a scheduled one may succeed later, and
the newest page is young), 143 stopped by SIGTERM.
"""

import argparse
import contextlib
import logging
import os
import re
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812  # it is a class

import objects
import step
from fetch import keeping, locks, store
from fetch.archive import Archive, bring_details_back, move_details
from fetch.follow import follow
from fetch.launch_library import REQUESTS_AN_HOUR, LaunchLibrary
from fetch.rebuild import rebuild
from fetch.staging import stage_all
from objects import Objects
from step import BAD_CONFIGURATION, DONE, NOTHING_TO_SAY, TRY_LATER, Failure

DEFAULT_URL = "https://ll.thespacedevs.com/2.3.0/launches/upcoming/?mode=detailed"
YOUNG = timedelta(hours=3)  # of a page

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
                locks.keep_answers(connection)
                kept_in.check("launch-library/")
                move_details(connection, kept_in, seen_at)
            pages = stage_all(connection, library.pages(most))
        except Failure as failure:
            with contextlib.suppress(psycopg2.Error):
                store.record_failure(connection, library.requests, seen_at, str(failure))
            if is_scheduled and failure.exit_code == TRY_LATER and is_young(cadence, seen_at):
                # Tries of this run would keep the next one, and a message that is due, waiting for up to hours.
                log.warning("%s The newest page is young enough to go by; the next run asks again.", failure)
                return NOTHING_TO_SAY
            raise
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


def pages_wanted(setting: str) -> int | None:
    """Return how many pages to read, None for all."""
    if setting == "all":
        return None
    if re.fullmatch("[1-9][0-9]{0,5}", setting):
        return int(setting)
    raise Failure(BAD_CONFIGURATION, f"LAUNCH_LIBRARY_PAGES is {setting[:40]!r}: give a number of pages, or all.")


def with_store(work: Callable[[Connection, Objects], int | None]) -> int | None:
    """Do what needs the database and the object store, if there is one."""
    if not (kept_in := objects.from_environment()):
        log.info("There is no object store: OBJECT_STORE is not set, or is none")
        return NOTHING_TO_SAY
    with contextlib.closing(step.connect()) as connection:
        return work(connection, kept_in)


def thin(connection: Connection, kept_in: Objects) -> int:
    """Delete what KEEP_DAYS says need not be kept."""
    days = os.environ.get("KEEP_DAYS") or None
    if days and not re.fullmatch("[1-9][0-9]{0,4}", days):
        raise Failure(BAD_CONFIGURATION, f"KEEP_DAYS is {days[:40]!r}: give a number of days, or leave it empty.")
    return keeping.thin(connection, kept_in, int(days) if days else None, step.now())


def from_store(connection: Connection, kept_in: Objects, since: str | None, *, dry_run: bool) -> None:
    """Rebuild the tables from what came since a time, in UTC where it says no zone; None is the beginning."""
    try:
        at = datetime.fromisoformat(since) if since else None
    except ValueError:
        raise Failure(
            BAD_CONFIGURATION, f"SINCE is {since!r}: give a time such as 2026-11-24T07:00:00Z, or leave it empty."
        ) from None
    at = at if at is None or at.tzinfo else at.replace(tzinfo=UTC)
    rebuild(connection, kept_in, at, dry_run=dry_run)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the step and return its exit code."""
    parser = argparse.ArgumentParser(prog="fetch", description=__doc__.partition("\n")[0])
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--from-store", action="store_true", help="make the tables again from the object store")
    what.add_argument("--check-store", action="store_true", help="compare the tables with the object store")
    what.add_argument("--thin-store", action="store_true", help="delete from it what KEEP_DAYS says")
    what.add_argument("--leave-store", action="store_true", help="bring the launches' details back into PostgreSQL")
    parser.add_argument("--since", default=os.environ.get("SINCE"), help="with --from-store: from this time on (SINCE)")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        default=os.environ.get("DRY_RUN") == "true",
        help="with --from-store: say what would differ, and change nothing (DRY_RUN=true)",
    )
    chosen = parser.parse_args(arguments)
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # it warns of a malformed header with a traceback
    work: Callable[[Connection, Objects], int | None] | None = None
    if chosen.from_store:
        work = partial(from_store, since=chosen.since, dry_run=chosen.dry_run)
    elif chosen.check_store:
        work = keeping.check
    elif chosen.thin_store:
        work = thin
    elif chosen.leave_store:
        work = bring_details_back
    return step.main(partial(with_store, work) if work else run)


if __name__ == "__main__":
    sys.exit(main())
