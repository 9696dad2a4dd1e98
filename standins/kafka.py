"""A real Kafka broker, from its packages, with the listeners, users and rights of the one in the cluster."""

import contextlib
import hashlib
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Self

from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from deploy.kafka import RIGHTS
from deploy.programs import CACHE, ROOT

PACKAGES = ROOT / "k8s" / "offline" / "kafka"
USERS = ("admin", *RIGHTS)
PROGRAMS = ("java", "mvn")
NAMES = [x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]) for name in ("kafka-ca", "kafka")]
DAY = timedelta(days=1)

# The last two: what a test writes of a past year is not deleted while it looks.
SETTINGS = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=CLIENT://127.0.0.1:{client},INTERNAL://127.0.0.1:{internal},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=CLIENT://127.0.0.1:{client},INTERNAL://127.0.0.1:{internal}
listener.security.protocol.map=CLIENT:SASL_SSL,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=INTERNAL
controller.listener.names=CONTROLLER
listener.name.client.sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.client.scram-sha-512.sasl.jaas.config=\
  org.apache.kafka.common.security.scram.ScramLoginModule required;
ssl.keystore.type=PEM
ssl.keystore.location={folder}/keystore.pem
ssl.truststore.type=PEM
ssl.truststore.location={folder}/ca.pem
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:admin
log.dirs={folder}/data
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=4194304
log.initial.task.delay.ms=86400000
log.retention.check.interval.ms=86400000
"""


def packages() -> Path:
    """Return the folder with Kafka's jars, which Maven fetches once.

    Raises RuntimeError where Maven fails, or they are not the locked ones.
    """
    folder = CACHE / f"kafka-{hashlib.sha256((PACKAGES / 'jars.sha256').read_bytes()).hexdigest()[:12]}"
    if not folder.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        # A folder of its own, since another process may do the same.
        with tempfile.TemporaryDirectory(dir=CACHE) as place:
            new = Path(place) / "jars"
            mvn = ("mvn", "-q", "-B", "-f", str(PACKAGES / "pom.xml"))
            run(*mvn, "dependency:copy-dependencies", f"-DoutputDirectory={new}")
            run("sha256sum", "--check", "--strict", "--quiet", str(PACKAGES / "jars.sha256"), cwd=new)
            with contextlib.suppress(OSError):  # it is there by now
                new.rename(folder)
    return folder


def run(*command: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Run a program. Raises RuntimeError with the last of what it said."""
    ended = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=600)
    if ended.returncode:
        raise RuntimeError(f"{command[0]} failed: {(ended.stdout + ended.stderr)[-2000:]}")
    return ended.stdout


class Kafka:
    """One broker, by SASL_SSL with SCRAM-SHA-512, that each of deploy's users reaches with its rights.

    It needs Java 17 or newer, and Maven at the first time. Everything is gone when the context ends.
    """

    def __init__(self, settings: str = "") -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="rocket-launches-kafka-"))
        self.data = self.folder / "data"
        self._more = settings
        self.passwords = {user: secrets.token_urlsafe() for user in USERS}
        self._process: subprocess.Popen[bytes] | None = None
        with contextlib.ExitStack() as stack:
            free = [stack.enter_context(socket.socket()) for _ in range(3)]
            for one in free:
                one.bind(("127.0.0.1", 0))
            self.port, internal, controller = (one.getsockname()[1] for one in free)
        self._settings = SETTINGS.format(folder=self.folder, client=self.port, internal=internal, controller=controller)

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as undo:
            undo.callback(shutil.rmtree, self.folder, ignore_errors=True)
            self._jars = packages()
            self.certify()
            (self.folder / "server.properties").write_text(self._settings + self._more, encoding="utf-8")
            login = "SCRAM-SHA-512=[name={},password={}]".format
            users = [word for user, key in self.passwords.items() for word in ("--add-scram", login(user, key))]
            command = ("format", "-t", "cm9ja2V0LWxhdW5jaGVzMQ", "-c", "server.properties", *users)
            self.tool("kafka.tools.StorageTool", *command)
            undo.callback(self.stop)
            self.start()
            self.grant()
            self._exit = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def tool(
        self, name: str, *arguments: str, heap: str = "128m", compiler: Sequence[str] = ("-XX:TieredStopAtLevel=1",)
    ) -> str:
        """Run one of Kafka's own programs, and return what it prints; without a word on the compiler, its best one."""
        options = (f"-Xmx{heap}", "-XX:+UseSerialGC", *compiler, "-cp", f"{self._jars}/*")
        return run("java", *options, name, *arguments, cwd=self.folder)

    def start(self, seconds: float = 60) -> None:
        """Start the broker, and wait until it listens."""
        with (self.folder / "log").open("ab") as log:
            options = ("-Xmx256m", "-Xms64m", "-XX:+UseSerialGC", "-cp", f"{self._jars}/*")
            command = ("java", *options, "kafka.Kafka", "server.properties")
            self._process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log)
        end = time.monotonic() + seconds
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"Kafka does not start: {self.log()[-2000:]}")
            time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGKILL) -> None:
        """Stop the broker; the data stays."""
        if self._process:
            self._process.send_signal(how)
            self._process.wait(60)
            self._process = None

    def send(self, what: signal.Signals) -> None:
        """Send the broker a signal, such as one that lets it stand still."""
        if self._process:
            self._process.send_signal(what)

    def log(self) -> str:
        """Return what the broker has logged."""
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")

    def env(self, user: str = "stream") -> dict[str, str]:
        """Return the settings by which a step reaches it as this user."""
        return {
            "KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{self.port}",
            "KAFKA_USERNAME": user,
            "KAFKA_PASSWORD": self.passwords[user],
            "KAFKA_CA": self.ca,
        }

    def client(self, user: str = "admin") -> dict[str, str]:
        """Return the same as librdkafka names it."""
        return {
            "bootstrap.servers": f"127.0.0.1:{self.port}",
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": user,
            "sasl.password": self.passwords[user],
            "ssl.ca.pem": self.ca,
        }

    def delete(self, *topics: str, seconds: float = 30) -> None:
        """Take topics away, if they are there, and wait until they are gone. Raises RuntimeError if they stay."""
        admin = AdminClient(self.client())
        there = [topic for topic in topics if topic in admin.list_topics(timeout=seconds).topics]
        for future in admin.delete_topics(there).values() if there else ():
            future.result(seconds)
        end = time.monotonic() + seconds
        while any(topic in admin.list_topics(timeout=seconds).topics for topic in topics):
            if time.monotonic() > end:
                raise RuntimeError(f"Kafka still has one of {', '.join(topics)}: {self.log()[-2000:]}")
            time.sleep(0.05)

    def certify(self, valid_for: timedelta = DAY) -> None:
        """Write the broker a certificate for 127.0.0.1, by a CA of its own; a broker that runs keeps the old one."""
        now = datetime.now(UTC)
        keys = [ec.generate_private_key(ec.SECP256R1()) for _ in NAMES]
        certificates = []
        for name, key in zip(NAMES, keys, strict=True):
            building = (
                x509.CertificateBuilder()
                .subject_name(name)
                .issuer_name(NAMES[0])
                .public_key(key.public_key())
                .serial_number(x509.random_serial_number())
                .not_valid_before(now - 3 * DAY)
                .not_valid_after(now + (valid_for if name is NAMES[1] else DAY))
                .add_extension(x509.BasicConstraints(ca=name is NAMES[0], path_length=None), critical=True)
                .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
            )
            certificates.append(building.sign(keys[0], hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        secret = keys[1].private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self.ca = certificates[0].decode()
        (self.folder / "ca.pem").write_bytes(certificates[0])
        (self.folder / "keystore.pem").write_bytes(secret + certificates[1])

    def grant(self) -> None:
        """Give each user the rights that it has in the cluster."""
        admin = AdminClient(self.client() | {"log_level": 0})  # it may be too early
        bindings = [
            AclBinding(
                ResourceType[kind.replace("-", "_").upper()], name, ResourcePatternType.LITERAL, f"User:{user}", "*",
                AclOperation[re.sub(r"(?<=[a-z])(?=[A-Z])", "_", one).upper()], AclPermissionType.ALLOW,
            )
            for user, rights in RIGHTS.items()
            for (kind, name), operations in rights.items()
            for one in operations
        ]  # fmt: skip
        for future in admin.create_acls(bindings).values():
            future.result(30)
