"""Bring the launches and their changes to Kafka, each change once.

Exit codes: 0 written, 75 try again later (the database or Kafka is away, or another run has taken over), 78 the
configuration is bad, or the topics and the database do not belong together, 99 nothing is new, or there is no Kafka,
143 stopped by SIGTERM.
"""

import argparse
import contextlib
import hashlib
import json
import logging
import os
import sys
from collections.abc import Iterator
from datetime import datetime

import step
from step import BAD_CONFIGURATION, DONE, NOTHING_TO_SAY, Failure
from stream import topics
from stream.kafka import Kafka
from stream.store import Store
from stream.topics import CHANGES, LAUNCHES, Position
from stream.transactions import Headers, Transactions

BATCH = 10_000  # records after which a transaction takes no other fetch in

log = logging.getLogger("stream")


def run() -> int:
    """Write what is new. Return the exit code."""
    if not os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "").strip():
        log.info("Nothing is streamed: KAFKA_BOOTSTRAP_SERVERS is not set.")
        return NOTHING_TO_SAY
    now, anew = step.now(), is_from_start()
    with Kafka() as kafka, contextlib.closing(step.connect()) as connection:  # Kafka connects meanwhile
        store = Store(connection)
        if not anew:
            # Most runs end here, without a producer. The topics first: the tables have at least what these have.
            before = topics.position(kafka)
            state = store.state()
            if (before.number, before.digest) == (state.newest, state.digest) and is_same_change(store, before):
                log.info("Nothing is new: %d launches, and the newest change is %d", state.launches, state.newest)
                return NOTHING_TO_SAY
            store.look_again()
        topics.prepare(kafka)
        if anew:
            transactions, before = Transactions(kafka), Position()
            topics.empty(kafka)
        else:
            transactions, before = take_over(kafka, store, now)
        source = before.source or f"/rocket-launches/{now:%Y%m%dT%H%M%SZ}"
        changes = write_changes(store, transactions, before, source)
        launches = write_launches(store, transactions, known(kafka, anew=anew), source, now)
        transactions.commit()
    if not changes and not launches:
        log.info("Nothing is new.")
        return NOTHING_TO_SAY
    log.info("Streamed %d changes and %d launches%s", changes, launches, "" if before.source else ", from the start")
    return DONE


def is_from_start() -> bool:
    """Tell whether everything is to be written anew, by the command line or, in the DAG, by FROM_START."""
    if len(sys.argv) == 1:
        return os.environ.get("FROM_START") == "true"
    parser = argparse.ArgumentParser(prog="python -m stream", description=__doc__)
    parser.add_argument("--from-start", action="store_true", help="empty the topic of changes, and write all again")
    return bool(parser.parse_args().from_start)


def is_same_change(store: Store, before: Position) -> bool:
    """Tell whether the last change in the topic is what the database has by that id; its launch's name may be newer."""
    if not before.number:
        return True
    there = store.change(before.number)
    return there is not None and json.loads(there.value) | {"name": None} == before.change | {"name": None}


def take_over(kafka: Kafka, store: Store, now: datetime) -> tuple[Transactions, Position]:
    """Let no older run write any more, and return where to go on. Raises Failure (78) as `resume` does.

    A newer run can commit while this one looks, which then sees one topic as it was and the other as it is. So what
    does not fit is looked at again, once the newer one was refused in its turn, until nothing has moved meanwhile.
    """
    last = None
    while True:
        transactions = Transactions(kafka)
        before = topics.position(kafka)
        try:
            resume(kafka, store, before, now)
        except Failure:
            if before == last:
                raise
            last = before
            store.look_again()
        else:
            return transactions, before


def resume(kafka: Kafka, store: Store, before: Position, now: datetime) -> None:
    """Make sure that the topic goes on where the database does. Raises Failure (78) if it does not.

    If the topic has no changes, it is new, or its last one is older than it keeps them, or somebody has emptied it.
    """
    if not is_same_change(store, before):
        raise Failure(
            BAD_CONFIGURATION,
            f"The topic {CHANGES} ends with change {before.number}, of {before.change.get('seen_at')}, and the "
            "database has another one by that number, or none: it was restored from a backup, or made again. Nothing "
            "was written. Run the step with --from-start, which empties the topic and writes all changes again.",
        )
    if before.number or not before.until:
        return
    if lost := store.kept(before.until, topics.kept_since(kafka, now)):
        raise Failure(
            BAD_CONFIGURATION,
            f"The topic {CHANGES} was emptied: it had {lost} changes that it has no more. Nothing was written. Run "
            "the step with --from-start, which writes all changes again.",
        )
    before.number = before.until


def written(time: datetime) -> str:
    """Return a time in UTC as RFC 3339 writes it."""
    return f"{time:%Y-%m-%dT%H:%M:%S.%fZ}"


def known(kafka: Kafka, *, anew: bool) -> dict[str, bytes]:
    """Return a digest of what the topic says of each launch; where everything is written anew, none is right."""
    digests: dict[str, bytes] = {}
    for record in kafka.records({topic: 0 for topic, end in kafka.ends(LAUNCHES).items() if end}):
        key = (record.key() or b"").decode(errors="replace")
        if record.value() is None:
            digests.pop(key, None)
        else:
            digests[key] = b"" if anew else hashlib.sha256(record.value()).digest()
    return digests


def write_changes(store: Store, transactions: Transactions, before: Position, source: str) -> int:
    """Write what is newer than the last change, those of one fetch in one transaction; return their number."""
    count, seen_at, time, milliseconds = 0, None, "", 0
    always: Headers = [
        ("ce_specversion", b"1.0"),
        ("ce_type", b"rocket-launches.launch.changed"),
        ("ce_source", source.encode()),
        ("content-type", b"application/json"),
    ]
    for change in store.changes(before.number):
        if change.seen_at != seen_at:  # another fetch
            if transactions.count >= BATCH:
                transactions.commit()
            seen_at = change.seen_at
            time, milliseconds = written(seen_at), int(seen_at.timestamp() * 1000)
        own: Headers = [("ce_id", str(change.id)), ("ce_time", time), ("ce_subject", change.launch_id)]
        transactions.write(CHANGES, change.launch_id, change.value, always + own, milliseconds)
        count += 1
    return count


def write_launches(
    store: Store, transactions: Transactions, known: dict[str, bytes], source: str, now: datetime
) -> int:
    """Write the launches that the topic does not have as they are now, and take back others; return their number.

    The last one says what the topic then has.
    """
    state, count, held = store.state(), 0, None
    time = written(now)
    always: Headers = [
        ("ce_specversion", b"1.0"),
        ("ce_type", b"rocket-launches.launch"),
        ("ce_source", source.encode()),
        ("ce_time", time),
        ("content-type", b"application/json"),
    ]

    def write(launch_id: str, value: str | None, more: Headers) -> None:
        own: Headers = [("ce_id", f"{launch_id}/{time}"), ("ce_subject", launch_id)]
        transactions.write(LAUNCHES, launch_id, value, always + own + more, int(now.timestamp() * 1000))

    for one in differing(store, known):
        if held:
            write(*held, [])
        held = one
        count += 1
    if held:
        write(*held, [("ce_lastchange", str(state.newest)), ("ce_tabledigest", state.digest)])
    return count


def differing(store: Store, known: dict[str, bytes]) -> Iterator[tuple[str, str | None]]:
    """Yield what the topic does not have, and None for what the table does not."""
    for launch_id, value in store.launches():
        if known.pop(launch_id, None) != hashlib.sha256(value.encode()).digest():
            yield launch_id, value
    yield from ((launch_id, None) for launch_id in known)


if __name__ == "__main__":
    sys.exit(step.main(run))
