"""Who waits for whom, by PostgreSQL's advisory locks, which go with the connection that holds them.

- `fetch`: whoever changes launches has it to the end of the transaction. A second run then compares with what the first
  has stored.
- `answers`: a fetch shares it from its first answer until that has its row. Whoever compares objects with rows, or
  deletes some, has it alone.
- `rebuild`: a rebuild, a check or a thinning, one at a time.
"""

import contextlib
import logging
from collections.abc import Iterator

import tenacity
from psycopg2.extensions import connection as Connection  # noqa: N812  # it is a class
from psycopg2.extensions import cursor as Cursor  # noqa: N812  # it is a class

from step import TRY_LATER, Failure

PATIENCE = 15 * 60  # seconds; a fetch ends after ten minutes

log = logging.getLogger("locks")


def change_launches(cursor: Cursor) -> None:
    """Wait for others who change launches; they wait for this transaction."""
    cursor.execute("SELECT pg_advisory_xact_lock(hashtext('fetch'))")


def change_launches_from_now_on(connection: Connection) -> None:
    """Wait for others who change launches; they wait for the end of this connection."""
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(hashtext('fetch'))")


def keep_answers(connection: Connection) -> None:
    """Let nobody compare objects with rows before this connection ends."""
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock_shared(hashtext('answers'))")


@contextlib.contextmanager
def no_fetch(connection: Connection) -> Iterator[None]:
    """Wait until no fetch runs, and let none begin: each answer has its row, unless its run has died."""
    wait(connection, "answers", "a fetch that is running")
    yield
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_unlock(hashtext('answers'))")


def no_rebuild(connection: Connection) -> None:
    """Wait for another rebuild, check or thinning; others wait for the end of this connection."""
    wait(connection, "rebuild", "another rebuild, check or thinning")


def wait(connection: Connection, lock: str, whom: str) -> None:
    """Take a lock for as long as the connection lasts. Raises Failure (75) if that is not possible in PATIENCE.

    It is asked for each second: a fetch need not queue behind us, and a SIGTERM is heard at once.
    """

    def take() -> bool:
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_lock(hashtext(%(lock)s))", {"lock": lock})
            return bool(cursor.fetchone() == (True,))

    if take():
        return
    log.info("Waiting for %s", whom)
    try:
        tenacity.Retrying(
            retry=tenacity.retry_if_result(lambda taken: not taken),
            wait=tenacity.wait_fixed(1),
            stop=tenacity.stop_after_delay(PATIENCE),
        )(take)
    except tenacity.RetryError:
        raise Failure(
            TRY_LATER, f"There still is {whom} after {PATIENCE // 60} minutes: nothing was changed. Try again later."
        ) from None
