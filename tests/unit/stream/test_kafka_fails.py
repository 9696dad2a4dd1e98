"""Kafka is away, refuses, or is not as it has to be: each has its sentence and exit code, and the next run goes on."""

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from unittest import mock

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic
from psycopg2 import OperationalError

from standins.kafka import Kafka
from stream.topics import CHANGES, LAUNCHES, SETTINGS, Position, position
from stream.transactions import Transactions
from tests.conftest import Database, assert_stops, run_step, started
from tests.unit.publish.conftest import Launches
from tests.unit.stream.conftest import NOW, Stream, Topics

MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def changed(launches: Launches) -> str:
    """A launch with two changes."""
    one = launches.add()
    launches.change(one, at=NOW, status="Hold", name="Wren")
    return one


@pytest.fixture
def own_kafka() -> Iterator[Kafka]:
    """A broker for one test, which may harm it."""
    with Kafka() as broker:
        yield broker


def change(topics: Topics, topic: str, **settings: str) -> None:
    """Change settings of a topic."""
    entries = [
        ConfigEntry(name.replace("_", "."), value, incremental_operation=AlterConfigOpType.SET)
        for name, value in settings.items()
    ]
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=entries)
    topics.admin.incremental_alter_configs([resource])[resource].result(30)


def make(topics: Topics, topic: str, settings: dict[str, str], partitions: int = 1) -> None:
    topics.admin.create_topics([NewTopic(topic, partitions, config=settings)])[topic].result(30)


@pytest.mark.parametrize("name", [LAUNCHES, CHANGES])
def test_topics_that_are_there_as_they_have_to_be(
    stream: Stream, topics: Topics, database: Database, name: str
) -> None:
    make(topics, name, SETTINGS[name])
    assert stream().code == 0
    topics.assert_equal(database)


def test_a_topic_with_the_wrong_policy(stream: Stream, topics: Topics, database: Database) -> None:
    make(topics, CHANGES, {"cleanup.policy": "compact"})
    result = stream()
    assert result.code == 78
    assert "The topic rocket-launch-changes has cleanup.policy=compact" in result.last
    assert not topics.changes()
    change(topics, CHANGES, cleanup_policy="delete")
    assert stream(after=MINUTE).code == 0
    topics.assert_equal(database)


@pytest.mark.parametrize("milliseconds", ["-1", str(2**62)])
def test_changes_that_are_kept_for_ever_and_are_gone(stream: Stream, topics: Topics, milliseconds: str) -> None:
    make(topics, CHANGES, SETTINGS[CHANGES] | {"retention.ms": milliseconds})
    stream()
    topics.delete(CHANGES)
    make(topics, CHANGES, SETTINGS[CHANGES] | {"retention.ms": milliseconds})
    result = stream(after=MINUTE)
    assert result.code == 78
    assert "was emptied: it had 2 changes that it has no more" in result.last


def test_a_topic_with_several_partitions(stream: Stream, topics: Topics) -> None:
    make(topics, LAUNCHES, SETTINGS[LAUNCHES], partitions=3)
    result = stream()
    assert result.code == 78
    assert "The topic rocket-launches has 3 partitions, and changes would lose their order" in result.last
    assert not topics.changes()


def test_a_topic_that_somebody_else_writes_to(stream: Stream, topics: Topics, database: Database, kafka: Kafka) -> None:
    assert stream().code == 0
    other = Producer(kafka.client() | {"log_level": 0})
    other.produce(CHANGES, "hello")
    other.flush(10)
    result = stream(after=MINUTE)
    assert result.code == 78
    assert "is not this step's: something else writes to the topic" in result.last
    assert stream("--from-start", after=2 * MINUTE).code == 0
    topics.assert_equal(database)


def test_a_user_that_may_not_make_topics(stream: Stream, kafka: Kafka) -> None:
    reader = kafka.env("reader")
    result = stream(**reader)
    assert result.code == 78
    assert "is not there and this user may not make it" in result.last
    assert "make it yourself, as docs/streaming.md says" in result.last


def test_a_user_that_may_only_read(stream: Stream, kafka: Kafka, launches: Launches, changed: str) -> None:
    stream()
    launches.change(changed, at=NOW + MINUTE, status="Go")
    result = stream(after=MINUTE, **kafka.env("reader"))
    assert result.code == 78
    assert "Kafka refuses: " in result.last
    assert "docs/streaming.md" in result.last


def test_a_wrong_password(stream: Stream) -> None:
    began = time.monotonic()
    result = stream(KAFKA_PASSWORD="wrong-secret", KAFKA_WAIT_SECONDS="30")
    assert time.monotonic() - began < 10
    assert result.code == 78
    assert "Authentication failed during authentication due to invalid credentials" in result.last
    assert "Check KAFKA_USERNAME, KAFKA_PASSWORD and KAFKA_SASL_MECHANISM." in result.last
    assert "wrong-secret" not in "".join(result.lines)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"KAFKA_SECURITY_PROTOCOL": "SMOKE_SIGNALS"}, "security.protocol"),
        ({"KAFKA_SASL_MECHANISM": "HANDSHAKE"}, "Unsupported SASL mechanism: HANDSHAKE"),
        ({"KAFKA_CA": "no certificate"}, "ssl.ca.pem"),
        ({"KAFKA_WAIT_SECONDS": "a while"}, "KAFKA_WAIT_SECONDS is 'a while': give a number of seconds."),
    ],
)
def test_settings_that_are_none(stream: Stream, settings: dict[str, str], words: str) -> None:
    result = stream(**settings)
    assert result.code == 78
    assert words in result.last


def test_without_a_server_there_is_nothing_to_do(stream: Stream) -> None:
    result = stream(KAFKA_BOOTSTRAP_SERVERS=" ")
    assert (result.code, result.last) == (99, "INFO Nothing is streamed: KAFKA_BOOTSTRAP_SERVERS is not set.")


@pytest.mark.parametrize("what", ["expired", "another CA"])
def test_a_certificate_that_cannot_be_trusted(stream: Stream, own_kafka: Kafka, what: str) -> None:
    trusted = own_kafka.env()
    own_kafka.stop()
    own_kafka.certify(timedelta(days=-1) if what == "expired" else timedelta(days=1))
    own_kafka.start()
    result = stream(**(own_kafka.env() if what == "expired" else trusted))
    assert result.code == 78
    assert "certificate verify failed" in result.last
    assert "Check the broker's certificate, its date and its names, and KAFKA_CA." in result.last


def test_plain_text_to_a_broker_that_wants_tls(stream: Stream) -> None:
    result = stream(KAFKA_SECURITY_PROTOCOL="SASL_PLAINTEXT", KAFKA_WAIT_SECONDS="2")
    assert result.code == 75
    assert "KAFKA_SECURITY_PROTOCOL" in result.last


@pytest.mark.parametrize("address", ["127.0.0.1:1", "no-such-host.invalid:9092"])
def test_nobody_is_there(stream: Stream, address: str) -> None:
    began = time.monotonic()
    result = stream(KAFKA_BOOTSTRAP_SERVERS=address, KAFKA_WAIT_SECONDS="2")
    assert time.monotonic() - began < 8
    assert result.code == 75
    assert "Kafka did not answer within 2 s: " in result.last
    assert "Check that it runs, KAFKA_BOOTSTRAP_SERVERS and KAFKA_SECURITY_PROTOCOL" in result.last


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_broker_that_goes_in_the_middle_of_a_transaction(
    stream: Stream, own_kafka: Kafka, database: Database, how: signal.Signals
) -> None:
    commit = Transactions.commit

    def gone(self: Transactions) -> None:
        own_kafka.send(how)
        commit(self)

    began = time.monotonic()
    with mock.patch.object(Transactions, "commit", gone):
        result = stream(**own_kafka.env() | {"KAFKA_WAIT_SECONDS": "3"})
    assert time.monotonic() - began < 20
    assert result.code == 75
    assert "Kafka did not answer within 3 s" in result.last
    if how == signal.SIGKILL:
        own_kafka.stop()
        own_kafka.start()
    own_kafka.send(signal.SIGCONT)
    topics = Topics(own_kafka)
    assert stream(after=MINUTE, **own_kafka.env() | {"KAFKA_WAIT_SECONDS": "30"}).code in (0, 99)
    topics.assert_equal(database)


def test_a_database_that_goes_in_the_middle_of_a_transaction(
    stream: Stream, topics: Topics, database: Database
) -> None:
    write = Transactions.write

    def gone(self: Transactions, topic: str, *more: object) -> None:
        if topic == LAUNCHES:
            raise OperationalError("server closed the connection unexpectedly")
        write(self, topic, *more)  # type: ignore[arg-type]

    with mock.patch.object(Transactions, "write", gone):
        result = stream()
    assert result.code == 75
    assert "server closed the connection unexpectedly" in result.last
    assert not topics.changes()
    assert stream(after=MINUTE).code == 0
    topics.assert_equal(database)


def test_a_message_that_is_too_large(launches: Launches, stream: Stream, topics: Topics, database: Database) -> None:
    one = launches.add(os.urandom(800_000).hex())  # which cannot be compressed to less than half
    result = stream()
    assert result.code == 78
    assert f"bytes, of the launch {one}: raise max.message.bytes of the topic rocket-launches" in result.last
    assert not topics.changes()
    change(topics, LAUNCHES, max_message_bytes="3000000")
    assert stream(after=MINUTE).code == 0
    topics.assert_equal(database)


def test_a_clock_that_is_ahead(
    launches: Launches, stream: Stream, topics: Topics, database: Database, changed: str
) -> None:
    """A broker refuses times of more than an hour from now."""
    launches.change(changed, at=NOW + timedelta(hours=9), status="Go")
    result = stream()
    assert result.code == 75
    assert "Compare the clocks of the broker and of the machine that fetches" in result.last
    assert not topics.changes()
    database.query("UPDATE launch_changes SET seen_at = %s WHERE field = 'status' AND new_value = 'Go'", NOW)
    assert stream(after=MINUTE).code == 0
    topics.assert_equal(database)


def test_two_at_once(stream: Stream, topics: Topics, database: Database, kafka: Kafka) -> None:
    """The older is refused once the newer has begun; together they write everything once."""
    commit, newer = Transactions.commit, []

    def overtaken(self: Transactions) -> None:
        with mock.patch.object(Transactions, "commit", commit):
            newer.append(run_step("stream", database.env("stream") | kafka.env()))
        commit(self)

    with mock.patch.object(Transactions, "commit", overtaken):
        older = stream(PATH=os.environ["PATH"])
    assert [result.code for result in newer] == [0]
    assert older.code == 75
    assert older.last == "ERROR Another run writes to Kafka: it has taken over, and this one wrote nothing more."
    topics.assert_equal(database)
    assert stream(after=MINUTE).code == 99


def test_newer_runs_that_commit_while_this_one_looks(
    stream: Stream, topics: Topics, database: Database, launches: Launches, changed: str
) -> None:
    """Each time, it sees one topic as it was and the other as it is."""
    assert stream().code == 0
    launches.change(changed, at=NOW + MINUTE, status="Go")
    torn, look = iter([Position(until=2, digest=str(number)) for number in range(4)]), position
    with mock.patch("stream.topics.position", lambda kafka: next(torn, None) or look(kafka)):
        assert stream(after=MINUTE).code == 0
    topics.assert_equal(database)


def test_five_at_once(stream: Stream, topics: Topics, database: Database, kafka: Kafka) -> None:
    results = []
    runs = [
        threading.Thread(target=lambda: results.append(run_step("stream", database.env("stream") | kafka.env())))
        for _ in range(5)
    ]
    for one in runs:
        one.start()
    for one in runs:
        one.join()
    codes = [result.code for result in results]
    assert set(codes) <= {0, 75, 99}, results
    assert codes.count(0) <= 1
    stream(after=MINUTE)
    topics.assert_equal(database)


def test_stopped(database: Database, own_kafka: Kafka) -> None:
    """While Kafka stands still, too."""
    own_kafka.send(signal.SIGSTOP)
    try:
        with started("stream", database.env("stream") | own_kafka.env()) as process:
            time.sleep(2)
            process.terminate()
            assert_stops(process)
    finally:
        own_kafka.send(signal.SIGCONT)


@pytest.fixture
def volume(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A volume of 64 MiB, where the broker keeps its data."""
    folder = Path(tempfile.mkdtemp())
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m,mode=1777", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small volume takes root")
    try:
        with monkeypatch.context() as patch:
            patch.setattr(tempfile, "tempdir", str(folder))
            yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_broker_whose_disk_is_full(volume: Path, stream: Stream, database: Database) -> None:
    """It stops then, as Kafka does: a run says so, and room and a restart are all that it takes."""
    with Kafka("log.segment.bytes=1048576\n") as broker:
        env = broker.env() | {"KAFKA_WAIT_SECONDS": "5"}
        assert stream(**env).code == 0
        full = volume / "full"
        with full.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(64 * 1024))
        database.query(
            "INSERT INTO launch_changes (launch_id, field, old_value, new_value, seen_at)"
            " SELECT launch_id, 'status', 'Go', md5(n::text), %s FROM rocket_launches, generate_series(1, 20000) AS n",
            NOW,
        )
        result = stream(after=MINUTE, **env)
        assert result.code == 75
        full.unlink()
        broker.stop()
        broker.start()
        assert stream(after=2 * MINUTE, **env | {"KAFKA_WAIT_SECONDS": "30"}).code == 0
        Topics(broker).assert_equal(database)
