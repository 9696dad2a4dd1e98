"""The settings, from .env, channels.toml and the environment, and the Secrets that are made of them."""

import base64
import ipaddress
import json
import os
import re
from pathlib import Path
from secrets import token_bytes, token_hex, token_urlsafe

from deploy.images import steps
from deploy.programs import AIRFLOW, CLUSTER, ROOT, TASKS, Failed, kubectl

# The lines of .env.example that are the deployment's own: all others are the steps'.
OF_THE_DEPLOYMENT = frozenset(
    {
        "POSTGRES_USER",
        "POSTGRES_PASSWORD",
        "POSTGRES_DB",
        "AIRFLOW_ADMIN_USER",
        "AIRFLOW_ADMIN_PASSWORD",
        "SCHEDULE",
        "EGRESS_EXCEPT",
        "MONITORING",
        # What pods have of these is in the Secrets that deploy/objects.py writes.
        "OBJECT_STORE",
        "AWS_ENDPOINT_URL",
        "AWS_REGION",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "GOOGLE_SERVICE_ACCOUNT_KEY",
        "AZURE_STORAGE_ACCOUNT_NAME",
        "AZURE_STORAGE_ACCOUNT_KEY",
        # And of these in those that deploy/kafka.py and deploy/search.py write.
        "WITH",
        "KAFKA_BOOTSTRAP_SERVERS",
        "KAFKA_SECURITY_PROTOCOL",
        "KAFKA_SASL_MECHANISM",
        "KAFKA_USERNAME",
        "KAFKA_PASSWORD",
        "KAFKA_CA",
        "SEARCH_URL",
        "SEARCH_USERNAME",
        "SEARCH_PASSWORD",
        "SEARCH_CA",
    }
)

PARTS = ("stream", "search")  # what WITH can name

# What `make up STAND_INS=yes` uses instead of the real services.
STAND_INS = {
    "LAUNCH_LIBRARY_URL": "http://launch-library.stand-ins/2.3.0/launches/upcoming/?mode=detailed",
    "LAUNCH_LIBRARY_TOKEN": "stand-in-key",  # it answers any number of requests
    "DISCORD_WEBHOOK_URL": "http://discord.stand-ins/api/webhooks/1310000000000000001/stand-in-token",
    "HEARTBEAT_URL": "http://discord.stand-ins/control?heartbeat=stand-in-key",  # answered, not kept
    "CHANNELS": "",  # invented launches must not look like news in a real channel
    "CRAWL_CONTACT": "nobody@example.org",  # the stand-in's own site is crawled
    "CRAWL_NETWORKS": "10.0.0.0/8",  # which has such an address
}

REGISTRY_LOGIN = {"imagePullSecrets": [{"name": "registry"}]}  # a Secret, where somebody has put it


def read_lines(path: Path) -> dict[str, str]:
    """Return a file's KEY=VALUE lines; none if there is no such file."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.lstrip().startswith("#"))
    return {key.strip(): value.strip() for key, value in pairs}


def read_settings(path: Path = ROOT / ".env") -> dict[str, str]:
    """Return a file's lines and the environment, which wins; a variable that is empty there is not set.

    CHANNELS is the text of channels.toml beside it, which the steps judge; empty where there is no such file.
    """
    channels = path.with_name("channels.toml")
    try:
        text = channels.read_text(encoding="utf-8") if channels.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise Failed(f"channels.toml cannot be read ({type(error).__name__}): it has to be a text in UTF-8.") from None
    return read_lines(path) | {"CHANNELS": text} | {key: value for key, value in os.environ.items() if value}


def steps_settings(chosen: dict[str, str]) -> dict[str, str]:
    """Return the settings of the steps: CHANNELS and what .env.example names. The steps take an empty one for unset."""
    names = read_lines(ROOT / ".env.example").keys() - OF_THE_DEPLOYMENT | {"CHANNELS"}
    return {name: chosen.get(name, "") for name in names}


def settings() -> dict[str, str]:
    """Return the settings of the deployment: with STAND_INS, the addresses are those of the stand-ins."""
    chosen = read_settings()
    return chosen | (STAND_INS if chosen.get("STAND_INS") else {})


def check_settings() -> None:
    """Find out what cannot work before anything is done."""
    if settings().get("POSTGRES_USER") in ("postgres", *roles().values()):
        raise Failed("POSTGRES_USER must be a role of its own, such as rocket: change it in .env.")
    egress_except(settings())
    kafka_ports(settings())
    search_ports(settings())
    for name in ("KAFKA_CA", "SEARCH_CA"):
        certificates(settings(), name)
    if unknown := set(settings().get("WITH", "").split()) - {*PARTS}:
        raise Failed(f"WITH names {', '.join(sorted(unknown))}, and there is only: {', '.join(PARTS)}.")
    if has(settings(), "stream") and settings().get("KAFKA_BOOTSTRAP_SERVERS"):
        raise Failed("WITH=stream brings a Kafka and KAFKA_BOOTSTRAP_SERVERS names one of yours: set one of them.")
    if has(settings(), "search") and settings().get("SEARCH_URL"):
        raise Failed("WITH=search brings a server and SEARCH_URL names one of yours: set one of them.")


def has(chosen: dict[str, str], part: str) -> bool:
    """Tell whether WITH names a part that is there only if somebody wants it."""
    return part in chosen.get("WITH", "").split()


def kafka_ports(chosen: dict[str, str]) -> list[int]:
    """Return the ports in KAFKA_BOOTSTRAP_SERVERS. Raises Failed where a word has none."""
    found = set()
    for server in filter(None, chosen.get("KAFKA_BOOTSTRAP_SERVERS", "").replace(" ", "").split(",")):
        host, _, port = server.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
            raise Failed(
                "KAFKA_BOOTSTRAP_SERVERS in .env takes hosts with their ports, such as kafka.example.org:9092, with "
                f"commas between, and {server} is none."
            )
        found.add(int(port))
    return sorted(found)


def search_ports(chosen: dict[str, str]) -> list[int]:
    """Return the port in SEARCH_URL, or nothing where that is empty. Raises Failed if it is no address."""
    if not (url := chosen.get("SEARCH_URL")):
        return []
    found = re.fullmatch(r"(https?)://(?:[\w.-]+|\[[\da-fA-F:.]+\])(?::(\d+))?/?", url, re.ASCII)
    port = int((found and found[2]) or (443 if url.startswith("https") else 80))
    if not found or not 0 < port < 2**16:
        # What it is stays unsaid: some put a password there.
        raise Failed(
            "SEARCH_URL in .env takes the address of a server and nothing after it, such as "
            "https://search.example.org:9200: its login goes into SEARCH_USERNAME and SEARCH_PASSWORD."
        )
    return [port]


def certificates(chosen: dict[str, str], name: str) -> dict[str, str]:
    """Return the text of the file that a setting names, if it does. Raises Failed if it is no file of certificates."""
    if not (path := chosen.get(name)):
        return {}
    try:
        text = (ROOT / Path(path).expanduser()).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Failed(f"{name} names {path}, which cannot be read ({type(error).__name__}).") from None
    if "-----BEGIN CERTIFICATE-----" not in text:
        raise Failed(f"{name} names {path}, which has no certificate: it has to be a file in PEM format.")
    return {name: text}


def egress_except(chosen: dict[str, str]) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """Return the networks in EGRESS_EXCEPT. Raises Failed where a word is none."""
    try:
        return [ipaddress.ip_network(word) for word in chosen.get("EGRESS_EXCEPT", "").split()]
    except ValueError as error:
        raise Failed(
            f"EGRESS_EXCEPT in .env takes networks such as 10.0.0.0/8, with spaces between: {error}."
        ) from None


def roles() -> dict[str, str]:
    """Return PostgreSQL's roles by their Secrets: a role for each step, but for the one that owns the tables."""
    others = (step for step in steps() if step != "init_schema")
    return {"database-airflow": "airflow"} | {f"database-{step.replace('_', '-')}": f"launch_{step}" for step in others}


def owner_and_database(chosen: dict[str, str]) -> tuple[str, str]:
    """Return who owns the launches, and the name of their database."""
    return chosen.get("POSTGRES_USER") or "rocket", chosen.get("POSTGRES_DB") or "launches"


def secret(namespace: str, name: str) -> dict[str, str]:
    """Return a Secret's values; nothing if it is not there."""
    found = kubectl("get", "secret", name, "-n", namespace, "-o", "json", "--ignore-not-found")
    data = json.loads(found).get("data", {}) if found else {}
    return {key: base64.b64decode(value).decode() for key, value in data.items()}


def write_secret(
    namespace: str, name: str, values: dict[str, str], kind: str = "Opaque", labels: dict[str, str] | None = None
) -> None:
    """Write a Secret. Its values go through standard input, where no other process can read them."""
    labels = {"app.kubernetes.io/part-of": CLUSTER} | (labels or {})
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": kind, "stringData": values}
    # Server-side: `kubectl apply` would keep the values once more, in an annotation.
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(body))
    # It adds to the keys that are there: those of an earlier version go.
    if old := secret(namespace, name).keys() - values.keys():
        kubectl("patch", "secret", name, "-n", namespace, "-p", json.dumps({"data": dict.fromkeys(sorted(old))}))


def write_secrets(chosen: dict[str, str]) -> bool:
    """Write every Secret, what .env does not give made once and kept; return whether the admin's password is new."""
    owner, database = owner_and_database(chosen)
    for name, role in {"database-init-schema": owner, **roles()}.items():
        dbname = "airflow" if role == "airflow" else database
        wanted = chosen.get("POSTGRES_PASSWORD") if role == owner else None
        there = secret(AIRFLOW, name)
        if (there.get("username", role), there.get("dbname", dbname)) != (role, dbname):
            raise Failed(
                f"The launches belong to {there['username']} in the database {there['dbname']}: set POSTGRES_USER and "
                "POSTGRES_DB in .env back to these; another pair takes a new cluster."
            )
        values = {
            "username": role,
            "password": wanted or there.get("password") or token_urlsafe(24),
            "host": f"postgres-rw.{AIRFLOW}.svc",
            "port": "5432",
            "dbname": dbname,
        }
        # The label lets CloudNativePG give a role its new password at once.
        write_secret(AIRFLOW, name, values, "kubernetes.io/basic-auth", {"cnpg.io/reload": "true"})
        if role == "airflow":
            uri = f"postgresql://airflow:{values['password']}@{values['host']}:5432/airflow"
            write_secret(AIRFLOW, "airflow-metadata", {"connection": uri})
        else:
            # As libpq names them: a pod takes all of them as its environment.
            variables = {
                "PGHOST": values["host"],
                "PGPORT": values["port"],
                "PGDATABASE": dbname,
                "PGUSER": role,
                "PGPASSWORD": values["password"],
            }
            write_secret(TASKS, name, variables)
    write_secret(TASKS, "settings", steps_settings(chosen))
    # What an earlier version wrote instead.
    old = ("secret/discord", "secret/heartbeat", "secret/launch-library", "configmap/launch-library")
    kubectl("delete", *old, "-n", TASKS, "--ignore-not-found")

    generated = {
        "airflow-fernet-key": ("fernet-key", base64.urlsafe_b64encode(token_bytes(32)).decode()),
        "airflow-api-secret-key": ("api-secret-key", token_hex(32)),
        "airflow-jwt-secret": ("jwt-secret", token_hex(64)),
    }
    for name, (key, value) in generated.items():
        if not secret(AIRFLOW, name):
            write_secret(AIRFLOW, name, {key: value})
    password = chosen.get("AIRFLOW_ADMIN_PASSWORD") or secret(AIRFLOW, "airflow-admin").get("password")
    admin = {
        "username": chosen.get("AIRFLOW_ADMIN_USER") or "admin",
        "password": password or token_urlsafe(12),
    }
    write_secret(AIRFLOW, "airflow-admin", admin)
    return not password


def use_registry_login() -> None:
    """Let those pods use the Secret `registry`, where somebody has put it, that no chart makes."""
    for namespace, account in ((TASKS, "default"), (AIRFLOW, "default"), (AIRFLOW, "pod-cleanup")):
        if kubectl("get", "secret", "registry", "-n", namespace, "--ignore-not-found"):
            kubectl("patch", "serviceaccount", account, "-n", namespace, "-p", json.dumps(REGISTRY_LOGIN), show=True)
