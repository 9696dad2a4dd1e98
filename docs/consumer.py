"""Prints each slip of a launch, from the newest change on: a consumer of the stream, in thirty lines.

It needs confluent-kafka, and the settings of the Secret kafka-reader in its environment.
"""

import json
import os

from confluent_kafka import Consumer

consumer = Consumer(
    {
        "bootstrap.servers": os.environ["KAFKA_BOOTSTRAP_SERVERS"],
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": os.environ["KAFKA_USERNAME"],
        "sasl.password": os.environ["KAFKA_PASSWORD"],
        "ssl.ca.pem": os.environ["KAFKA_CA"],
        "group.id": "slips",  # your name for it: Kafka remembers by it how far you have read
        "auto.offset.reset": os.environ.get("FROM", "latest"),  # earliest: all that is there
        "isolation.level": "read_committed",
    }
)
consumer.subscribe(["rocket-launch-changes"])
while True:
    message = consumer.poll(1)
    if message is not None and not message.error():
        change = json.loads(message.value())
        if change["field"] == "net":
            print(f"{change['name']}: {change['old_value']} -> {change['new_value']}", flush=True)
