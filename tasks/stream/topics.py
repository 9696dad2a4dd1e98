"""The two topics: how they are made, what they have to be, and what they say of the last run."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from confluent_kafka import Message, TopicPartition
from confluent_kafka.admin import ConfigResource, NewTopic

from step import BAD_CONFIGURATION, Failure
from stream.kafka import Kafka

LAUNCHES, CHANGES = "rocket-launches", "rocket-launch-changes"
YEAR = timedelta(days=365)
# A partition each: the order is that of the database. The number of copies is the cluster's own default.
SETTINGS = {
    # What is superseded is gone within a day, so that the topic is as quickly read as the table.
    LAUNCHES: {"cleanup.policy": "compact", "max.compaction.lag.ms": "86400000"},
    CHANGES: {
        "cleanup.policy": "delete",
        "retention.ms": str(YEAR // timedelta(milliseconds=1)),
        "retention.bytes": "-1",
    },
}
FIRST = datetime.min.replace(tzinfo=UTC)
TAIL = 16  # records from the end that are looked at first: the last ones can be a transaction's marks
MORE = 16  # times as many are looked at next


@dataclass
class Position:
    """How far the topics are.

    `change` is the value of the last change, `number` its id. Of the last launch are `digest`, that of the table at
    that time, and `until`, the newest change then. `source` is the time when the topic of changes was begun, as both
    have it.
    """

    number: int = 0
    change: dict[str, Any] = field(default_factory=dict)
    until: int = 0
    digest: str = ""
    source: str = ""


def position(kafka: Kafka) -> Position:
    """Read what is committed at the end of both topics; a topic that is not there has nothing."""
    found, ends = Position(), last(kafka, LAUNCHES, CHANGES)
    if (launch := ends.get(LAUNCHES)) is not None:
        headers = headers_of(launch)
        found.until, found.digest = int(headers.get("ce_lastchange", "0")), headers.get("ce_tabledigest", "")
        found.source = headers.get("ce_source", "")
    if (change := ends.get(CHANGES)) is not None:
        headers = headers_of(change)
        try:
            found.number, found.change = int(headers["ce_id"]), json.loads(change.value())
        except (KeyError, TypeError, ValueError):
            raise Failure(
                BAD_CONFIGURATION,
                f"The last record of {CHANGES}, at offset {change.offset()}, is not this step's: something else writes "
                "to the topic. Take its right to, and run the step with --from-start.",
            ) from None
        found.source = headers.get("ce_source", "")
    return found


def last(kafka: Kafka, *names: str) -> dict[str, Message]:
    """Return the last committed record of each topic that has one."""
    ends = kafka.ends(*names)
    found: dict[str, Message] = {}
    seen, count = 0, TAIL  # records from the end
    while starts := {topic: max(0, end - count) for topic, end in ends.items() if topic not in found and end > seen}:
        found |= {str(message.topic()): message for message in kafka.records(starts)}
        seen, count = count, count * MORE  # there were only transactions that were undone
    return found


def headers_of(message: Message) -> dict[str, str]:
    """Return a record's headers as texts."""
    return {name: value.decode() if isinstance(value, bytes) else str(value) for name, value in message.headers() or []}


def prepare(kafka: Kafka) -> None:
    """Make the topics that are missing. Raises Failure (78) if that is not allowed, or one is not what it has to be."""
    found = kafka.patiently(kafka.admin, lambda seconds: kafka.admin.list_topics(timeout=seconds)).topics
    for topic, settings in SETTINGS.items():
        if topic not in found or found[topic].error:
            make(kafka, topic, settings)
            continue
        if (count := len(found[topic].partitions)) != 1:
            raise Failure(
                BAD_CONFIGURATION,
                f"The topic {topic} has {count} partitions, and changes would lose their order: it needs one. Delete "
                "the topic and run the step again.",
            )
        policy = setting(kafka, topic, "cleanup.policy")
        if policy != settings["cleanup.policy"]:
            raise Failure(
                BAD_CONFIGURATION,
                f"The topic {topic} has cleanup.policy={policy}, and would lose what readers rely on: set it to "
                f"{settings['cleanup.policy']}, by kafka-configs.sh --alter, and run the step again.",
            )


def make(kafka: Kafka, topic: str, settings: dict[str, str]) -> None:
    """Make a topic; another run may have done so meanwhile."""
    future = kafka.admin.create_topics([NewTopic(topic, 1, -1, config=settings)])[topic]
    try:
        kafka.result(future)
    except Failure as failure:
        if "already exists" in str(failure):
            return
        if failure.exit_code != BAD_CONFIGURATION:
            raise
        raise Failure(
            BAD_CONFIGURATION,
            f"The topic {topic} is not there and this user may not make it ({failure}): make it yourself, as "
            "docs/streaming.md says, or give the user that right.",
        ) from None


def setting(kafka: Kafka, topic: str, name: str) -> str:
    """Return a setting of a topic."""
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    return str(kafka.result(kafka.admin.describe_configs([resource])[resource])[name].value)


def kept_since(kafka: Kafka, now: datetime) -> datetime:
    """Return since when changes are kept; -1 is for ever."""
    milliseconds = int(setting(kafka, CHANGES, "retention.ms"))
    try:
        return now - timedelta(milliseconds=milliseconds) if milliseconds >= 0 else FIRST
    except OverflowError:
        return FIRST


def empty(kafka: Kafka) -> None:
    """Delete all changes that the topic has."""
    # -1 is the end.
    [future] = kafka.admin.delete_records([TopicPartition(CHANGES, 0, -1)]).values()
    kafka.result(future)
