"""Kafka: its settings, clients that wait for it, and what its errors mean."""

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

from confluent_kafka import (
    OFFSET_END,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from step import BAD_CONFIGURATION, TRY_LATER, Failure

SLICE = 0.5  # seconds that one call blocks: until it returns, Python sees no SIGTERM
LARGEST = 100_000_000  # bytes: what a message may have is the broker's to say
TRANSACTIONAL_ID = "rocket-launches"
NAMES = ("BOOTSTRAP_SERVERS", "SECURITY_PROTOCOL", "SASL_MECHANISM", "USERNAME", "PASSWORD", "CA")

Result = TypeVar("Result")

# What librdkafka has to say comes by error_cb.
SILENT = logging.getLogger("librdkafka")
SILENT.disabled = True

# What waiting does not change.
REFUSED = {
    KafkaError._AUTHENTICATION: "Check KAFKA_USERNAME, KAFKA_PASSWORD and KAFKA_SASL_MECHANISM.",
    KafkaError.SASL_AUTHENTICATION_FAILED: "Check KAFKA_USERNAME, KAFKA_PASSWORD and KAFKA_SASL_MECHANISM.",
    KafkaError.UNSUPPORTED_SASL_MECHANISM: "Check KAFKA_SASL_MECHANISM.",
    KafkaError._SSL: "Check the broker's certificate, its date and its names, and KAFKA_CA.",
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "Give the user the rights on its topics that docs/streaming.md lists.",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "Give the user the rights that docs/streaming.md lists.",
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: "Give the user the rights that docs/streaming.md lists.",
    KafkaError.INVALID_REPLICATION_FACTOR: "Make the topics yourself, as docs/streaming.md says.",
    KafkaError.POLICY_VIOLATION: "Make the topics yourself, as docs/streaming.md says.",
}
FENCED = (KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH, KafkaError.PRODUCER_FENCED)
AWAY = (KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._RESOLVE)


def explain(error: KafkaError) -> Failure:
    """Return the Failure that an error means: 78 where somebody has to change something, else 75."""
    said = error.str()
    if error.code() in FENCED:
        return Failure(TRY_LATER, "Another run writes to Kafka: it has taken over, and this one wrote nothing more.")
    if error.code() in REFUSED:
        return Failure(BAD_CONFIGURATION, f"Kafka refuses: {said}. {REFUSED[error.code()]}")
    if error.code() == KafkaError.INVALID_TIMESTAMP:
        return Failure(
            TRY_LATER,
            f"Kafka refuses the time of a message: {said}. Compare the clocks of the broker and of the machine that "
            "fetches; the next try starts from the last change that was committed.",
        )
    return Failure(TRY_LATER, f"Kafka: {said}. The next try starts from the last change that was committed.")


class Kafka:
    """A cluster by its settings, and the clients to it, which are closed with it.

    All calls raise Failure: 78 where Kafka refuses, 75 where it does not answer within KAFKA_WAIT_SECONDS (30).
    """

    def __init__(self) -> None:
        seconds = os.environ.get("KAFKA_WAIT_SECONDS") or "30"
        if not seconds.isdecimal():
            raise Failure(BAD_CONFIGURATION, f"KAFKA_WAIT_SECONDS is {seconds!r}: give a number of seconds.")
        self._seconds = int(seconds)
        self._settings = settings()
        self._admin: AdminClient | None = None
        self._said: list[KafkaError] = []
        self._producers: list[Producer] = []
        # A reader of what is committed, which joins no group.
        self.consumer: Consumer = self._made(
            Consumer,
            {
                "group.id": TRANSACTIONAL_ID,  # it has to be there, and is not used
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",  # what is there, where an offset is there no more
                "fetch.wait.max.ms": 10,
                "queued.max.messages.kbytes": 8192,
                "fetch.queue.backoff.ms": 10,
            },
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        """Leave nothing open: a transaction would keep readers waiting for a minute."""
        for producer in self._producers:
            with contextlib.suppress(KafkaException):  # there is none, or nobody to tell
                producer.abort_transaction(2)
        self.consumer.close()

    @property
    def admin(self) -> AdminClient:
        """What makes topics and looks at them; its answers come as long as it is kept."""
        if not self._admin:
            self._admin = self._made(AdminClient, {})
        return self._admin

    def producer(self, on_error: Callable[[KafkaError, Message], None]) -> Producer:
        """Return the only producer that may write: an older one is refused from now on, and its transaction undone."""
        producer: Producer = self._made(
            Producer,
            {
                "transactional.id": TRANSACTIONAL_ID,
                "compression.type": "lz4",
                "linger.ms": 20,
                "message.max.bytes": LARGEST,
                "queue.buffering.max.messages": 20_000,
                "queue.buffering.max.kbytes": 16_384,
                "delivery.report.only.error": True,
                "on_delivery": on_error,
            },
        )
        self.patiently(producer, producer.init_transactions)
        self._producers.append(producer)
        return producer

    def patiently(self, client: Any, call: Callable[[float], Result]) -> Result:  # noqa: ANN401  # each kind has poll
        """Call until it succeeds, and let the client say meanwhile why it does not."""
        end = time.monotonic() + self._seconds
        while True:
            try:
                return call(SLICE)
            except KafkaException as caught:
                error: KafkaError = caught.args[0]
                self.listen(client)
                if not (error.retriable() or error.code() in AWAY):
                    raise explain(error) from None
                if time.monotonic() > end:
                    raise self._late(error) from None

    def result(self, future: Any) -> Any:  # noqa: ANN401  # each call's own
        """Return what an administrator's call brings."""
        try:
            return future.result(self._seconds)
        except KafkaException as caught:
            raise explain(caught.args[0]) from None
        except TimeoutError:
            raise self._late(KafkaError(KafkaError._TIMED_OUT)) from None

    def ends(self, *topics: str) -> dict[str, int]:
        """Return the offset after all that is committed, of those topics that are there."""
        asked = [TopicPartition(topic, 0, OFFSET_END) for topic in topics]  # by its name in place of a time

        def ask(seconds: float) -> list[TopicPartition]:
            try:
                return list(self.consumer.offsets_for_times(asked, timeout=seconds))
            except KafkaException as caught:
                if caught.args[0].code() == KafkaError._UNKNOWN_PARTITION:  # none of them is there
                    return []
                raise

        found = self.patiently(self.consumer, ask)
        ends = {}
        for one in found:
            if not one.error:
                ends[one.topic] = one.offset
            elif one.error.code() not in {KafkaError._UNKNOWN_PARTITION, KafkaError.UNKNOWN_TOPIC_OR_PART}:
                raise explain(one.error)
        return ends

    def records(self, starts: dict[str, int]) -> Iterator[Message]:
        """Yield the committed records of topics, each from an offset to its end."""
        if not starts:
            return
        waiting = set(starts)
        for record in self.follow(starts):
            if record.error():
                waiting.discard(record.topic())
            else:
                yield record
            if not waiting:
                return

    def follow(self, starts: dict[str, int]) -> Iterator[Message]:
        """Yield the committed records of topics, each from an offset on, for ever.

        Where a topic's end is reached, comes one whose `error()` says so.
        """
        self.consumer.assign([TopicPartition(topic, 0, offset) for topic, offset in starts.items()])
        end = time.monotonic() + self._seconds
        at_end = False
        try:
            while True:
                message = self.consumer.poll(SLICE)
                error = message.error() if message is not None else None
                is_end = error is not None and error.code() == KafkaError._PARTITION_EOF
                if message is not None and (is_end or not error):  # one without a value is false, as it has no length
                    end = time.monotonic() + self._seconds
                    at_end = is_end
                    yield message
                # Nothing is asked of a group.
                elif error and error.code() not in (*AWAY, KafkaError.GROUP_AUTHORIZATION_FAILED):
                    raise explain(error)
                elif not at_end and time.monotonic() > end:
                    raise self._late(error or KafkaError(KafkaError._TIMED_OUT))
                else:
                    self._refused()
        finally:
            self.consumer.unassign()

    def _made(self, kind: Callable[[dict[str, Any]], Result], more: dict[str, Any]) -> Result:
        try:
            return kind({**self._settings, "error_cb": self._said.append, "logger": SILENT, **more})
        except KafkaException as caught:
            raise Failure(
                BAD_CONFIGURATION,
                f"The settings of Kafka cannot be used: {caught.args[0].str()}. Check those that begin with KAFKA_.",
            ) from None

    def listen(self, client: Any) -> None:  # noqa: ANN401  # each kind has poll
        """Hear what a client has to say. Raises Failure if that is what waiting does not change."""
        with contextlib.suppress(KafkaException):  # what the next call says, too
            client.poll(0)
        self._refused()

    def _refused(self) -> None:
        """Raise Failure if a client has said meanwhile what waiting does not change."""
        for error in self._said:
            if error.code() in REFUSED:
                raise explain(error)

    def _late(self, error: KafkaError) -> Failure:
        said = next((one for one in reversed(self._said) if one.code() != KafkaError._ALL_BROKERS_DOWN), error)
        return Failure(
            TRY_LATER,
            f"Kafka did not answer within {self._seconds} s: {said.str()}. Check that it runs, "
            "KAFKA_BOOTSTRAP_SERVERS and KAFKA_SECURITY_PROTOCOL; the next try starts from the last change that was "
            "committed.",
        )


def settings() -> dict[str, Any]:
    """Return the settings in librdkafka's words: with a user by TLS and SCRAM-SHA-512, else without a login."""
    env = {name: os.environ.get(f"KAFKA_{name}", "").strip() for name in NAMES}
    found: dict[str, Any] = {
        "bootstrap.servers": env["BOOTSTRAP_SERVERS"],
        "client.id": "rocket-launches",
        "security.protocol": env["SECURITY_PROTOCOL"] or ("SASL_SSL" if env["USERNAME"] else "PLAINTEXT"),
        "socket.connection.setup.timeout.ms": 5000,
    }
    if env["USERNAME"]:
        found["sasl.mechanism"] = env["SASL_MECHANISM"] or "SCRAM-SHA-512"
        found |= {"sasl.username": env["USERNAME"], "sasl.password": env["PASSWORD"]}
    if env["CA"]:
        found["ssl.ca.pem"] = env["CA"]
    return found
