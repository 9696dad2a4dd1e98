"""What the object store keeps: is all of it there, and what need not be kept any longer."""

import json
import logging
from datetime import datetime, timedelta

from psycopg2.extensions import connection as Connection  # noqa: N812  # it is a class

from fetch import locks
from fetch.archive import DETAILS
from fetch.rebuild import Progress, read, without_row
from objects import Objects
from step import BAD_INPUT, DONE, Failure

BACKUPS = "backups/"
BACKUPS_KEPT = 14
BATCH = 100  # objects; a fetch waits for the end of one, 20 s at most

log = logging.getLogger("keeping")

# Each object that a row names, and the digest that it was received with; of moved details, that is in the name alone.
NAMED = """
    SELECT DISTINCT object_key, sha256 FROM fetches WHERE object_key IS NOT NULL
    UNION
    SELECT object_key, NULL FROM rocket_launches WHERE object_key LIKE 'launch-library/details/%'
    ORDER BY 1
"""

ADOPT = """
    INSERT INTO fetches (requested_at, run_at, url, status, error, object_key, sha256)
    SELECT requested, run, url, CASE WHEN cut = 'yes' THEN NULL ELSE status END,
           'Its run ended before it was stored: rebuild_rocket_launches reads it', object_key, sha256
    FROM jsonb_to_record(%(metadata)s) AS m (
        requested timestamptz, run timestamptz, url text, status integer, cut text, object_key text, sha256 text
    )
"""

# Pages in which nothing was new and everything could be read, errors, and answers that were cut off. All of a run or
# nothing, as a rebuild needs all of it; and nothing that a launch still points to.
THIN = """
    SELECT object_key FROM fetches AS f
    JOIN (
        SELECT run_at, sum(added + changed + unreadable) = 0 AS is_dull FROM fetches GROUP BY run_at
    ) AS runs USING (run_at)
    WHERE object_key IS NOT NULL
    GROUP BY object_key
    HAVING max(run_at) < %(before)s
        AND bool_and(is_dull AND (f.error IS NULL OR f.status IS DISTINCT FROM 200))
        AND object_key NOT IN (SELECT object_key FROM rocket_launches WHERE object_key IS NOT NULL)
    ORDER BY object_key
    LIMIT %(batch)s
"""
FORGET = "UPDATE fetches SET object_key = NULL WHERE object_key = ANY(%(keys)s)"


def check(connection: Connection, kept_in: Objects) -> int:
    """Compare rows and objects, name what is missing or altered, and give each object that has no row one.

    Returns the exit code 0. Raises Failure (65) if something was not as it should be.
    """
    locks.no_rebuild(connection)
    with locks.no_fetch(connection):
        with connection, connection.cursor() as cursor:
            cursor.execute(NAMED)
            named = dict(cursor.fetchall())
        unknown = without_row(kept_in, named)
    wrong = 0
    progress = Progress(len(named))
    for key, sha256 in named.items():
        try:
            read(kept_in, key, sha256)
        except Failure as failure:
            if failure.exit_code != BAD_INPUT:
                raise
            wrong += 1
            log.error("%s", failure)  # noqa: TRY400  # a sentence for people
        progress.add(1)
    for key in kept_in.keys(DETAILS):
        if key not in named:
            log.warning("No launch points to %s any more: it may be deleted", key)
    for key in unknown:
        adopt(connection, kept_in, key)
    if wrong or unknown:
        raise Failure(
            BAD_INPUT,
            f"Of {len(named)} objects, {wrong} are missing or not as they were received: bring them back from a copy. "
            f"{len(unknown)} had no row in fetches and have one now: run rebuild_rocket_launches to read them.",
        )
    log.info("All %d objects are there, each as it was received, and each has its row", len(named))
    return DONE


def adopt(connection: Connection, kept_in: Objects, key: str) -> None:
    """Add the row of a request whose run has died before it wrote one."""
    log.error("%s has no row in fetches: its run ended too early. It has one now", key)
    metadata = kept_in.get(key)[1] | {"object_key": key}
    with connection, connection.cursor() as cursor:
        cursor.execute(ADOPT, {"metadata": json.dumps(metadata)})


def thin(connection: Connection, kept_in: Objects, days: int | None, now: datetime) -> int:
    """Delete the answers older than `days` in which nothing was new, and all but the newest backups.

    The object goes first: a row that names one which is gone is put right by the next run.
    """
    locks.no_rebuild(connection)
    deleted = 0
    while days is not None:
        # A fetch takes an object for its own if the same answer comes again.
        with locks.no_fetch(connection):
            some = thin_some(connection, kept_in, now - timedelta(days=days))
        if not some:
            break
        deleted += some
    old = sorted(kept_in.keys(BACKUPS))[:-BACKUPS_KEPT]
    kept_in.delete(old)
    log.info("Deleted %d answers in which nothing was new, and %d old backups", deleted, len(old))
    return DONE


def thin_some(connection: Connection, kept_in: Objects, before: datetime) -> int:
    """Delete some of the answers from before a time in which nothing was new, and return how many."""
    with connection, connection.cursor() as cursor:
        cursor.execute(THIN, {"before": before, "batch": BATCH})
        keys = [key for (key,) in cursor.fetchall()]
    kept_in.delete(keys)
    with connection, connection.cursor() as cursor:
        cursor.execute(FORGET, {"keys": keys})
    return len(keys)
