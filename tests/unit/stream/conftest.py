"""publish_launch_changes against a real PostgreSQL and a real Kafka: what its tests share."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from unittest import mock

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient

import step
from standins.kafka import Kafka
from stream import __main__ as program
from stream.topics import CHANGES, LAUNCHES
from tests.conftest import Database, Result, run_in_process
from tests.unit.publish.conftest import Launches

NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)

Stream = Callable[..., Result]


@dataclass
class Record:
    """What an independent reader finds."""

    key: str
    value: dict[str, Any] | None
    headers: dict[str, str]
    milliseconds: int

    @classmethod
    def of(cls, message: Message) -> "Record":
        headers = {name: value.decode() for name, value in message.headers() or []}
        value = message.value()
        return cls(message.key().decode(), json.loads(value) if value else None, headers, message.timestamp()[1])


class Topics:
    """The topics, as a reader of what is committed sees them, from their first record on."""

    def __init__(self, kafka: Kafka) -> None:
        self.kafka = kafka
        self.admin = AdminClient(kafka.client() | {"log_level": 0})

    def delete(self, *topics: str) -> None:
        self.kafka.delete(*topics)

    def read(self, topic: str, user: str = "reader", **settings: object) -> list[Record]:
        """Return all records that are there."""
        consumer = Consumer(
            self.kafka.client(user)
            | {
                "group.id": "test",
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "fetch.wait.max.ms": 20,
                "log_level": 0,
            }
            | settings
        )
        try:
            if topic not in consumer.list_topics(timeout=10).topics:
                return []
            consumer.assign([TopicPartition(topic, 0, 0)])
            found = []
            while True:
                message = consumer.poll(20)
                assert message is not None, "the topic has no end"
                if not (error := message.error()):
                    found.append(Record.of(message))
                elif error.code() == KafkaError._PARTITION_EOF:
                    return found
                else:
                    raise KafkaException(error)
        finally:
            consumer.close()

    def changes(self) -> list[Record]:
        return self.read(CHANGES)

    def launches(self) -> dict[str, dict[str, Any]]:
        """Return the table that the compacted topic is."""
        table = {record.key: record.value for record in self.read(LAUNCHES)}
        return {key: value for key, value in table.items() if value is not None}

    def assert_equal(self, database: Database) -> None:
        """The topics have what the tables have: no more, no less, nothing twice, in the same order."""
        text = 'to_char({}, \'YYYY-MM-DD"T"HH24:MI:SS"Z"\')'.format
        exact = 'to_char({}, \'YYYY-MM-DD"T"HH24:MI:SS.US"Z"\')'.format
        rows = database.query(
            f"SELECT launch_id, name, {text('net')}, net_precision, status, image_url, {text('last_updated')},"
            f" {exact('first_seen_at')}, {exact('withdrawn_at')} FROM rocket_launches"
        )
        assert {key: list(value.values()) for key, value in self.launches().items()} == {r[0]: list(r) for r in rows}
        rows = database.query(
            f"SELECT id::text, launch_id, field, old_value, new_value, {exact('seen_at')}"
            " FROM launch_changes ORDER BY launch_changes.id"
        )
        found = [
            (record.headers["ce_id"], *((record.value or {})[name] for name in
             ("launch_id", "field", "old_value", "new_value", "seen_at")))
            for record in self.changes()
        ]  # fmt: skip
        assert found == rows


@pytest.fixture
def topics(kafka: Kafka) -> Topics:
    """The topics, which are not there yet."""
    topics = Topics(kafka)
    topics.delete(LAUNCHES, CHANGES)
    return topics


@pytest.fixture(scope="module")
def one_database(new_database: Callable[..., Database]) -> Database:
    return new_database()


@pytest.fixture
def database(one_database: Database) -> Database:
    """A database with the schema and nothing in it."""
    one_database.query("TRUNCATE rocket_launches, launch_changes, notifications RESTART IDENTITY CASCADE")
    return one_database


@pytest.fixture
def launches(database: Database) -> Launches:
    return Launches(database)


@pytest.fixture
def stream(database: Database, kafka: Kafka, topics: Topics) -> Stream:  # noqa: ARG001  # they are gone at its start
    """Run the step in this process; `after` is the time since the first run."""

    def run(*arguments: str, after: timedelta = timedelta(), **env: str) -> Result:
        settings = {
            "DATABASE_WAIT_SECONDS": "1",
            "KAFKA_WAIT_SECONDS": "5",
            "NOW": (NOW + after).isoformat(),
        }
        with mock.patch("sys.argv", ["stream", *arguments]):
            return run_in_process(
                partial(step.main, program.run), database.env("stream") | settings | kafka.env() | env
            )

    return run


@pytest.fixture(autouse=True)
def nothing_on_stderr(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """librdkafka is silent; what is to be said is in the log."""
    yield
    assert not capfd.readouterr().err
