"""PostgreSQL: connect by libpq's own variables, and say what its errors mean."""

import logging
import os

import psycopg2
import tenacity

TRY_LATER, BAD_CONFIGURATION = 75, 78  # EX_TEMPFAIL and EX_CONFIG of sysexits.h

log = logging.getLogger(__name__)


class Failure(Exception):  # noqa: N818  # a failure of the step, not of the program
    """What happened and what to do, as the last line of the log; and the exit code that goes with it."""

    def __init__(self, exit_code: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def first_line(error: psycopg2.Error) -> str:
    """Return PostgreSQL's own words without its hints and positions."""
    return (str(error).strip() or type(error).__name__).partition("\n")[0]


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


def connect() -> "psycopg2.extensions.connection":
    """Connect, and wait for a database that is still starting.

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
        connection: psycopg2.extensions.connection = waiting(
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


def explain(error: psycopg2.Error) -> Failure:
    """Turn an error of a statement into the step's failure; what is a defect of ours is raised again.

    The classes are those of PostgreSQL's appendix "Error Codes": 08 connection, 25006 read-only (a standby),
    40 rollback (deadlock), 53 resources, 55P03 lock timeout, 57 operator's intervention (restart, time-out);
    42P01 and 42703 a table or column that is not there, 42501 a missing right.
    """
    code = error.pgcode or "08000"  # libpq gives none when the connection breaks
    said = first_line(error)
    if code in ("42P01", "42703", "42501"):
        return Failure(BAD_CONFIGURATION, f"PostgreSQL: {said}. Run initialize_schema, which makes and grants it.")
    if code[:2] in ("08", "40", "53", "57") or code in ("25006", "55P03"):
        return Failure(TRY_LATER, f"PostgreSQL: {said}. Nothing was stored; the next try starts from the beginning.")
    raise error
