"""Keep the pictures and pages that the launches of the next 30 days and the last 7 link to.

Exit codes: 0 done, whatever the sites answered; 75 try again later (the database or the object store is away), 78 the
configuration is bad, 99 nothing is due, or CRAWL_CONTACT is not set, 143 stopped by SIGTERM.
"""

import contextlib
import logging
import os
import sys

import objects
import step
from crawl.links import Link, links
from crawl.polite import REQUESTS, Crawl, adopt
from crawl.public import Web, networks
from crawl.store import Launch, Store
from step import BAD_CONFIGURATION, DONE, NOTHING_TO_SAY, Failure

MOST = 5 * REQUESTS  # addresses that one run looks at

log = logging.getLogger("crawl")


def run() -> int:
    """Ask for what is due, and keep it. Return the exit code."""
    contact = os.environ.get("CRAWL_CONTACT", "").strip()
    if not contact:
        log.info("Nothing is crawled: CRAWL_CONTACT is not set, by which the sites could reach you.")
        return NOTHING_TO_SAY
    if not contact.isascii() or not contact.isprintable() or len(contact) > 200:
        raise Failure(BAD_CONFIGURATION, "CRAWL_CONTACT is not an e-mail or web address in plain ASCII: set it anew.")
    web = Web(contact, networks(os.environ.get("CRAWL_NETWORKS", "")))
    kept_in, now = objects.from_environment(), step.now()
    with contextlib.closing(step.connect()) as connection:
        store = Store(connection)
        if not store.is_alone():
            log.info("Another run is crawling.")
            return NOTHING_TO_SAY
        due = store.due(all_links(store.launches(now)), now)
        crawl = Crawl(web, store, kept_in, now)
        adopted = 0
        if kept_in:
            kept_in.check("crawled/")
            if unfinished := store.unfinished(now):
                adopted = adopt(crawl, store, kept_in, unfinished)
        if not due and not adopted:
            log.info("No address is due.")
            return NOTHING_TO_SAY
        totals = crawl.run(due[:MOST])
    log.info(
        "Crawled %d new, %d changed, %d as before; %d failed, %d put off; %d requests to %d hosts, %.1f MB%s",
        totals.new,
        totals.changed,
        totals.same,
        totals.failed,
        totals.put_off + len(due[MOST:]),
        totals.requests,
        len(totals.hosts),
        totals.bytes / 1e6,
        f"; {adopted} of a run that died" if adopted else "",
    )
    return DONE


def all_links(launches: list[Launch]) -> list[Link]:
    """Return what launches link to, the nearest launch first."""
    found = objects.details((launch.object_key, launch.position) for launch in launches)
    return [
        link
        for launch in launches
        for link in links(launch.launch_id, found.get((launch.object_key, launch.position), launch.details))
    ]


if __name__ == "__main__":
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # it warns of a malformed header with a traceback
    sys.exit(step.main(run))
