"""The Kafka stream on a real cluster: `make e2e WITH=stream`. One test after the other."""

import json
import os
import re
import signal
import subprocess
from typing import Any

import pytest

from deploy.airflow import Api
from deploy.charts import install
from deploy.kafka import RIGHTS, TOPICS, write_kafka_secrets
from deploy.pods import wait_for
from deploy.programs import KAFKA, TASKS, kubectl
from deploy.settings import secret
from tests.e2e.cluster import ROOT, ended, make, newest_log, query, run_pod, stand_in, until
from tests.e2e.conftest import only_with

DAG = "publish_launch_changes"
RUNS = f"/api/v2/dags/{DAG}/dagRuns"
LAUNCH = 'launch_id, name, to_char(net, \'YYYY-MM-DD"T"HH24:MI:SS"Z"\') AS net, status'
# Prints all that is committed, a record a line.
READ = """
import json, sys
from stream.kafka import Kafka
with Kafka() as kafka:
    for record in kafka.records({topic: 0 for topic, end in kafka.ends(sys.argv[1]).items() if end}):
        headers = {name: value.decode() for name, value in record.headers()}
        print(json.dumps([headers, json.loads(record.value() or b"null")]))
"""
# What each may not do, as reader.
FORBIDDEN = """
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from stream.kafka import settings
said = []
producer = Producer({**settings(), "log_level": 0})
producer.produce("rocket-launches", "x", on_delivery=lambda error, _: said.append(error.name()))
producer.flush(20)
admin = AdminClient({**settings(), "log_level": 0})
futures = {**admin.create_topics([NewTopic("mine", 1)]), **admin.delete_topics(["rocket-launches"])}
said += [future.exception().args[0].name() for future in futures.values()]
print(*said)
"""
# A new pod's policies are there after a moment.
CONNECT = """
import socket, time
time.sleep(3)
socket.create_connection(("kafka.kafka.svc", 9092), 5).close()
print("connected")
"""


@pytest.fixture(scope="module", autouse=True)
def wanted(request: pytest.FixtureRequest) -> str:
    only_with("stream", "a Kafka")
    return str(request.getfixturevalue("parts"))


def run(program: str, *arguments: str, label: str = "kafka") -> str:
    return run_pod("stream", program, *arguments, login="kafka-reader", label=label)


def read(topic: str) -> list[tuple[dict[str, str], dict[str, Any]]]:
    """Return all records of a topic, as the user for people reads them: headers and value."""
    return [tuple(json.loads(line)) for line in run(READ, topic).splitlines()]


def test_from_nothing(wanted: str) -> None:
    if not wanted:
        pytest.skip("the cluster is there")
    phases = [line.split()[0] for line in wanted.splitlines() if re.search(r" \d+ s$", line)]
    assert phases.index("objects") < phases.index("stream") < phases.index("airflow")
    assert "Kafka: kafka.kafka.svc:9092 in the cluster, as reader with what this prints: kubectl" in wanted
    passwords = [secret(TASKS, f"kafka-{user}")["KAFKA_PASSWORD"] for user in RIGHTS]
    assert not [value for value in (*passwords, *secret(KAFKA, "kafka-logins").values()) if value in wanted]


def test_the_stream_follows_the_fetch() -> None:
    with Api() as call:
        assert set(ended(call, DAG, 1)) == {"success"}
    assert re.search(r"INFO Streamed 0 changes and \d+ launches, from the start$", newest_log(DAG, 0), re.MULTILINE)
    table = {row["launch_id"]: row for row in query(f"SELECT {LAUNCH} FROM rocket_launches")}
    names = ("launch_id", "name", "net", "status")
    found = {value["launch_id"]: {name: value[name] for name in names} for _, value in read(TOPICS[0])}
    assert found == table


def test_people_see_a_slip_as_it_comes() -> None:
    command = ["make", "--no-print-directory", "changes", "FOLLOW=yes"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True) as following:
        try:
            until(lambda: "pod/changes\n" in kubectl("get", "pods", "-n", TASKS, "-o", "name"), 60, "there is no pod")
            wait_for("changes", 60, is_started=True)
            stand_in("launch-library", orders={"scenario": "slipped"})
            assert make("trigger")[0] == 0
            assert following.stdout
            line = following.stdout.readline()
        finally:
            os.killpg(following.pid, signal.SIGINT)
    pattern = r"\d{4}-\d\d-\d\d \d\d:\d\d UTC  .+: (net|status|name|net_precision|image_url) .+ -> .+\n"
    assert re.fullmatch(pattern, line), line
    until(lambda: "pod/changes\n" not in kubectl("get", "pods", "-n", TASKS, "-o", "name"), 60, "the pod stays")
    code, output = make("changes")
    assert code == 0
    assert line in output


def test_the_changes_are_those_of_the_table() -> None:
    with Api() as call:
        ended(call, DAG, 2)
    columns = "id::text AS ce_id, launch_id, field, old_value, new_value"
    rows = query(f"SELECT {columns} FROM (SELECT * FROM launch_changes ORDER BY id) AS one")
    assert rows
    names = ("launch_id", "field", "old_value", "new_value")
    found = [{"ce_id": headers["ce_id"]} | {name: value[name] for name in names} for headers, value in read(TOPICS[1])]
    assert sorted(found, key=str) == sorted(rows, key=str)
    assert [int(one["ce_id"]) for one in found] == sorted(int(one["ce_id"]) for one in found)


def test_from_the_start_by_the_form() -> None:
    before = {headers["ce_source"] for headers, _ in read(TOPICS[1])}
    with Api() as call:
        count = len(ended(call, DAG, 1))
        call("POST", RUNS, {"logical_date": None, "conf": {"from_start": True}})
        assert ended(call, DAG, count + 1)[-1] == "success"
    assert re.search(r"INFO Streamed [1-9]\d* changes and \d+ launches, from the start$", newest_log(DAG), re.MULTILINE)
    after = {headers["ce_source"] for headers, _ in read(TOPICS[1])}
    assert (len(before), len(after), before & after) == (1, 1, set())


def test_who_may_do_what() -> None:
    said = run(FORBIDDEN).split()
    assert said == 3 * ["TOPIC_AUTHORIZATION_FAILED"]
    assert run(CONNECT) == "connected\n"
    with pytest.raises(AssertionError, match=r"timed out|refused"):
        run(CONNECT, label="none")


def test_another_installation_keeps_logins_and_the_certificate() -> None:
    """As each `make up` does."""
    secrets = [(KAFKA, "kafka-tls"), (KAFKA, "kafka-logins"), *((TASKS, f"kafka-{user}") for user in RIGHTS)]
    before = {name: secret(namespace, name) for namespace, name in secrets}

    def broker() -> dict[str, Any]:
        return json.loads(kubectl("get", "pod", "kafka-0", "-n", KAFKA, "-o", "json"))  # type: ignore[no-any-return]

    was = broker()
    write_kafka_secrets({"WITH": "stream"})
    install("kafka", {})
    assert {name: secret(namespace, name) for namespace, name in secrets} == before
    # The broker was not started again.
    assert broker()["metadata"]["uid"] == was["metadata"]["uid"]
