"""Bring the database to this image's revision, and give the other steps' roles their rights.

Exit codes: 0 done, 75 try again later (the database is away or busy), 78 the configuration is bad (wrong password,
missing rights, a database newer than this image), 143 stopped by SIGTERM.
"""

import argparse
import logging
import sys
from functools import partial

import step
from init_schema import schema


def main() -> int:
    """Run the step and return its exit code."""
    parser = argparse.ArgumentParser(prog="init_schema", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--to", metavar="REVISION", default="head", help="another revision than the newest; `base` removes everything"
    )
    arguments = parser.parse_args()

    logging.getLogger("alembic").setLevel(logging.WARNING)  # our own last line says what was done
    return step.main(partial(schema.migrate, arguments.to), schema.explain)


if __name__ == "__main__":
    sys.exit(main())
