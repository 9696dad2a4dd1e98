"""Records that are committed together or not at all, by the only producer that may."""

import time

from confluent_kafka import KafkaError, KafkaException, Message

from step import BAD_CONFIGURATION, Failure
from stream.kafka import Kafka, explain

Headers = list[tuple[str, str | bytes | None]]

PURGED = (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT)
SERVED = 1_000  # records after which Kafka's answers are heard


class Transactions:
    """One transaction after another. From its making on, every older producer is refused.

    All methods raise Failure: 78 where Kafka refuses a record for good, 75 where another run has taken over or Kafka
    does not answer in time.
    """

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._refused: tuple[KafkaError, Message] | None = None
        self._producer = kafka.producer(self._hear)
        self.count = 0  # in the transaction that is open

    def write(self, topic: str, key: str, value: str | None, headers: Headers, milliseconds: int) -> None:
        """Send a record, of this time since 1970; None as its value takes the key back."""
        if not self.count:
            self._begin()
        self.count += 1
        while True:
            try:
                self._producer.produce(topic, value, key, 0, timestamp=milliseconds, headers=headers)
                break
            except BufferError:
                time.sleep(0.01)  # until there is room
                self._listen()
            except KafkaException as caught:
                self._listen()
                raise explain(caught.args[0]) from None
        if self.count % SERVED == 0:
            self._listen()

    def _begin(self) -> None:
        try:
            self._producer.begin_transaction()
        except KafkaException as caught:
            self._listen()
            raise explain(caught.args[0]) from None

    def commit(self) -> None:
        """Let readers see what was written."""
        if self.count:
            try:
                self._kafka.patiently(self._producer, self._producer.commit_transaction)
            except Failure:
                self._check()
                raise
            self.count = 0

    def _hear(self, error: KafkaError | None, message: Message) -> None:
        """Keep what was refused; of several, which may have gone together, the largest."""
        # Those that went down with a transaction say nothing of the reason.
        if (
            error
            and error.code() not in PURGED
            and (not self._refused or len(message.value() or b"") > len(self._refused[1].value() or b""))
        ):
            self._refused = error, message

    def _listen(self) -> None:
        self._kafka.listen(self._producer)
        self._check()

    def _check(self) -> None:
        if not self._refused:
            return
        error, message = self._refused
        if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            raise Failure(
                BAD_CONFIGURATION,
                f"Kafka refuses a record of {len(message.value() or b''):,} bytes, of the launch "
                f"{(message.key() or b'').decode()}: raise max.message.bytes of the topic {message.topic()}, by "
                "kafka-configs.sh --alter, and run the step again.",
            ) from None
        raise explain(error) from None
