"""Print the newest changes from Kafka, a line each; with --follow, each that comes.

Exit codes: 0 printed, 75 Kafka does not answer, 78 it refuses, 143 stopped by SIGTERM.
"""

import argparse
import json
import sys
from collections import deque

from confluent_kafka import Message

import step
from step import DONE, TRY_LATER, Failure
from stream.kafka import Kafka
from stream.topics import CHANGES

NEWEST = 20


def run() -> int:
    """Print to the end, or for ever. Return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m stream.changes", description=__doc__)
    parser.add_argument("--follow", action="store_true", help="go on with each change that comes")
    follow = parser.parse_args().follow
    newest: deque[Message] = deque(maxlen=NEWEST)
    with Kafka() as kafka:
        if (end := kafka.ends(CHANGES).get(CHANGES)) is None:
            raise Failure(
                TRY_LATER, f"There is no topic {CHANGES} yet: the first run of publish_launch_changes makes it."
            )
        # A transaction has a mark besides its records: of twice as many offsets, half at least are records.
        for record in kafka.follow({CHANGES: max(0, end - 2 * NEWEST)}):
            if not record.error():
                newest.append(record)
                continue
            while newest:
                show(newest.popleft())
            if not follow:
                return DONE
    return DONE


def show(record: Message) -> None:
    """Print a change as people read it: when it was seen, of which launch, and what it was and is."""
    change = json.loads(record.value())
    was, is_now = (change[name] or "unknown" for name in ("old_value", "new_value"))
    seen = change["seen_at"].replace("T", " ")[:16]
    text = f"{seen} UTC  {change['name']}: {change['field']} {was} -> {is_now}"
    print(step.printable(text), flush=True)  # noqa: T201  # what it is for


if __name__ == "__main__":
    sys.exit(step.main(run))
