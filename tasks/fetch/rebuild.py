"""The tables made again from the answers in the object store, by what reads them today.

Temporary tables of the same names stand before the real ones, so that each run is replayed by the statements that a
run is stored with, and nobody sees the difference until all of it is swapped in, in one transaction. Rows that were
there before the first answer stay as they are: the state at that time is worked out from what changed since.
"""

import hashlib
import itertools
import json
import logging
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from psycopg2.extensions import connection as Connection  # noqa: N812  # it is a class

from fetch import launch, locks, store, swap
from fetch.archive import DETAILS, PREFIX
from fetch.launch_library import Request, launches
from fetch.staging import stage_all
from objects import Missing, Objects, ZstdError, pieces
from page import Page
from step import BAD_CONFIGURATION, BAD_INPUT, TRY_LATER, Failure

PROGRESS_SECONDS = 10

log = logging.getLogger("rebuild")


@dataclass(slots=True)
class Answer:
    """A request of the past, with the answer if the store has it; `row` is None where no table knows of it."""

    request: Request
    run_at: datetime
    row: swap.Row | None
    http_status: int | None = None
    body: bytes | None = None  # compressed
    is_cut: bool = False

    @property
    def is_good(self) -> bool:
        """Tell whether it is an answer to be read."""
        return self.body is not None and self.http_status == 200 and not self.is_cut

    @property
    def launch_id(self) -> str | None:
        """Return the id of the launch that was asked for; None for a page, whose address has a limit."""
        parts = urlsplit(self.request.url)
        return None if parts.query else unquote(parts.path.rstrip("/").rpartition("/")[2])


class Run(NamedTuple):
    """The requests of one run."""

    at: datetime
    answers: list[Answer]


def rebuild(connection: Connection, kept_in: Objects, since: datetime | None, *, dry_run: bool) -> None:
    """Replay what the store has, from `since` or from the beginning, and swap the tables.

    Raises Failure: 65 where an answer is missing or is not what was received, 75 if the store or the database is away,
    78 where there is nothing to rebuild from.
    """
    # Their lines are of long ago; what is odd is in the tables.
    logging.getLogger("fetch").setLevel(logging.CRITICAL)
    locks.no_rebuild(connection)
    with locks.no_fetch(connection):
        rows = swap.rows(connection)
        unknown = without_row(kept_in, {row.object_key for row in rows})
    start = beginning(kept_in, rows, unknown, since)
    rows = [row for row in rows if row.run_at >= start]
    unknown = [key for key in unknown if written_at(key) >= start.replace(microsecond=0)]

    store.prepare(connection)
    swap.stand_before(connection, start)
    for key in sorted(kept_in.keys(DETAILS)):
        replay_details(connection, key, *read(kept_in, key, None))
    progress = Progress(len(unknown) + sum(row.object_key is not None for row in rows))
    for run in runs(kept_in, rows, unknown):
        replay(connection, run)
        progress.add(sum(answer.body is not None for answer in run.answers))

    # A fetch that stores something now waits; what others have stored meanwhile is replayed first.
    locks.change_launches_from_now_on(connection)
    newest = max((row.id for row in rows), default=0)
    for run in runs(kept_in, [row for row in swap.rows(connection) if row.id > newest and row.run_at >= start], []):
        replay(connection, run)
    differences = swap.swap(connection, start, dry_run=dry_run)
    for line in differences.examples:
        log.info("%s", line)
    log.info(
        "%s from %d answers since %s: launches %s; changes %s; requests %s",
        "Would be rebuilt" if dry_run else "Rebuilt",
        progress.total,
        f"{start:%Y-%m-%dT%H:%M:%SZ}",
        differences.launches,
        differences.changes,
        differences.fetches,
    )


def without_row(kept_in: Objects, known: Collection[str | None]) -> list[str]:
    """Return the answers that no row names, in their order."""
    answers = (key for key in kept_in.keys(PREFIX) if not key.startswith(DETAILS))
    return sorted((key for key in answers if key not in known), key=basename)


def beginning(kept_in: Objects, rows: Sequence[swap.Row], unknown: Sequence[str], since: datetime | None) -> datetime:
    """Return when the first run began that can be replayed, and all after it. Raises Failure (78) if there is none."""
    # What a run changed is only in the tables if its answers are kept no longer, or never were.
    lost = max((row.run_at for row in rows if row.has_changed and not row.object_key), default=None)
    if since and lost and since <= lost:
        raise Failure(
            BAD_CONFIGURATION,
            f"What changed until {lost:%Y-%m-%dT%H:%M:%SZ} is in the tables only, not in the object store: give a "
            "later --since, or none.",
        )
    first = [row.run_at for row in rows if row.object_key and (not lost or row.run_at > lost)]
    if unknown and (not lost or written_at(unknown[0]) > lost):
        first.append(datetime.fromisoformat(read(kept_in, unknown[0], None)[1]["run"]))
    if not first:
        raise Failure(
            BAD_CONFIGURATION,
            f"The object store {kept_in.url} has no answers to rebuild from: check OBJECT_STORE, or run "
            "fetch_and_store_data first.",
        )
    return max(min(first), since) if since else min(first)


def runs(kept_in: Objects, rows: Iterable[swap.Row], unknown: Iterable[str]) -> Iterator[Run]:
    """Yield the runs of the past in their order, with their answers; a run that no table knows of, too."""
    known = [(at, "", list(some)) for at, some in itertools.groupby(rows, key=lambda row: row.run_at)]
    alone: list[tuple[datetime, str, list[swap.Row]]] = [(written_at(key), key, []) for key in unknown]
    waiting: list[Answer] = []
    for at, key, some in sorted([*known, *alone], key=lambda event: event[0]):
        answer = of_key(kept_in, key) if key else None
        if waiting and (answer is None or answer.run_at != waiting[0].run_at):
            yield in_order(waiting)
            waiting = []
        if answer:
            waiting.append(answer)
        else:
            yield Run(at, [of_row(kept_in, row, number) for number, row in enumerate(some, 1)])
    if waiting:
        yield in_order(waiting)


def in_order(answers: list[Answer]) -> Run:
    """Return a run's answers as they came. The keys say that to the second only; a throttle comes before a page."""
    found = sorted(answers, key=lambda answer: (answer.request.requested_at, answer.is_good))
    for number, answer in enumerate(found, 1):
        answer.request.number = number
    return Run(found[0].run_at, found)


def of_row(kept_in: Objects, row: swap.Row, number: int) -> Answer:
    """Return a request that a row tells of, with its answer."""
    request = Request(number, row.requested_at, row.url, row.status, row.error)
    answer = Answer(request, row.run_at, row, row.status)
    if row.object_key:
        answer.body, metadata = read(kept_in, row.object_key, row.sha256)
        answer.http_status, answer.is_cut = int(metadata["status"]), metadata["cut"] == "yes"
        request.object_key, request.sha256 = row.object_key, row.sha256
    return answer


def of_key(kept_in: Objects, key: str) -> Answer:
    """Return a request that only the store knows of, since its run has ended too early."""
    body, metadata = read(kept_in, key, None)
    status, is_cut = int(metadata["status"]), metadata["cut"] == "yes"
    request = Request(1, datetime.fromisoformat(metadata["requested"]), metadata["url"])
    request.object_key, request.sha256 = key, digest(body)
    if is_cut or status != 200:
        request.status = None if is_cut else status
        request.error = f"The answer was {'cut off' if is_cut else status}, and its run has not ended"
    return Answer(request, datetime.fromisoformat(metadata["run"]), None, status, body, is_cut)


def read(kept_in: Objects, key: str, sha256: str | None) -> tuple[bytes, dict[str, str]]:
    """Return an answer, compressed, and its metadata. Raises Failure (65) if it is not what was received."""
    try:
        body, metadata = kept_in.get(key)
        found = digest(body)
    except (Missing, ZstdError, EOFError) as error:
        raise Failure(
            BAD_INPUT,
            f"The answer {key} cannot be read ({error}): nothing was changed. Bring the object back from a copy, or "
            "rebuild what came after it, by --since.",
        ) from None
    if (sha256 and found != sha256) or not key.rpartition("-")[2].startswith(found[:12]):
        raise Failure(
            BAD_INPUT,
            f"The answer {key} is not the one that was received, its digest is {found}: nothing was changed. Bring the "
            "object back from a copy, or rebuild what came after it, by --since.",
        )
    return body, metadata


def digest(body: bytes) -> str:
    """Return the SHA-256 of what was compressed."""
    found = hashlib.sha256()
    for piece in pieces(body):
        found.update(piece)
    return found.hexdigest()


def replay(connection: Connection, run: Run) -> None:
    """Store a run again, as it was stored, or as it failed."""
    requests = [answer.request for answer in run.answers]
    if any(answer.row for answer in run.answers) and not is_whole(run):
        swap.keep_as_they_are(connection, [answer.row.id for answer in run.answers if answer.row])
        return
    try:
        stage_all(connection, pages(run))
    except Failure as failure:
        store.record_failure(connection, requests, run.at, str(failure))
    else:
        asked, withdrawn = follow(connection, run)
        store.merge(connection, requests, run.at, asked, withdrawn)
    swap.unstage(connection)


def is_whole(run: Run) -> bool:
    """Tell whether the store has what a run has read; it has nothing of some failures, and keeps no answer for ever."""
    has_answers = any(answer.body for answer in run.answers)
    return has_answers and not any(
        answer.row and answer.row.error is None and answer.body is None and answer.row.status == 200
        for answer in run.answers
    )


def pages(run: Run) -> Iterator[tuple[Request, Iterator[Any]]]:
    """Yield a run's pages and their launches, as LaunchLibrary.pages does. Raises Failure where the run failed."""
    found = [answer for answer in run.answers if answer.launch_id is None]
    for number, answer in enumerate(found, 1):
        request = answer.request
        if answer.is_good:
            request.status = request.error = None
            yield request, launches(request, Page(pieces(answer.body or b"")))
        elif request.status != 429 or all(later.request.url != request.url for later in found[number:]):
            sentence, request.error = request.error or "There is no answer.", None
            raise Failure(TRY_LATER, sentence)


def follow(connection: Connection, run: Run) -> tuple[list[str], list[str]]:
    """Stage the launches that were asked for by their ids; return these ids, and those that were not known any more."""
    asked, withdrawn = [], []
    for answer in run.answers:
        if not (launch_id := answer.launch_id):
            continue
        asked.append(launch_id)
        if answer.http_status == 404:
            withdrawn.append(launch_id)
            answer.request.status, answer.request.error = 404, None
        elif answer.is_good:
            answer.request.status = 200
            try:
                one = read_launch(answer, launch_id)
            except (launch.Unreadable, ValueError, RecursionError) as error:
                answer.request.error = answer.request.error or f"The launch {launch_id} cannot be read: {error}"
                continue
            answer.request.error = None
            store.stage(connection, answer.request, [(None, one)])
    return asked, withdrawn


def read_launch(answer: Answer, launch_id: str) -> launch.Launch:
    """Return the launch that an answer is. Raises Unreadable, or ValueError or RecursionError for what is not JSON."""
    one = launch.read(json.loads(b"".join(pieces(answer.body or b""))))
    if one.launch_id != launch_id:
        raise launch.Unreadable("it is another launch")
    return one


def replay_details(connection: Connection, key: str, body: bytes, metadata: dict[str, str]) -> None:
    """Store the launches whose details were moved from PostgreSQL into this object, if that has lost them."""
    at = datetime.fromisoformat(metadata["run"])
    request = Request(1, at, metadata["url"], object_key=key)
    stage_all(connection, [(request, iter(Page(pieces(body))))])
    swap.unstage(connection, known=True)
    store.merge(connection, [], at)
    swap.unstage(connection)


def basename(key: str) -> str:
    """Return what keys of all versions sort by: their time."""
    return key.rpartition("/")[2]


def written_at(key: str) -> datetime:
    """Return the second that a key has in its name, such as 20261124T201943Z."""
    return datetime.strptime(basename(key).partition("-")[0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)


class Progress:
    """Says how far it has come, every ten seconds."""

    def __init__(self, total: int) -> None:
        self.total, self._done = total, 0
        self._began = self._said = time.monotonic()

    def add(self, count: int) -> None:
        """Count what was replayed."""
        self._done += count
        now = time.monotonic()
        if now - self._said >= PROGRESS_SECONDS:
            self._said = now
            rate = self._done / (now - self._began)
            left = (self.total - self._done) / rate if rate else 0
            log.info("%d of %d answers, %.0f a second, %.0f s left", self._done, self.total, rate, left)
