"""The Kafka broker in the cluster: its users, what each may do, and their logins; or the login of one of your own."""

import argparse
import json
import subprocess
from secrets import token_urlsafe

from deploy.pods import deployed_image, login_of, pod, wait_for
from deploy.programs import CONTEXT, KAFKA, TASKS, Failed, kubectl
from deploy.settings import certificates, has, secret, write_secret

BOOTSTRAP_SERVERS = f"kafka.{KAFKA}.svc:9092"
TOPICS = ("rocket-launches", "rocket-launch-changes")
# The lines of .env.example that are for a cluster of the user's own, as the step reads them.
OUTSIDE = (
    "KAFKA_BOOTSTRAP_SERVERS",
    "KAFKA_SECURITY_PROTOCOL",
    "KAFKA_SASL_MECHANISM",
    "KAFKA_USERNAME",
    "KAFKA_PASSWORD",
)
# The users of our own broker: what each may do, in the words of kafka-acls.
OF_THE_STEP = ("Read", "Write", "Create", "DescribeConfigs")
RIGHTS: dict[str, dict[tuple[str, str], tuple[str, ...]]] = {
    "stream": {
        ("topic", "rocket-launches"): OF_THE_STEP,
        # --from-start empties it.
        ("topic", "rocket-launch-changes"): (*OF_THE_STEP, "Delete"),
        ("transactional-id", "rocket-launches"): ("Write",),
    },
    # For people: whatever their programs' groups are called.
    "reader": {**dict.fromkeys((("topic", topic) for topic in TOPICS), ("Read",)), ("group", "*"): ("Read",)},
}
POD = "changes"
DAY = 24 * 3600  # seconds
PASSWORDS = ("client-password", "inter-broker-password", "controller-password")  # as the chart names them

# Runs in the broker's pod, whose environment has the administrator's login.
SCRIPT = """
set -eu
umask 077
cd /tmp/kafka-logs
trap 'rm -f admin.properties user.properties' EXIT
export KAFKA_HEAP_OPTS="-Xmx64m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
cat >admin.properties <<END
security.protocol=SASL_SSL
sasl.mechanism=PLAIN
sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \\
  username="$KAFKA_CLIENT_USER" password="$KAFKA_CLIENT_PASSWORD";
ssl.truststore.type=PEM
ssl.truststore.location=/mnt/kafka/certs/ca.crt
END
as_admin() {
  tool=/opt/kafka/bin/$1.sh
  shift
  "$tool" --bootstrap-server localhost:9092 --command-config admin.properties "$@"
}
user() {
  echo "SCRAM-SHA-512=password=$2" >user.properties
  as_admin kafka-configs --alter --entity-type users --entity-name "$1" --add-config-file user.properties
}
"""


def bootstrap_servers(chosen: dict[str, str]) -> str:
    """Return where Kafka is: your own, or the one in the cluster; empty where there is none."""
    return chosen.get("KAFKA_BOOTSTRAP_SERVERS") or (BOOTSTRAP_SERVERS if has(chosen, "stream") else "")


def write_kafka_secrets(chosen: dict[str, str]) -> None:
    """Write the login of each user of Kafka, for the pods that come as it; take them away where there is no Kafka."""
    if chosen.get("KAFKA_BOOTSTRAP_SERVERS"):
        values = {key: chosen[key] for key in OUTSIDE if chosen.get(key)}
        write_secret(TASKS, "kafka-stream", values | certificates(chosen, "KAFKA_CA"))
        kubectl("delete", "secret", "kafka-reader", "-n", TASKS, "--ignore-not-found")
    elif has(chosen, "stream"):
        there = secret(KAFKA, "kafka-logins")
        write_secret(KAFKA, "kafka-logins", {key: there.get(key) or token_urlsafe(24) for key in PASSWORDS})
        # Before the first installation there is no certificate: set_up_kafka adds it.
        ca = secret(KAFKA, "kafka-tls").get("ca.crt")
        for user in RIGHTS:
            name = f"kafka-{user}"
            there = secret(TASKS, name)
            ours = there.get("KAFKA_BOOTSTRAP_SERVERS") == BOOTSTRAP_SERVERS
            values = {
                "KAFKA_BOOTSTRAP_SERVERS": BOOTSTRAP_SERVERS,
                "KAFKA_USERNAME": user,
                "KAFKA_PASSWORD": (ours and there.get("KAFKA_PASSWORD")) or token_urlsafe(24),
            }
            write_secret(TASKS, name, values | ({"KAFKA_CA": ca} if ca else {}))
    else:
        old = (f"kafka-{user}" for user in RIGHTS)
        kubectl("delete", "secret", *old, "-n", TASKS, "--ignore-not-found")


def changes(arguments: argparse.Namespace) -> None:
    """Print the newest changes of launches from Kafka, a line each; with FOLLOW=yes, each that comes, until Ctrl-C."""
    login = login_of("kafka-reader", "kafka-stream")
    if not login:
        raise Failed("There is no Kafka: make up WITH=stream brings one, KAFKA_BOOTSTRAP_SERVERS in .env names yours.")
    container = {"command": ["python", "-m", "stream.changes"], "args": ["--follow"] if arguments.follow else []}
    labels, image = {"egress": "kafka"}, deployed_image("IMAGE_STREAM")
    manifest = pod(POD, image, container, secrets=[{"name": login}], labels=labels, seconds=DAY)
    kubectl("delete", "pod", POD, "-n", TASKS, "--ignore-not-found")  # of one that was interrupted
    kubectl("create", "-f", "-", stdin=json.dumps(manifest))
    try:
        wait_for(POD, 120, is_started=True)
        subprocess.run(["kubectl", "--context", CONTEXT, "logs", "--follow", POD, "-n", TASKS], check=False)
        if wait_for(POD, 30):
            raise Failed("Kafka could not be read: the line above says why.")
    finally:
        kubectl("delete", "pod", POD, "-n", TASKS, "--ignore-not-found", "--wait=false")


def set_up_kafka(chosen: dict[str, str]) -> None:
    """Make our broker's users, with the passwords in their Secrets, and their rights; again is harmless."""
    if not has(chosen, "stream"):
        raise Failed("These are the users of the Kafka of WITH=stream, which is not set: set it in .env.")
    write_kafka_secrets(chosen)  # with the certificate that the chart has made
    passwords = {user: secret(TASKS, f"kafka-{user}")["KAFKA_PASSWORD"] for user in RIGHTS}
    try:
        kubectl("exec", "-i", "-n", KAFKA, "kafka-0", "--", "sh", "-s", stdin=script(passwords))
    except Failed as failure:
        said = str(failure)
        for password in passwords.values():  # Kafka's programs quote what they do not understand
            said = said.replace(password, "…")
        raise Failed(said) from None


def script(passwords: dict[str, str]) -> str:
    """Return what makes the users and their rights; passwords go through files, where no other process sees them."""
    lines = [SCRIPT]
    for user, rights in RIGHTS.items():
        lines.append(f"user {user} '{passwords[user]}'")
        for (kind, name), operations in rights.items():
            words = " ".join(f"--operation {operation}" for operation in operations)
            lines.append(f"as_admin kafka-acls --add --allow-principal User:{user} --{kind} '{name}' {words}")
    return "\n".join([*lines, ""])
