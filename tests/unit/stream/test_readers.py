"""What people read the topics with."""

import os
import subprocess
import sys
from datetime import timedelta

import pytest

from standins.kafka import Kafka
from tests.conftest import ROOT, run_step
from tests.unit.publish.conftest import Launches
from tests.unit.stream.conftest import NOW, Stream

MINUTE = timedelta(minutes=1)


@pytest.mark.usefixtures("topics")
def test_before_there_are_topics(kafka: Kafka) -> None:
    result = run_step("stream.changes", kafka.env("reader") | {"KAFKA_WAIT_SECONDS": "3"})
    assert result.code == 75
    assert result.last == (
        "ERROR There is no topic rocket-launch-changes yet: the first run of publish_launch_changes makes it."
    )


def test_the_newest_changes_a_line_each(launches: Launches, stream: Stream, kafka: Kafka) -> None:
    one = launches.add("Kestrel | Sparrow\x1b[31m", net=NOW)
    launches.change(one, at=NOW, net=None)
    for minute in range(1, 31):
        launches.change(one, at=NOW + minute * MINUTE, status=f"Hold {minute}")
        stream(after=minute * MINUTE)  # each a transaction
    command = [sys.executable, "-m", "stream.changes"]
    done = subprocess.run(
        command, cwd=ROOT / "tasks", env=kafka.env("reader"), capture_output=True, text=True, timeout=30, check=True
    )
    line = "{:%Y-%m-%d %H:%M} UTC  Kestrel | Sparrow\\x1b[31m: status Hold {} -> Hold {}".format
    expected = [line(NOW + minute * MINUTE, minute - 1, minute) for minute in range(11, 31)]
    assert done.stdout.splitlines() == expected


def test_each_change_as_it_comes(launches: Launches, stream: Stream, kafka: Kafka) -> None:
    one = launches.add("Wren")
    launches.change(one, at=NOW, status="Hold")
    stream()
    command = [sys.executable, "-m", "stream.changes", "--follow"]
    with subprocess.Popen(
        command, cwd=ROOT / "tasks", env=kafka.env("reader"), stdout=subprocess.PIPE, text=True
    ) as reader:
        try:
            assert reader.stdout
            assert reader.stdout.readline().endswith("Wren: status Go -> Hold\n")
            launches.change(one, at=NOW + MINUTE, status="Success", net_precision=None)
            stream(after=MINUTE)
            assert reader.stdout.readline().endswith("Wren: status Hold -> Success\n")
            assert reader.stdout.readline().endswith("Wren: net_precision minute -> unknown\n")
        finally:
            reader.terminate()
        assert reader.wait(10) == 143


def test_the_example_consumer(launches: Launches, stream: Stream, kafka: Kafka) -> None:
    one = launches.add("Wren", net=NOW)
    launches.change(one, at=NOW, net=NOW + MINUTE, status="Hold")
    stream()
    env = {"PATH": os.environ["PATH"], "FROM": "earliest"} | kafka.env("reader")
    with subprocess.Popen(
        [sys.executable, ROOT / "docs" / "consumer.py"], env=env, stdout=subprocess.PIPE, text=True
    ) as reader:
        try:
            assert reader.stdout
            times = (f"{time:%Y-%m-%dT%H:%M:%SZ}" for time in (NOW, NOW + MINUTE))
            assert reader.stdout.readline() == f"Wren: {' -> '.join(times)}\n"
        finally:
            reader.kill()
