"""Keep an index of all launches in OpenSearch or Elasticsearch, as PostgreSQL has them.

Exit codes: 0 written, 65 the server refuses a launch, 75 try again later (a server is away or full), 78 the
configuration is bad, or the alias or index is somebody else's, 99 nothing is new, or there is no search server, 143
stopped by SIGTERM.
"""

import contextlib
import json
import logging
import os
import re
import sys
from collections.abc import Iterator

import objects
import step
from index.document import erase, facts, write
from index.mapping import ALIAS, BODY, INDEX, VERSION
from index.server import Server
from index.store import Row, Store, ahead
from step import BAD_CONFIGURATION, BAD_INPUT, DONE, NOTHING_TO_SAY, TRY_LATER, Failure

LARGEST = 512 * 1024  # bytes of documents that are sent at once: nginx, as it comes, takes a megabyte
BATCH = 100  # launches whose details are looked up at once
NEWER = 409  # HTTP's conflict: the index has a newer version of a document
OURS = re.compile(rf"{ALIAS}-\d+")

log = logging.getLogger("index")


def run() -> int:
    """Bring the index to what the tables have. Return the exit code."""
    if not os.environ.get("SEARCH_URL", "").strip():
        log.info("Nothing is indexed: SEARCH_URL is not set.")
        return NOTHING_TO_SAY
    with Server() as server, contextlib.closing(step.connect()) as connection:
        store = Store(connection, VERSION)
        wanted, version = store.state()
        shown = server.indices(ALIAS)
        others = [name for name in ours(shown) if name != INDEX]
        is_shown = INDEX in shown
        if not is_shown and not ours(server.indices(INDEX)):
            server.create(INDEX, BODY)
        server.refresh(INDEX)  # what a run that was killed has written
        if server.state(INDEX) == wanted and is_shown and not others:
            log.info("Nothing is new: %d launches", wanted.launches)
            return NOTHING_TO_SAY
        counts = {"indexed": 0, "deleted": 0}
        rows, refused = Rows(store.launches()), []
        for there in server.digests(INDEX):
            # What comes next is made while the server indexes.
            for lines in ahead(bodies(rows, there, version, counts)):
                refused += server.bulk(INDEX, lines)
        server.refresh(INDEX)
        if newer := [one for one in refused if one.status == NEWER]:
            raise Failure(
                TRY_LATER,
                f"The index has {len(newer)} launches as a later run has written them, or the clock of the database "
                "was set back: they were left alone. The next try compares them again.",
            )
        if not is_shown or others:
            server.point(ALIAS, INDEX, others)
            log.info("The alias %s names %s%s", ALIAS, INDEX, f" instead of {', '.join(others)}" if others else "")
    log.info("Indexed %d launches, deleted %d", counts["indexed"] - len(refused), counts["deleted"])
    if refused:
        raise Failure(
            BAD_INPUT,
            f"The search server refuses {len(refused)} launches, such as {refused[0].id}: {refused[0].reason}. All "
            "others are indexed.",
        )
    return DONE


def ours(found: dict[str, str | None]) -> list[str]:
    """Return the names of these indices. Raises Failure (78) if one of them is somebody else's."""
    for name, application in found.items():
        if not OURS.fullmatch(name) or application != BODY["mappings"]["_meta"]["application"]:
            raise Failure(
                BAD_CONFIGURATION,
                f"The search server has an index {name}, which is not ours, by the name or behind the alias {ALIAS}: "
                "nothing was written. Remove it or that alias, or use another server.",
            )
    return [*found]


class Rows(Iterator[Row]):
    """The launches of the table in the order of their ids; the first can be looked at before it is taken."""

    def __init__(self, rows: Iterator[Row]) -> None:
        self._rows = rows
        self.first = next(rows, None)

    def __next__(self) -> Row:
        if self.first is None:
            raise StopIteration
        row, self.first = self.first, next(self._rows, None)
        return row


def bodies(rows: Rows, there: list[tuple[str, int]], version: int, counts: dict[str, int]) -> Iterator[bytes]:
    """Yield what `_bulk` takes to make a page of the index as the table is, in pieces."""
    lines, size = [], 0
    for line in changes(rows, there, version, counts):
        lines.append(line)
        size += len(line)
        if size >= LARGEST:
            yield b"".join(lines)
            lines, size = [], 0
    if lines:
        yield b"".join(lines)


def changes(rows: Rows, there: list[tuple[str, int]], version: int, counts: dict[str, int]) -> Iterator[bytes]:
    """Yield each document that is missing or differs, and each deletion; count them."""
    differing: list[Row] = []
    for change in compared(rows, there):
        if isinstance(change, str):
            yield erase(INDEX, version, change)
            counts["deleted"] += 1
            continue
        differing.append(change)
        if len(differing) == BATCH:
            yield from documents(differing, version)
            counts["indexed"] += len(differing)
            differing = []
    yield from documents(differing, version)
    counts["indexed"] += len(differing)


def compared(rows: Rows, there: list[tuple[str, int]]) -> Iterator[Row | str]:
    """Yield the launches that the index lacks or has otherwise, and the ids of those that the table lacks.

    Both are in the order of their ids, so that neither has to be held as a whole; after an empty page come all others.
    """
    for launch_id, digest in there:
        while rows.first and rows.first.launch_id < launch_id:
            yield next(rows)
        if not rows.first or rows.first.launch_id != launch_id:
            yield launch_id
        elif (row := next(rows)).digest != digest:
            yield row
    if not there:
        yield from rows


def documents(rows: list[Row], version: int) -> Iterator[bytes]:
    """Yield the documents of launches, with what their details say, wherever these are."""
    places: dict[tuple[str | None, int | None], str] = {
        (row.object_key, row.position): row.name for row in rows if row.object_key
    }
    stored = {where: facts(places[where], details) for where, details in objects.each_of_details(places)}
    for row in rows:
        if not row.object_key:
            yield write(INDEX, version, row, facts(row.name, json.loads(row.details or "null")))
        elif (found := stored.get((row.object_key, row.position))) is not None:
            yield write(INDEX, version, row, found)
        else:  # better than none; by another digest than the table's, the next run looks again
            yield write(INDEX, version, row._replace(digest=0), facts(row.name, None))


if __name__ == "__main__":
    sys.exit(step.main(run))
