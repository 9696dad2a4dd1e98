"""Publish the launches as a static site: pages, calendars and feeds, below public/ in the object store.

Exit codes: 0 written, 75 try again later (the database or the object store is away), 78 the configuration is bad, 99
nothing has changed, or there is no object store or address to publish at, 143 stopped by SIGTERM.
"""

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import objects
import step
from objects import Objects
from publish import calendars
from publish.facts import READER, facts
from publish.site import DAYS, Site
from publish.store import Store
from publish.upload import PREFIX, Upload
from step import BAD_CONFIGURATION, DONE, NOTHING_TO_SAY, Failure
from wording import is_link

LARGEST_PICTURE = 8 * 1024 * 1024  # bytes
BATCH = 100  # launches whose facts are kept at once

log = logging.getLogger("publish")


def run() -> int:
    """Write what has changed. Return the exit code."""
    address = os.environ.get("PUBLIC_URL", "").strip().rstrip("/")
    kept_in = objects.from_environment()
    if not address or not kept_in:
        log.info("Nothing is published: %s is not set.", "OBJECT_STORE" if address else "PUBLIC_URL")
        return NOTHING_TO_SAY
    if not is_link(address) and not address.startswith("file:///"):
        raise Failure(
            BAD_CONFIGURATION, "PUBLIC_URL is not an address such as https://launches.example.org: set it anew."
        )
    now = step.now()
    with contextlib.closing(step.connect()) as connection:
        store = Store(connection)
        store.lock()
        kept_in.check(PREFIX)
        read(store)
        upload = publish(store, kept_in, address, now)
    log.info(
        "Published at %s: %d files written, %d unchanged, %d removed",
        address,
        upload.written,
        upload.unchanged,
        upload.removed,
    )
    return DONE if upload.written or upload.removed else NOTHING_TO_SAY


def publish(store: Store, kept_in: Objects, address: str, now: datetime) -> Upload:
    """Write one version of the site, and return what came of it."""
    tables = store.tables(READER, LARGEST_PICTURE)
    upload = Upload(store, kept_in, now)
    if upload.is_new:
        # Every page leads to the first one, which comes last.
        upload.put([Site(tables, {}, address, now).waiting()])
    site = Site(tables, upload.pictures(tables.pictures.values()), address, now)
    events = revised(store, site, now)
    for files in site.files(events, store.by_days(DAYS), store.by_provider(7)):
        upload.put(files)
    upload.finish()
    return upload


def revised(store: Store, site: Site, now: datetime) -> dict[str, str]:
    """Return the calendars' events with their revisions, which are kept before anybody sees them."""
    events, rows = {}, []
    for launch_id, event in site.events().items():
        row, digest = site.cards[launch_id].row, calendars.digest(event)
        if digest == row.event and row.ics:
            events[launch_id] = row.ics
            continue
        # Where the table was lost, a launch's changes tell how often it was revised at least.
        sequence = row.sequence + 1 if row.event else len(site.cards[launch_id].history) - 1
        events[launch_id] = calendars.written(event, sequence, now)
        rows.append({"launch_id": launch_id, "event": digest, "ics": events[launch_id], "sequence": sequence})
    if rows:
        store.keep_events(rows)
    return events


def read(store: Store) -> None:
    """Read the details of launches whose answer is new, and keep what the site says of them."""
    unread, details = store.unread(READER)
    names = {(row.object_key, row.position): row for row in unread}

    def rows() -> Iterator[dict[str, Any]]:
        for place, one in objects.each_of_details(names):
            row = names[place]
            yield {
                "launch_id": row.launch_id,
                "object_key": row.object_key,
                "position": row.position,
                "facts": facts(row.name, one),
            }
        for launch_id, one in details:
            yield {"launch_id": launch_id, "facts": facts("", one)}

    some: list[dict[str, Any]] = []
    for row in rows():
        some.append(row)
        if len(some) == BATCH:
            store.keep_facts(some, READER)
            some = []
    if some:
        store.keep_facts(some, READER)


if __name__ == "__main__":
    sys.exit(step.main(run))
