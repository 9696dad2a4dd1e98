"""Bring the database to this image's revision, and give the other steps' roles their rights.

Exit codes: 0 done, 75 try again later (the database is away or busy), 78 the configuration is bad (wrong password,
missing rights, a database newer than this image), 143 stopped by SIGTERM.
"""

import argparse
import logging
import signal
import sys
import time
from types import FrameType
from typing import NoReturn

import psycopg2

from init_schema import database, schema

log = logging.getLogger("init_schema")


class OneLine(logging.Formatter):
    """One record, one line, in UTC: other people's text can neither forge a line nor steer a terminal."""

    converter = staticmethod(time.gmtime)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's own name
        """Write what is not printable as Python would escape it."""
        line = super().formatMessage(record)
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def stop(signum: int, _frame: FrameType | None) -> NoReturn:
    """End as the shell's convention says; what is open is rolled back on the way out.

    Nothing is logged here: the signal may have come in the middle of writing a log line.
    """
    raise SystemExit(128 + signum)


def main() -> int:
    """Run the step and return its exit code."""
    parser = argparse.ArgumentParser(prog="init_schema", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--to", metavar="REVISION", default="head", help="another revision than the newest; `base` removes everything"
    )
    arguments = parser.parse_args()

    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(OneLine("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%SZ"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("alembic").setLevel(logging.WARNING)  # our own last line says what was done
    signal.signal(signal.SIGTERM, stop)

    try:
        schema.migrate(arguments.to)
    except (database.Failure, psycopg2.Error) as error:
        failure = error if isinstance(error, database.Failure) else database.explain(error)
        log.error("%s", failure)  # noqa: TRY400  # the sentence is for people; a traceback would bury it
        return failure.exit_code
    except SystemExit:
        log.error("Stopped by SIGTERM: what was not committed is undone. Run the step again.")  # noqa: TRY400  # the same
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main())
