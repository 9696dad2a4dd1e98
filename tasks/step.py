"""What every step is: a program with one job, an exit code, and a last line of log that says what happened.

This file is copied into each image, beside the step's package. No step's work belongs here.
"""

import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from types import FrameType
from typing import NoReturn

import psycopg2
import tenacity
from psycopg2.extensions import connection as Connection  # noqa: N812  # it is a class

# 65, 75 and 78 are EX_DATAERR, EX_TEMPFAIL and EX_CONFIG of sysexits.h. The DAG shows 99 as skipped.
DONE, BAD_INPUT, TRY_LATER, BAD_CONFIGURATION, NOTHING_TO_SAY = 0, 65, 75, 78, 99

log = logging.getLogger(__name__)


class Failure(Exception):  # noqa: N818  # a failure of the step, not of the program
    """Ends the step with `exit_code`; the sentence says what happened and what to do, as the last line of the log."""

    def __init__(self, exit_code: int, sentence: str) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code


class OneLine(logging.Formatter):
    """One record, one line, in UTC: other people's text can neither forge a line nor steer a terminal."""

    converter = staticmethod(time.gmtime)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's own name
        """Write what is not printable as Python would escape it."""
        return printable(super().formatMessage(record))


def printable(text: str) -> str:
    """Return a text as one line that a terminal only prints."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def stop(signum: int, _frame: FrameType | None) -> NoReturn:
    """End as the shell's convention says, with 128 + the signal; what is open is rolled back on the way out.

    Nothing is logged here: the signal may have come in the middle of writing a log line.
    """
    raise SystemExit(128 + signum)


def now() -> datetime:
    """Return the time in UTC: the clock's, or NOW's, by which recorded pages are replayed at the time of recording.

    Raises Failure (78) if NOW is no ISO 8601 time.
    """
    if not (setting := os.environ.get("NOW")):
        return datetime.now(UTC)
    try:
        return datetime.fromisoformat(setting).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Failure(BAD_CONFIGURATION, f"NOW is {setting!r}: give a time such as 2026-11-24T07:00:00Z.") from None


def connect() -> Connection:
    """Connect by libpq's own variables, and wait for a database that is still starting.

    `DATABASE_WAIT_SECONDS` (60) bounds the wait. Raises Failure: 75 if PostgreSQL is not there by then, 78 if it
    is there and refuses us.
    """
    setting = os.environ.get("DATABASE_WAIT_SECONDS") or "60"
    if not setting.isdecimal():
        raise Failure(BAD_CONFIGURATION, f"DATABASE_WAIT_SECONDS is {setting!r}: give a number of seconds.")
    seconds = int(setting)
    waiting = tenacity.Retrying(
        retry=tenacity.retry_if_exception(lambda e: isinstance(e, psycopg2.OperationalError) and not is_permanent(e)),
        wait=tenacity.wait_exponential(multiplier=0.25, max=5),
        stop=tenacity.stop_after_delay(seconds),
        before_sleep=lambda state: log.info("Waiting for PostgreSQL, try %d", state.attempt_number + 1),
        reraise=True,
    )
    try:
        connection: Connection = waiting(
            # Keepalives: a node that died must not hold this step until the kubelet ends it.
            psycopg2.connect, "", connect_timeout=5, keepalives_idle=10, keepalives_interval=5, keepalives_count=3
        )  # fmt: skip
    except psycopg2.OperationalError as error:
        if is_permanent(error):
            raise Failure(
                BAD_CONFIGURATION,
                f"PostgreSQL refused the connection: {first_line(error)}. "
                "Check PGHOST, PGPORT, PGDATABASE, PGUSER and PGPASSWORD.",
            ) from None
        raise Failure(
            TRY_LATER,
            f"PostgreSQL did not answer within {seconds} s: {first_line(error)}. "
            "Check that it runs; the next try starts from the beginning.",
        ) from None
    with connection, connection.cursor() as cursor:
        # Bounds, shorter than the 30 s that Kubernetes grants between SIGTERM and SIGKILL.
        cursor.execute("SET lock_timeout = '20s'; SET statement_timeout = '5min'; SET timezone = 'UTC'")
    return connection


def is_permanent(error: BaseException) -> bool:
    """Tell whether waiting is useless. libpq gives no SQLSTATE for a connection that failed, only its text."""
    words = (
        "authentication failed",
        "no password supplied",
        "does not exist",
        "no pg_hba.conf entry",
        "permission denied",
        "not permitted to log in",
        "invalid ",
    )
    return any(word in str(error) for word in words)


def first_line(error: psycopg2.Error) -> str:
    """Return PostgreSQL's own words without its hints and positions."""
    return (str(error).strip() or type(error).__name__).partition("\n")[0]


def is_transient(error: psycopg2.Error) -> bool:
    """Tell whether a statement's error may be gone at the next try.

    The classes are those of PostgreSQL's appendix "Error Codes": 08 connection, 25006 read-only (a standby),
    40 rollback (deadlock), 53 resources, 55P03 lock timeout, 57 operator's intervention (restart, time-out).
    """
    code = error.pgcode or "08000"  # libpq gives none when the connection breaks
    return code[:2] in ("08", "40", "53", "57") or code in ("25006", "55P03")


def explain(error: psycopg2.Error) -> Failure:
    """Return the Failure that a statement's error means: 75 if it may pass, 78 if the schema or a right is missing.

    Raises the error again if it is a defect of ours.
    """
    said = first_line(error)
    if error.pgcode in ("42P01", "42703", "42501"):  # no such table, no such column, a missing right
        return Failure(BAD_CONFIGURATION, f"PostgreSQL: {said}. Run initialize_schema, which makes and grants it.")
    if is_transient(error):
        return Failure(TRY_LATER, f"PostgreSQL: {said}. Nothing was stored; the next try starts from the beginning.")
    raise error


@contextlib.contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in the main thread if the block takes longer than `seconds`.

    A socket's own timeout starts again with every byte, so an answer that drips would never end.
    """

    def late(_signum: int, _frame: FrameType | None) -> NoReturn:
        raise TimeoutError(f"not complete after {seconds:g} s")

    previous = signal.signal(signal.SIGALRM, late)
    # Again every second: an exception raised inside a destructor is swallowed.
    signal.setitimer(signal.ITIMER_REAL, seconds, 1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def innermost(error: BaseException) -> BaseException:
    """Return the reason behind the layers that requests and urllib3 wrap around it."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return error


def main(run: Callable[[], int | None], explain: Callable[[psycopg2.Error], Failure] = explain) -> int:
    """Run the step, its log on stdout, and return its exit code.

    That is what `run` returns (0 for None), or the one of the Failure that it raises or that `explain` makes of
    PostgreSQL's error. Any other exception is a defect of ours and passes through; so does the SystemExit (143) of a
    SIGTERM, with a last line in the log.
    """
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(OneLine("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%SZ"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    signal.signal(signal.SIGTERM, stop)
    try:
        return run() or DONE
    except (Failure, psycopg2.Error) as error:
        failure = error if isinstance(error, Failure) else explain(error)
        log.error("%s", failure)  # noqa: TRY400  # the sentence is for people; a traceback would bury it
        return failure.exit_code
    except SystemExit:
        log.error("Stopped by SIGTERM: what was not committed is undone. Run the step again.")  # noqa: TRY400  # the same
        raise
