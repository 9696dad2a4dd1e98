"""The Kafka stream: a million changes against Kafka's own producer, with the same bytes, and a run with nothing new."""

import contextlib
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from bench.measure import ROOT, Measure, interleaved
from bench.steps import peak
from deploy.kafka import TOPICS
from deploy.programs import Failed
from standins.kafka import PROGRAMS, Kafka
from standins.postgres import ROLES, Postgres

CHANGES, FEW = 1_000_000, 100_000
LAUNCHES = 300
RUNS = 7  # of a run with nothing new, in each round
# A fetch every ten minutes that finds fifty changes.
FILL = """
    INSERT INTO rocket_launches (launch_id, name, net, net_precision, status, details)
    SELECT md5(n::text)::uuid::text, 'Falcon 9 Block 5 | Starlink Group 17-' || n, now(), 'minute', 'Go', '{}'
    FROM generate_series(1, %(launches)s) AS n;
    INSERT INTO launch_changes (launch_id, field, old_value, new_value, seen_at)
    SELECT md5((1 + n %% %(launches)s)::text)::uuid::text, 'net',
           to_char(now() + n * interval '1 minute', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
           to_char(now() + n * interval '2 minutes', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
           now() - interval '200 days' + (n / 50) * interval '10 minutes'
    FROM generate_series(1, %(changes)s) AS n;
"""
# As the step has them; a transaction of theirs takes as long as one of ours.
SETTINGS = """
bootstrap.servers=127.0.0.1:{port}
security.protocol=SASL_SSL
sasl.mechanism=SCRAM-SHA-512
sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required username="admin" \
  password="{password}";
ssl.truststore.type=PEM
ssl.truststore.certificates={ca}
acks=all
compression.type=lz4
linger.ms=20
transactional.id=perf
"""
MILLISECONDS = 200


def measures(rounds: int) -> Iterator[Measure]:
    """Stream into an empty topic, then what Kafka's own producer does with the same records; then nothing."""
    if missing := [program for program in PROGRAMS if not shutil.which(program)]:
        raise Failed(f"Kafka needs Java, and there is no {missing[0]}.")
    with Kafka() as kafka, Postgres() as server:
        peak("-m", "init_schema", env=server.env(ROLES["init_schema"]), folder="tasks")
        env = server.env(ROLES["stream"]) | kafka.env()
        memory: dict[int, list[float]] = {FEW: [], CHANGES: []}

        def ours(changes: int) -> float:
            kafka.delete(*TOPICS)
            with contextlib.closing(server.superuser()) as connection, connection, connection.cursor() as cursor:
                cursor.execute("TRUNCATE rocket_launches, launch_changes, notifications RESTART IDENTITY CASCADE")
                cursor.execute(FILL, {"launches": LAUNCHES, "changes": changes})
            started = time.perf_counter()
            memory[changes].append(peak("-m", "stream", env=env, folder="tasks"))
            return changes / (time.perf_counter() - started)

        ours(FEW)
        records = Path(kafka.folder, "records")
        records.write_text("\n".join(sample(kafka)), encoding="utf-8")
        text = SETTINGS.format(port=kafka.port, password=kafka.passwords["admin"], ca=kafka.ca.replace("\n", "\\n"))
        Path(kafka.folder, "perf.properties").write_text(text, encoding="utf-8")

        def theirs() -> float:
            kafka.delete("perf")
            admin = AdminClient(kafka.client())
            admin.create_topics([NewTopic("perf", 1)])["perf"].result(30)
            said = kafka.tool(
                "org.apache.kafka.tools.ProducerPerformance",
                *("--topic", "perf", "--num-records", str(CHANGES), "--payload-file", str(records)),
                *("--throughput", "-1", "--command-config", "perf.properties"),
                *("--transaction-duration-ms", str(MILLISECONDS)),
                heap="256m",
                compiler=(),
            )
            [rate] = re.findall(rf"{CHANGES} records sent, ([\d.]+) records/sec", said)
            return float(rate)

        rates = interleaved(rounds, theirs=theirs, ours=lambda: ours(CHANGES))
        name = f"changes a second, of {CHANGES:,}"
        yield Measure(name, "", "", rates["ours"])
        yield Measure(name, "kafka-producer-perf-test", "≥ 0.5", rates["ours"], rates["theirs"])
        yield Measure("… its memory", "", "≤ 96 MiB", memory[CHANGES], unit=" MiB")
        yield Measure("… its memory", f"{FEW:,} changes", "flat", memory[CHANGES][:1], memory[FEW][:1])

        def seconds(*command: str) -> float:
            started = time.perf_counter()
            ended = subprocess.run(
                [sys.executable, *command], cwd=ROOT / "tasks", env=env, stdout=subprocess.DEVNULL, check=False
            )
            assert ended.returncode in (0, 99)
            return time.perf_counter() - started

        starts = interleaved(
            RUNS * rounds,
            bare=lambda: seconds("-c", "import confluent_kafka"),
            nothing=lambda: seconds("-m", "stream"),
        )
        yield Measure("stream, nothing new", "import confluent_kafka", "≤ 1.5", starts["nothing"], starts["bare"])


def sample(kafka: Kafka) -> Iterator[str]:
    """Yield ten thousand records as a line each: their headers' texts, keys and values, which is what they take."""
    settings = {"group.id": "bench", "auto.offset.reset": "earliest"}
    consumer = Consumer(kafka.client() | settings)
    consumer.assign([TopicPartition(TOPICS[1], 0, 0)])
    for message in consumer.consume(10_000, 30):
        headers = "".join(f"{name}{value.decode()}" for name, value in message.headers())
        yield headers + message.key().decode() + message.value().decode()
    consumer.close()
