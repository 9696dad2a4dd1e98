"""Deploys rocket-launches to a cluster, and works with what is there: `make up`, `make deploy` and their companions.

It needs Python, docker, helm and kubectl, and kind for a cluster of its own. Every command names its kube context, the
one in KUBE_CONTEXT or that of our kind cluster, so that no other is ever touched. Run again, it upgrades: what is there
stays, above all Secrets and data. Interrupted, the next finishes.
"""

import argparse
import base64
import contextlib
import fcntl
import functools
import hashlib
import http.client
import ipaddress
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_bytes, token_hex, token_urlsafe
from typing import Any, Self

ROOT = Path(__file__).parents[1]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rocket-launches"

CLUSTER = "rocket-launches"
KIND = f"kind-{CLUSTER}"  # the context that kind makes for it
CONTEXT = os.environ.get("KUBE_CONTEXT") or KIND
AIRFLOW, TASKS, OPERATOR = "airflow", "rocket-launches", "cnpg-system"  # namespaces
DAG = "download_rocket_launches"
RUNS = f"/api/v2/dags/{DAG}/dagRuns"
NODE = f"{CLUSTER}-control-plane"
# What `make up STAND_INS=yes` uses instead of the real services.
STAND_INS = {
    "LAUNCH_LIBRARY_URL": "http://launch-library.stand-ins/2.3.0/launches/upcoming/",
    "DISCORD_WEBHOOK_URL": "http://discord.stand-ins/api/webhooks/1310000000000000001/stand-in-token",
    "HEARTBEAT_URL": "http://discord.stand-ins/control?heartbeat=stand-in-key",  # answered, not kept
}
STAND_IN_IMAGE = "python:3.13-slim-trixie"  # the base of the tasks' images, so it is at hand
REGISTRY_LOGIN = {"imagePullSecrets": [{"name": "registry"}]}  # a Secret, where somebody has put it
STATSD_EXPORTER = "quay.io/prometheus/statsd-exporter:v0.30.0"  # what Airflow's chart adds with MONITORING
RUN_SECONDS = 1800  # no program takes as long, not even the images' build on a slow line

# In which version at least, what says it, and how to get it.
PROGRAMS = {
    "docker": ((20, 10), ("version", "--format", "{{.Server.Version}}"), "https://docs.docker.com/engine/install"),
    "kind": ((0, 30), ("version",), "https://kind.sigs.k8s.io/docs/user/quick-start/#installation"),
    "helm": ((4, 0), ("version", "--short"), "https://helm.sh/docs/intro/install"),
    "kubectl": ((1, 34), ("version", "--client"), "https://kubernetes.io/docs/tasks/tools"),
}

# The images that the charts' pods need besides our own.
IMAGES = (
    "ghcr.io/cloudnative-pg/cloudnative-pg:1.30.0",
    "ghcr.io/cloudnative-pg/postgresql:17.11-202608310816-minimal-trixie",
)


class Failed(Exception):  # noqa: N818  # it says what failed
    """What went wrong and what to do."""


# ---------------------------------------------------------------- programs


def run(*command: str, stdin: str | None = None, check: bool = True) -> str:
    """Run a program and return what it prints. Raises Failed with its last words."""
    try:
        result = subprocess.run(
            command, input=stdin, capture_output=True, text=True, check=False, cwd=ROOT, timeout=RUN_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"{' '.join(command[:5])} has not ended after {RUN_SECONDS} s.") from None
    if check and result.returncode:
        words = (result.stderr.strip() or result.stdout.strip())[-3000:]
        raise Failed(f"{' '.join(command[:5])} failed: {words}")
    return result.stdout


def kubectl(*arguments: str, stdin: str | None = None, check: bool = True) -> str:
    """Run kubectl on the cluster that is meant."""
    return run("kubectl", "--context", CONTEXT, *arguments, stdin=stdin, check=check)


def helm(*arguments: str, stdin: str | None = None) -> str:
    """Run helm on the cluster that is meant."""
    return run("helm", "--kube-context", CONTEXT, *arguments, stdin=stdin)


def check_programs(*names: str) -> None:
    """Find programs in a version that will do. Raises Failed with how to get what is missing."""
    missing = []
    for name in names:
        least, arguments, where = PROGRAMS[name]
        said = run(name, *arguments, check=False) if shutil.which(name) else ""
        found = re.search(r"(\d+)\.(\d+)", said)
        if not found or (int(found[1]), int(found[2])) < least:
            is_there = f"found {found[0]}" if found else "does not answer" if shutil.which(name) else "not found"
            missing.append(f"  {name} {least[0]}.{least[1]} or newer ({is_there}): {where}")
    if missing:
        raise Failed("Missing:\n" + "\n".join(missing))


@contextlib.contextmanager
def lock() -> Iterator[None]:
    """Change a cluster one at a time. However the holder ends, the kernel frees the lock."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{urllib.parse.quote(CONTEXT, safe='')}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"Another make up, deploy or down works on {CONTEXT}: waiting for its end.", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def phase(name: str, *namespaces: str) -> Iterator[Callable[[str], None]]:
    """Show a phase and its seconds; if it fails, show the state of what it was about.

    What it yields prints a sentence on a line of its own.
    """

    def say(sentence: str) -> None:
        print(f"\n  {sentence}\n{name:<10}", end="", flush=True)

    print(f"{name:<10}", end="", flush=True)
    started = time.monotonic()
    try:
        yield say
    except Failed:
        print(f"failed after {time.monotonic() - started:.0f} s", flush=True)
        for namespace in namespaces:
            diagnose(namespace)
        raise
    print(f"{time.monotonic() - started:5.0f} s", flush=True)


def diagnose(namespace: str) -> None:
    """Print what a person would look at next: pods, their last words where they are not well, events."""
    print(f"\n--- pods in {namespace}\n{kubectl('get', 'pods', '-n', namespace, '-o', 'wide', check=False)}")
    pods = json.loads(kubectl("get", "pods", "-n", namespace, "-o", "json", check=False) or '{"items": []}')
    for pod in pods["items"]:
        states = pod["status"].get("initContainerStatuses", []) + pod["status"].get("containerStatuses", [])
        if pod["status"]["phase"] != "Succeeded" and not (states and all(state["ready"] for state in states)):
            name = pod["metadata"]["name"]
            words = kubectl("logs", "-n", namespace, name, "--all-containers", "--tail=15", check=False)
            print(f"--- last words of {name}\n{words}")
    events = kubectl("get", "events", "-n", namespace, "--sort-by=.lastTimestamp", check=False).splitlines()
    print("\n".join([f"--- events in {namespace}", *events[:1], *events[1:][-15:]]), flush=True)


# ---------------------------------------------------------------- settings and secrets


def settings() -> dict[str, str]:
    """Return .env's KEY=VALUE lines; what the environment has and is not empty wins, and STAND_INS over both."""
    path = ROOT / ".env"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.lstrip().startswith("#"))
    chosen = {key.strip(): value.strip() for key, value in pairs} | {k: v for k, v in os.environ.items() if v}
    return chosen | (STAND_INS if chosen.get("STAND_INS") else {})


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


def deploy_stand_ins() -> None:
    """Deploy stand-ins for the two services, which need nothing but Python."""
    files = [
        f"--from-file={file}"
        for file in sorted((ROOT / "standins").iterdir())
        if file.is_file() and file.name != "postgres.py"  # the cluster has a PostgreSQL
    ]
    kubectl("apply", "--server-side", "-f", "k8s/stand-ins.yaml")
    code = kubectl("create", "configmap", "code", *files, "--dry-run=client", "-o", "yaml")
    kubectl("apply", "--server-side", "-n", "stand-ins", "-f", "-", stdin=code)
    for name in ("launch-library", "discord"):
        kubectl("rollout", "status", f"deployment/{name}", "-n", "stand-ins", "--timeout=2m")


def owner_and_database(chosen: dict[str, str]) -> tuple[str, str]:
    """Return who owns the launches, and the name of their database."""
    return chosen.get("POSTGRES_USER") or "rocket", chosen.get("POSTGRES_DB") or "launches"


def write_secrets(chosen: dict[str, str]) -> bool:
    """Write every Secret, what .env does not give made once and kept; return whether the admin's password is new."""
    owner, database = owner_and_database(chosen)
    roles = {
        "database-init-schema": (owner, database, chosen.get("POSTGRES_PASSWORD")),
        "database-fetch": ("launch_fetch", database, None),
        "database-notify": ("launch_notify", database, None),
        "database-airflow": ("airflow", "airflow", None),
    }
    for name, (role, dbname, wanted) in roles.items():
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
            write_secret(TASKS, name, values)

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

    # These may be empty: the steps take that for "not set".
    write_secret(TASKS, "discord", {"webhook-url": chosen.get("DISCORD_WEBHOOK_URL", "")})
    write_secret(TASKS, "heartbeat", {"url": chosen.get("HEARTBEAT_URL", "")})
    write_secret(TASKS, "launch-library", {"token": chosen.get("LAUNCH_LIBRARY_TOKEN", "")})
    config_map = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "launch-library", "namespace": TASKS},
        "data": {"url": chosen.get("LAUNCH_LIBRARY_URL", "")},
    }
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(config_map))
    return not password


def use_registry_login() -> None:
    """Let those pods use the Secret `registry`, where somebody has put it, that no chart makes."""
    for namespace, account in ((TASKS, "default"), (AIRFLOW, "pod-cleanup")):
        if kubectl("get", "secret", "registry", "-n", namespace, "--ignore-not-found"):
            kubectl("patch", "serviceaccount", account, "-n", namespace, "-p", json.dumps(REGISTRY_LOGIN))


def secrets(_arguments: argparse.Namespace) -> None:
    """Write every Secret and nothing else, for helm by hand."""
    check_programs("kubectl")
    check_settings()
    with lock():
        write_secrets(settings())
        use_registry_login()


# ---------------------------------------------------------------- charts


def locked_charts() -> dict[str, list[str]]:
    """Return helm/charts.lock: version, repository and digest by name."""
    lines = (ROOT / "helm" / "charts.lock").read_text(encoding="utf-8").splitlines()
    return {name: rest for name, *rest in map(str.split, lines) if name != "#"}


@functools.cache
def chart_path(name: str) -> str:
    """Return the path of a locked chart: from the charts folder if it is there, else from its repository.

    The digest is checked. One that differs is an error for what was downloaded; for what somebody put into the folder
    it is a warning, as is a chart's folder, which has no digest.
    """
    version, repository, digest = locked_charts()[name]
    folder = Path(os.environ.get("CHARTS_DIR") or CACHE / "charts")
    packed = folder / f"{name}-{version}.tgz"
    if not packed.exists() and (folder / name / "Chart.yaml").exists():
        print(f"Warning: {folder / name} is used as it is: a folder has no digest.", file=sys.stderr)
        return str(folder / name)
    downloaded = not packed.exists()
    if downloaded:
        folder.mkdir(parents=True, exist_ok=True)
        run("helm", "pull", name, "--repo", repository, "--version", version, "--destination", str(folder))
    if f"sha256:{hashlib.sha256(packed.read_bytes()).hexdigest()}" != digest:
        if downloaded:
            packed.unlink()
            raise Failed(f"{repository} gave {name} {version} with another digest than helm/charts.lock has.")
        print(f"Warning: {packed} is used, though its digest is not the locked one.", file=sys.stderr)
    return str(packed)


def check_charts() -> None:
    """Find every chart. Raises Failed with the one that cannot be had."""
    for name in locked_charts():
        chart_path(name)


def chart(arguments: argparse.Namespace) -> None:
    """Print the path of a chart, downloaded if it is not there yet, for helm by hand."""
    check_programs("helm")
    print(chart_path(arguments.name))


def install(release: str, namespace: str, name: str, *arguments: str, values: dict[str, Any] | None = None) -> None:
    """Install or upgrade a release with its values file, the arguments', `values`, and last the user's own."""
    # An upgrade that was interrupted would block every later one.
    pending = json.loads(helm("list", "--pending", "--namespace", namespace, "--output", "json") or "[]")
    if any(found["name"] == release for found in pending):
        first = [found["revision"] for found in pending if found["name"] == release] == ["1"]
        helm(*("uninstall", "--no-hooks") if first else ("rollback", "--no-hooks"), release, "--namespace", namespace)
    local = ("--values", "helm/local.yaml") if (ROOT / "helm" / "local.yaml").exists() else ()
    helm(
        *("upgrade", "--install", release, chart_path(name), "--namespace", namespace, "--timeout", "15m"),
        *("--values", f"helm/{release}.yaml", *arguments, "--values", "-", *local),
        stdin=json.dumps(values or {}),
    )


# ---------------------------------------------------------------- up


@lock()
def up(_arguments: argparse.Namespace) -> None:
    """From nothing, or from anything, to a green run on a kind cluster of our own."""
    if CONTEXT != KIND:
        raise Failed(f"make up is for its own kind cluster: make deploy KUBE_CONTEXT={CONTEXT} IMAGE_REGISTRY=…")
    started = time.monotonic()
    check_programs("docker", "kind", "helm", "kubectl")
    check_settings()
    check_charts()
    if settings().get("STAND_INS"):
        print("Launch Library and Discord: stand-ins, as STAND_INS is set.")
    with phase("cluster"):
        make_cluster()
    with phase("images"):
        images = load_images()
    is_new, states = install_everything(images)
    print(f"\nReady after {time.monotonic() - started:.0f} s: http://localhost:8080")
    say_how_to_go_on(is_new, states)


@lock()
def deploy(_arguments: argparse.Namespace) -> None:
    """The same on a cluster that is there, by its context, with images from a registry that its nodes can reach."""
    registry = os.environ.get("IMAGE_REGISTRY")
    if CONTEXT == KIND or not registry:
        raise Failed(
            "Name the cluster and a registry: make deploy KUBE_CONTEXT=… IMAGE_REGISTRY=registry.example.org/me"
        )
    started = time.monotonic()
    check_programs("docker", "helm", "kubectl")
    check_settings()
    check_charts()
    with phase("cluster"):
        kubectl("version", "--request-timeout=30s")
    with phase("images"):
        run("k8s/images", "build")
        run("k8s/images", "push")
        images = image_references()
    is_new, states = install_everything(images, "--values", "helm/production.yaml")
    with phase("backups"):
        kubectl("apply", "-f", "k8s/backup.yaml")
    print(
        f"\nReady after {time.monotonic() - started:.0f} s: http://localhost:8080 while this runs:\n"
        f"kubectl --context {CONTEXT} port-forward -n {AIRFLOW} service/airflow-api-server 8080"
    )
    say_how_to_go_on(is_new, states, f" KUBE_CONTEXT={CONTEXT}")


def check_settings() -> None:
    """Find out what cannot work before anything is done."""
    if settings().get("POSTGRES_USER") in ("postgres", "airflow", "launch_fetch", "launch_notify"):
        raise Failed("POSTGRES_USER must be a role of its own, such as rocket: change it in .env.")
    egress_except(settings())


def install_everything(images: dict[str, str], *arguments: str) -> tuple[bool, dict[str, Any]]:
    """Bring a cluster that answers to its first run; the arguments are for every `helm upgrade`.

    Return whether the admin's password is new, and how the run ended.
    """
    chosen = settings()
    if chosen.get("MONITORING"):
        arguments += ("--values", "helm/monitoring.yaml")
    with phase("secrets"):
        apply_manifests(chosen)
        if chosen.get("STAND_INS"):
            deploy_stand_ins()
        is_new = write_secrets(chosen)
    with phase("operator", OPERATOR):
        install_operator(*arguments)
        deploy_monitoring(wanted=bool(chosen.get("MONITORING")))
    with phase("database", AIRFLOW):
        install("postgres", AIRFLOW, "cluster", *arguments, values=values_of("postgres", images))
        kubectl("wait", "cluster/postgres", "-n", AIRFLOW, "--for=condition=Ready", "--timeout=10m")
        kubectl(
            "wait", "database/postgres-airflow", "-n", AIRFLOW, "--for=jsonpath={.status.applied}=true", "--timeout=2m"
        )
    with phase("airflow", AIRFLOW):
        apply_pod_cleanup(images["IMAGE_AIRFLOW"])
        use_registry_login()
        install("airflow", AIRFLOW, "airflow", *arguments, values=values_of("airflow", images))
        for workload in (
            "deployment/airflow-api-server",
            "deployment/airflow-dag-processor",
            "statefulset/airflow-scheduler",
        ):
            # The scheduler that is replaced waits for its task's end, 11 minutes at most.
            kubectl("rollout", "status", workload, "-n", AIRFLOW, "--timeout=15m")
    with phase("first run", AIRFLOW, TASKS) as say:
        states = trigger_and_wait(say)
    show(states)
    return is_new, states


def apply_manifests(chosen: dict[str, str]) -> None:
    """Apply what the charts do not bring; in the policy `web`, except what EGRESS_EXCEPT names."""
    kubectl("apply", "-k", "k8s")
    if networks := egress_except(chosen):
        blocks = [
            {"ipBlock": {"cidr": cidr, "except": [str(network) for network in networks if network.version == version]}}
            for version, cidr in ((4, "0.0.0.0/0"), (6, "::/0"))
        ]
        patch = json.dumps([{"op": "replace", "path": "/spec/egress/0/to", "value": blocks}])
        kubectl("patch", "networkpolicy", "web", "-n", TASKS, "--type=json", "-p", patch)


def egress_except(chosen: dict[str, str]) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """Return the networks in EGRESS_EXCEPT. Raises Failed where a word is none."""
    try:
        return [ipaddress.ip_network(word) for word in chosen.get("EGRESS_EXCEPT", "").split()]
    except ValueError as error:
        raise Failed(
            f"EGRESS_EXCEPT in .env takes networks such as 10.0.0.0/8, with spaces between: {error}."
        ) from None


def say_how_to_go_on(is_new: bool, states: dict[str, Any], which: str = "") -> None:  # noqa: FBT001  # one caller each
    """Print the login and the next commands; which cluster they are for. Raises Failed if the run has failed."""
    admin = secret(AIRFLOW, "airflow-admin")
    path = f"kubectl --context {CONTEXT} get secret airflow-admin -n {AIRFLOW} -o jsonpath={{.data.password}}"
    password = admin["password"] if is_new else f"what this prints: {path} | base64 -d"
    print(
        f"Log in as {admin['username']} with {password}\n"
        f"Next: make trigger{which}, make logs{which} TASK=fetch_and_store_data, make rows{which}"
    )
    if states[""] != "success":
        raise Failed(f"The first run failed: make logs{which} TASK=… says why, make trigger{which} tries again.")


def install_operator(*arguments: str) -> None:
    """Install the operator, unless the cluster has somebody else's: there can be only one."""
    mark = "{.metadata.annotations.meta\\.helm\\.sh/release-name}"
    crd = ("get", "crd", "clusters.postgresql.cnpg.io", "--ignore-not-found", "-o")
    if kubectl(*crd, "name") and kubectl(*crd, f"jsonpath={mark}") != "operator":
        print("(there already) ", end="")
        return
    kubectl("apply", "-f", "k8s/operator.yaml")
    install("operator", OPERATOR, "cloudnative-pg", "--wait", *arguments)


def deploy_monitoring(*, wanted: bool) -> None:
    """Let a Prometheus in, and tell its operator whom to ask, if there is one; or take both back."""
    command = ("apply",) if wanted else ("delete", "--ignore-not-found")
    # Policies would cut off somebody else's operator of PostgreSQL; ours has some already.
    ours = kubectl("get", "networkpolicy", "operator", "-n", OPERATOR, "--ignore-not-found")
    kubectl(*command, "-f", "k8s/monitoring.yaml", *(() if ours else ("-l", "app.kubernetes.io/component!=operator")))
    if kubectl("get", "crd", "podmonitors.monitoring.coreos.com", "--ignore-not-found"):
        kubectl(*command, "-f", "k8s/pod-monitors.yaml")


def make_cluster() -> None:
    """Make the cluster, or finish one whose making was interrupted. One that holds data is never deleted."""
    if CLUSTER in run("kind", "get", "clusters").split():
        run("docker", "start", NODE, check=False)
        if KIND not in run("kubectl", "config", "get-contexts", "-o", "name").split():
            run("kind", "export", "kubeconfig", "--name", CLUSTER, check=False)
        deadline = time.monotonic() + 120
        while KIND in run("kubectl", "config", "get-contexts", "-o", "name").split() and time.monotonic() < deadline:
            with contextlib.suppress(Failed):
                # The storage class is the last thing that kind makes.
                if kubectl("get", "storageclass", "-o", "name", "--request-timeout=5s"):
                    return
                break
            time.sleep(2)
        volumes = "echo volumes:; ls -A /var/local-path-provisioner 2>/dev/null || :"
        if run("docker", "exec", NODE, "sh", "-c", volumes, check=False).split() != ["volumes:"]:
            raise Failed(
                f"The cluster does not answer, and there may be data in it: see docker logs {NODE}. "
                "make down deletes it with its data."
            )
        run("kind", "delete", "cluster", "--name", CLUSTER)
    run("kind", "create", "cluster", "--config", "k8s/kind.yaml", "--wait", "120s")


def load_images() -> dict[str, str]:
    """Build our images and bring them into the node, with those others that this machine's Docker has."""
    run("k8s/images", "build")
    ours = image_references()
    sometimes = {"STAND_INS": STAND_IN_IMAGE, "MONITORING": STATSD_EXPORTER}
    others = [*IMAGES, *(image for setting, image in sometimes.items() if settings().get(setting))]
    wanted = [*ours.values(), *(image for image in others if run("docker", "images", "-q", image))]
    there = run("docker", "exec", NODE, "ctr", "--namespace", "k8s.io", "images", "list", "--quiet").split()
    for image in wanted:
        if full_name(image) not in there:
            # What Docker has pulled, kind may not be able to load (kubernetes-sigs/kind#3795): the node pulls it.
            run("kind", "load", "docker-image", image, "--name", CLUSTER, check=image in ours.values())
    return ours


def full_name(image: str) -> str:
    """Return an image's name as the node knows it: Docker leaves out its own registry, and there `library`."""
    host, slash, _ = image.partition("/")
    return image if slash and "." in host else f"docker.io/{image}" if slash else f"docker.io/library/{image}"


def image_references() -> dict[str, str]:
    """Return our images by the variables that the DAG knows them by."""
    return dict(line.split("=", 1) for line in run("k8s/images").split())


def apply_pod_cleanup(image: str) -> None:
    """Apply the hourly cleanup of finished pods, which runs Airflow's image."""
    manifest = (ROOT / "k8s" / "pod-cleanup.yaml").read_text(encoding="utf-8")
    kubectl("apply", "-f", "-", stdin=manifest.replace("rocket-launches/airflow:set-by-deploy", image))
    # What did this before.
    kubectl("delete", "role,rolebinding", "airflow-pod-cleanup", "-n", TASKS, "--ignore-not-found")


def values_of(release: str, images: dict[str, str]) -> dict[str, Any]:
    """Return what the deployment adds to a release's values file: what .env, the images and the cluster say."""
    chosen = settings()
    # Before there is a cluster, .env alone says it.
    is_there = CONTEXT in run("kubectl", "config", "get-contexts", "-o", "name").split()
    if release == "postgres":
        owner, database = owner_and_database(chosen)
        there = secret(AIRFLOW, "database-init-schema") if is_there else {}
        initdb = {"owner": there.get("username", owner), "database": there.get("dbname", database)}
        return {"cluster": {"initdb": initdb}}
    if release == "airflow":
        login = is_there and kubectl("get", "secret", "registry", "-n", AIRFLOW, "--ignore-not-found")
        return airflow_values(images, chosen.get("SCHEDULE", "")) | (REGISTRY_LOGIN if login else {})
    return {}


def values(arguments: argparse.Namespace) -> None:
    """Print what the deployment adds to a release's values file, for helm by hand; JSON is YAML."""
    check_programs("kubectl")
    print(json.dumps(values_of(arguments.release, image_references()), indent=2))


def airflow_values(images: dict[str, str], schedule: str) -> dict[str, Any]:
    """Return what the deployment adds to helm/airflow.yaml."""
    repository, _, tag = images["IMAGE_AIRFLOW"].rpartition(":")
    variables = {name: image for name, image in images.items() if name != "IMAGE_AIRFLOW"}
    variables |= {"TASK_NAMESPACE": TASKS, "SCHEDULE": schedule}
    return {
        "images": {"airflow": {"repository": repository, "tag": tag}},
        "env": [{"name": name, "value": value} for name, value in variables.items()],
    }


# ---------------------------------------------------------------- runs


class Api:
    """Airflow's API, as the admin, through a forwarded port: so it needs no port of the node."""

    def __enter__(self) -> Self:
        self.token = ""
        self.connect()
        try:
            self.token = self("POST", "/auth/token", secret(AIRFLOW, "airflow-admin"))["access_token"]
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with self.forward:
            self.forward.terminate()

    def connect(self) -> None:
        """Forward a free port; which one, kubectl says first."""
        self.forward = subprocess.Popen(
            ["kubectl", "--context", CONTEXT, "port-forward", "-n", AIRFLOW, "service/airflow-api-server", ":8080"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        said = self.forward.stdout.readline() if self.forward.stdout else ""
        if not (port := re.search(r":(\d+) ->", said)):
            self.__exit__()
            raise Failed("Airflow's API server cannot be reached: make status shows if it runs, make up finishes it.")
        self.url = f"http://127.0.0.1:{port[1]}"

    def __call__(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:  # noqa: ANN401  # any JSON
        """Call the API. Raises Failed; a lookup is tried again, since the pod may be one that an upgrade is ending."""
        content = json.dumps(body).encode() if body is not None else None
        for pause in (1, 2, 4, 8, 0) if method == "GET" or not self.token else (0,):
            request = urllib.request.Request(
                self.url + path, content, {"Content-Type": "application/json"}, method=method
            )
            if self.token:
                request.add_header("Authorization", f"Bearer {self.token}")
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                words = error.read().decode(errors="replace")[:300]
                raise Refused(
                    f"Airflow's API answered {method} {path} with {error.code}: {words}", error.code
                ) from None
            except (OSError, http.client.HTTPException) as error:
                if not pause:
                    raise Failed(f"Airflow's API does not answer ({error}): make status shows the pods.") from None
                time.sleep(pause)
                self.__exit__()
                self.connect()
        raise AssertionError


class Refused(Failed):
    """The API's answer is an error."""

    def __init__(self, sentence: str, status: int) -> None:
        super().__init__(sentence)
        self.status = status


def trigger_and_wait(say: Callable[[str], None] = print, seconds: float = 900) -> dict[str, Any]:
    """Start a run and wait for its end; return each task's state and seconds, and the run's state under ''.

    A task that waits for its next try ends the wait: that may be an hour away. `say` is told about other runs.
    """
    told: set[str] = set()
    deadline = time.monotonic() + seconds
    with Api() as call:
        while True:  # the dag processor reads the file some seconds after Airflow is there
            try:
                call("GET", f"/api/v2/dags/{DAG}")
                break
            except Refused as error:
                if error.status != 404 or time.monotonic() > deadline:
                    raise
                time.sleep(1)
        run_id = call("POST", RUNS, {"logical_date": None})["dag_run_id"]
        while time.monotonic() < deadline:
            state = call("GET", f"{RUNS}/{run_id}")["state"]
            tasks = task_states(call, run_id)
            waiting = any(task_state == "up_for_retry" for task_state, _ in tasks.values())
            if state in ("success", "failed") or waiting:
                return tasks | {"": "failed" if waiting else state}
            if state == "queued":
                make_room(call, run_id, told, say)
            time.sleep(1)
    raise Failed(f"The run {run_id} has not ended after {seconds:.0f} s: make status, make logs TASK=…")


def make_room(call: Api, ours: str, told: set[str], say: Callable[[str], None]) -> None:
    """End a run that only waits for its next try, for up to two hours; wait for any other. Say so, once a run.

    There is one run at a time, so that a queued one waits for as long as the one before it.
    """
    for other in call("GET", f"{RUNS}?state=running")["dag_runs"]:
        run_id = other["dag_run_id"]
        if run_id == ours:  # by now it runs
            continue
        tasks = task_instances(call, run_id)
        if waiting := next((task for task in tasks if task["state"] == "up_for_retry"), None):
            call("PATCH", f"{RUNS}/{run_id}", {"state": "failed"})
            since = f" since {utc(moment(waiting['end_date']))}" if waiting["end_date"] else ""
            say(f"The run {run_id} is marked failed to make room: {waiting['task_id']} was up_for_retry{since}.")
        elif run_id not in told:
            told.add(run_id)
            busy = "".join(f": {task['task_id']} is running" for task in tasks if task["state"] == "running")
            say(f"Waiting for the run {run_id}{busy}.")


def task_instances(call: Api, run_id: str) -> list[dict[str, Any]]:
    """Return all that Airflow says of a run's tasks."""
    return call("GET", f"{RUNS}/{run_id}/taskInstances")["task_instances"]  # type: ignore[no-any-return]


def task_states(call: Api, run_id: str) -> dict[str, tuple[str | None, float]]:
    """Return each task's state and seconds."""
    return {task["task_id"]: (task["state"], task["duration"] or 0.0) for task in task_instances(call, run_id)}


def show(states: dict[str, Any]) -> None:
    """Print each task's state and seconds, in the order of the DAG."""
    for task in ("initialize_schema", "fetch_and_store_data", "notify_discord"):
        state, duration = states.get(task, ("none", 0.0))
        print(f"  {task:<22}{state or 'not run':<18}{duration:5.1f} s")


def trigger(_arguments: argparse.Namespace) -> None:
    """Run the DAG once, and say how it ended."""
    states = trigger_and_wait()
    show(states)
    if states[""] != "success":
        raise Failed("The run failed: make logs TASK=… says why. Airflow tries again by itself, up to four times.")


def logs(arguments: argparse.Namespace) -> None:
    """Print the log of a task's newest pod, or of all pods; where there is none, what the cluster says of the pod."""
    selector = f"dag_id={DAG}" + (f",task_id={arguments.task}" if arguments.task else "")
    found = kubectl("get", "pods", "-n", TASKS, "-l", selector, "--sort-by=.metadata.creationTimestamp", "-o", "json")
    pods = json.loads(found)["items"]
    for pod in pods[-1:] if arguments.task else pods:
        name = pod["metadata"]["name"]
        print(f"--- pod/{name}")
        log = ""
        try:
            log = kubectl("logs", "-n", TASKS, name, "--tail=-1")
        except Failed as failure:
            print(failure)
        print(log or why_no_log(pod), end="")
    gone = newest_gone_pod(arguments.task, pods)
    if gone:
        print(
            f"--- pod/{gone} is gone: Airflow deletes a pod that does not start, or is stopped. Its events:\n"
            f"{events_of(gone)}Airflow's log of the task, in the UI, has its last words."
        )
    elif not pods:
        raise Failed(
            f"No pod of {arguments.task or DAG} is there, and the last hour's events name none: make trigger starts a "
            "run. Where a run has failed without a pod, Airflow's log of the task, in the UI, says why."
        )


def why_no_log(pod: dict[str, Any]) -> str:
    """Return a pod's phase, what each of its containers waits for or ended with, and its events."""
    status = pod["status"]
    states = [("The pod", status["phase"], status)]
    for container in status.get("containerStatuses", []):
        states += [(f"Container {container['name']}", state, about) for state, about in container["state"].items()]
    lines = ["There is no log."]
    for what, state, about in states:
        words = [f"{what} is {state.lower()}", *(about[key] for key in ("reason", "message") if about.get(key))]
        lines.append(one_line(": ".join(words)))
    return "\n".join([*lines, events_of(pod["metadata"]["name"])])


def events_of(pod: str) -> str:
    """Return the table of a pod's events, which the cluster keeps for an hour."""
    which = ("--field-selector", f"involvedObject.name={pod}", "--sort-by=.lastTimestamp")
    return kubectl("get", "events", "-n", TASKS, *which) or "It has no events, or none from the last hour.\n"


def newest_gone_pod(task: str | None, pods: list[dict[str, Any]]) -> str:
    """Return the name of a task's pod that has events, is not there, and is newer than those that are; '' if none."""
    which = ("--field-selector", "involvedObject.kind=Pod", "--sort-by=.metadata.creationTimestamp")
    events = json.loads(kubectl("get", "events", "-n", TASKS, *which, "-o", "json"))["items"]
    since = pods[-1]["metadata"]["creationTimestamp"] if pods else ""
    there = {pod["metadata"]["name"] for pod in pods}
    prefix = f"{task.replace('_', '-')}-" if task else ""
    names = [event["involvedObject"]["name"] for event in events if event["metadata"]["creationTimestamp"] > since]
    return next((name for name in reversed(names) if name.startswith(prefix) and name not in there), "")


def in_postgres(*command: str, terminal: bool = False) -> list[str]:
    """Return the command that runs another in the primary's pod, as the launches' owner."""
    owner = secret(AIRFLOW, "database-init-schema")
    primary = "cnpg.io/cluster=postgres,cnpg.io/instanceRole=primary"
    pod = kubectl("get", "pods", "-n", AIRFLOW, "-l", primary, "-o", "name").strip()
    if not owner or not pod:
        raise Failed("PostgreSQL is not there: make up deploys it, make status shows what is.")
    # Inside its pod, PostgreSQL knows us by our Unix user; the role is set at once, so that no password is needed.
    settings = (f"PGOPTIONS=-c role={owner['username']}", f"PGDATABASE={owner['dbname']}")
    execute = ["kubectl", "--context", CONTEXT, "exec", "-n", AIRFLOW, "-i", *(["-t"] if terminal else []), pod]
    return [*execute, "-c", "postgres", "--", "env", *settings, *command]


def psql(arguments: argparse.Namespace) -> None:
    """Open psql on the launches as their owner, or run one statement."""
    statement = ("-c", arguments.statement) if arguments.statement else ()
    terminal = sys.stdin.isatty() and not statement
    if subprocess.run(in_postgres("psql", "-X", *statement, terminal=terminal), check=False).returncode:
        raise Failed("psql failed: make status shows if PostgreSQL runs.")


def backup(_arguments: argparse.Namespace) -> None:
    """Write all of the launches' database into a file here, as it is at one moment."""
    path = Path(f"launches-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.dump")
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        done = subprocess.run(in_postgres("pg_dump", "--format", "custom"), stdout=file, check=False).returncode == 0
    if not done:
        part.unlink()
        raise Failed("pg_dump failed: make status shows if PostgreSQL runs.")
    part.rename(path)
    print(f"{path}: {path.stat().st_size} bytes; make restore FILE={path} brings it back")


def restore(arguments: argparse.Namespace) -> None:
    """Put a backup in the place of what is there, all of it or, if something fails, nothing."""
    command = ["pg_restore", "--clean", "--if-exists", "--no-owner", "--single-transaction", "--exit-on-error"]
    if arguments.file.is_file():
        command += ["--dbname", secret(AIRFLOW, "database-init-schema").get("dbname", "")]
        with arguments.file.open("rb") as file:
            restored = subprocess.run(in_postgres(*command), stdin=file, check=False).returncode == 0
    else:
        restored = restore_nightly(f"/backups/{arguments.file.name}", command)
    if not restored:
        raise Failed(f"{arguments.file} was not restored, and nothing was changed: the lines above say why.")
    print(f"{arguments.file} is restored: make rows shows it, make trigger brings it up to date.")


def restore_nightly(path: str, command: list[str]) -> bool:
    """Restore one of the backups that the cluster makes by itself, with a job that is like the one that made it."""
    job = ("create", "job", "restore", "--from=cronjob/backup", "-n", AIRFLOW, "--dry-run=client", "-o", "json")
    manifest = json.loads(kubectl(*job, check=False) or "null")
    if not manifest:
        raise Failed(f"{path} is no file here, and this cluster makes no backups by itself: make backup writes one.")
    manifest["spec"]["backoffLimit"] = 0
    [container] = manifest["spec"]["template"]["spec"]["containers"]
    script = (
        "timeout 60 sh -c 'until pg_isready --quiet; do sleep 1; done'; ls /backups; "
        f'exec "$@" --dbname "$PGDATABASE" {shlex.quote(path)}'
    )
    container["command"] = ["sh", "-c", script, "sh", *command]
    kubectl("delete", "job", "restore", "-n", AIRFLOW, "--ignore-not-found")
    kubectl("create", "-f", "-", stdin=json.dumps(manifest))
    ended = ("--for=jsonpath={.status.conditions[?(@.status=='True')].type}", "--timeout=10m")
    kubectl("wait", "job/restore", "-n", AIRFLOW, *ended)
    print(kubectl("logs", "job/restore", "-n", AIRFLOW), end="")
    state = kubectl("get", "job", "restore", "-n", AIRFLOW, "-o", "jsonpath={.status.succeeded}")
    kubectl("delete", "job", "restore", "-n", AIRFLOW)
    return state == "1"


# ---------------------------------------------------------------- status

ALERT = "ALERT"  # what a line begins with where somebody should act
# A failed step is tried four times more, after at most 10, 20, 40 and 80 minutes.
RETRIES = timedelta(minutes=150)
SHOWN_PODS = 12  # of each namespace, the newest: four runs
NIGHTLY = timedelta(hours=26)  # the nightly backup, with two hours to spare
OVERDUE = timedelta(minutes=5)  # the scheduler takes seconds

# By way of JSON, a column that an older database does not have yet is null.
HISTORY = """
    WITH good AS (
        SELECT max(requested_at) AS at FROM fetches WHERE error IS NULL
    ), failed AS (
        SELECT count(*) AS number, (array_agg(error ORDER BY id DESC))[1] AS newest
        FROM fetches, good
        WHERE error IS NOT NULL AND (good.at IS NULL OR requested_at > good.at)
    ), warned AS (
        SELECT count(*) AS number, (array_agg(warning ORDER BY id DESC))[1] AS newest
        FROM fetches AS f, jsonb_array_elements_text(to_jsonb(f) -> 'warnings') AS warning
        WHERE requested_at > now() - interval '24 hours'
    )
    SELECT json_build_object(
        'good', good.at, 'failed', failed.number, 'error', failed.newest,
        'warnings', warned.number, 'warning', warned.newest,
        'message', (SELECT max(greatest(posted_at, edited_at)) FROM notifications),
        'attempt', (SELECT max(attempted_at) FROM notifications)
    )
    FROM good, failed, warned
"""


def status(_arguments: argparse.Namespace) -> None:
    """Say how old the newest of everything is, then print the releases and pods. Raises Failed where one is late."""
    now = datetime.now(UTC)
    stored, airflow = answer_of(history), answer_of(lambda: airflow_state(now))
    lines = {
        "last good fetch": last_good_fetch(stored, airflow, now),
        "last message": last_message(stored, airflow, now),
        "newest backup": newest_backup(now),
        "next scheduled run": next_scheduled_run(airflow, now),
    }
    if stored.get("warnings"):
        lines["warnings"] = f"{stored['warnings']} in the last 24 hours, the newest: {one_line(stored['warning'])}"
    alerts = [name for name, line in lines.items() if line.startswith(ALERT)]
    for name, line in lines.items():
        red, reset = ("\033[31m", "\033[0m") if name in alerts and sys.stdout.isatty() else ("", "")
        print(f"{red}{name:<20}{line}{reset}")
    print(f"\n{helm('list', '--all-namespaces')}")
    for namespace in (OPERATOR, AIRFLOW, TASKS):
        pods = kubectl("get", "pods", "-n", namespace, "--sort-by=.metadata.creationTimestamp").splitlines()
        # Of the steps' pods, a day's are there.
        older = len(pods) - 1 - SHOWN_PODS
        print("\n".join([f"{namespace}:", *pods[:1], *pods[1:][-SHOWN_PODS:]]))
        print(f"… and {older} older ones\n" if older > 0 else "")
    if alerts:
        raise Failed(f"{ALERT}: {', '.join(alerts)}: the first lines of make status say more.")


def answer_of(question: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return an answer, or under 'failure' why there is none."""
    try:
        return question()
    except Failed as failure:
        return {"failure": f"{ALERT}: {one_line(str(failure))}"}


def history() -> dict[str, Any]:
    """Ask PostgreSQL what the steps have done."""
    asked = ("psql", "-XqAt", "-c", "SET statement_timeout = '30s'", "-c", HISTORY)
    return json.loads(run(*in_postgres(*asked)))  # type: ignore[no-any-return]


def airflow_state(now: datetime) -> dict[str, Any]:
    """Ask Airflow what it has planned, and what became of it."""
    due = f"run_type=scheduled&run_after_lt={now - RETRIES:%Y-%m-%dT%H:%M:%SZ}&order_by=-run_after&limit=2"
    ended = "task_id=notify_discord&state=success&state=skipped&state=failed&order_by=-run_after&limit=1"
    with Api() as call:
        return {
            "dag": call("GET", f"/api/v2/dags/{DAG}"),
            "scheduler": call("GET", "/api/v2/monitor/health")["scheduler"],
            "active": call("GET", f"{RUNS}?state=running&state=queued&order_by=run_after&limit=1")["dag_runs"],
            "due": call("GET", f"{RUNS}?{due}")["dag_runs"],
            "notified": call("GET", f"{RUNS}/~/taskInstances?{ended}")["task_instances"],
        }


def last_good_fetch(stored: dict[str, Any], airflow: dict[str, Any], now: datetime) -> str:
    """Say when the launches were last read, and what has failed since.

    It is late when two scheduled runs have not done it since, and the second one has had the time for its retries. A
    scheduler that is dead makes no runs: then it is the run that was to come next, and another as long after that.
    """
    if "failure" in stored:
        return str(stored["failure"])
    line = ago(stored["good"], now) if stored["good"] else "none yet"
    if stored["failed"]:
        line += f"; {stored['failed']} failed since, the newest: {one_line(stored['error'])}"
    if "failure" in airflow or not airflow["dag"]["next_dagrun_run_after"]:
        return line
    scheduled = [moment(found["run_after"]) for found in airflow["due"]]
    if scheduled:
        following = moment(airflow["dag"]["next_dagrun_run_after"])
        scheduled += [following, following + (following - scheduled[0])]
    good = moment(stored["good"]) if stored["good"] else datetime.min.replace(tzinfo=UTC)
    missed = [time for time in scheduled if good < time < now - RETRIES]
    return f"{ALERT}: {line}" if len(missed) >= 2 else line


def last_message(stored: dict[str, Any], airflow: dict[str, Any], now: datetime) -> str:
    """Say when a message was last posted or edited.

    It is never late by its age: while no launch changes there is nothing to say, for days. What tells is if
    notify_discord had something to say and failed, all its retries included.
    """
    if "failure" in stored:
        return str(stored["failure"])
    line = ago(stored["message"], now) if stored["message"] else "none yet"
    if stored["attempt"]:
        line += f"; one that was sent {ago(stored['attempt'], now)} had no answer: it may be there or not"
    if any(task["state"] == "failed" for task in airflow.get("notified", [])):
        line = f"{ALERT}: {line}; notify_discord has failed: make logs TASK=notify_discord"
    return line


def newest_backup(now: datetime) -> str:
    """Say when the cluster's nightly backup was last made; where it makes none, the newest file here."""
    cronjob = ("get", "cronjob", "backup", "-n", AIRFLOW, "-o", "json", "--ignore-not-found")
    found = answer_of(lambda: json.loads(kubectl(*cronjob) or "{}"))
    if "failure" in found:
        return str(found["failure"])
    if found:
        last = found["status"].get("lastSuccessfulTime")
        line = ago(last, now) if last else "none yet"
        is_late = now - moment(last or found["metadata"]["creationTimestamp"]) > NIGHTLY
        return f"{ALERT}: {line}: kubectl describe cronjob backup -n {AIRFLOW}" if is_late else line
    names = [re.fullmatch(r"launches-(\d{8}T\d{6}Z)\.dump", path.name) for path in Path().iterdir()]
    newest = max((name[1] for name in names if name), default="")
    return f"{ago(newest, now)}: launches-{newest}.dump" if newest else "none: make backup writes one"


def next_scheduled_run(airflow: dict[str, Any], now: datetime) -> str:  # noqa: PLR0911  # a case each
    """Say when Airflow will run the DAG next, or what keeps it from that."""
    if "failure" in airflow:
        return str(airflow["failure"])
    dag, scheduler, active = airflow["dag"], airflow["scheduler"], airflow["active"]
    if scheduler["status"] != "healthy":
        last = scheduler["latest_scheduler_heartbeat"]
        return f"{ALERT}: the scheduler does not work; its last heartbeat was {ago(last, now) if last else 'never'}"
    if dag["is_stale"] or dag["has_import_errors"]:
        return f"{ALERT}: Airflow cannot load the DAG: the UI shows the import error"
    if not dag["next_dagrun_run_after"]:
        return "none: there is no SCHEDULE"
    if dag["is_paused"]:
        return f"{ALERT}: the DAG is paused: the switch beside its name in the UI unpauses it"
    due = moment(dag["next_dagrun_run_after"])
    if due > now:
        return f"in {span(due - now)} ({utc(due)})"
    line = f"due {ago(dag['next_dagrun_run_after'], now)}"
    if active:
        return f"{line}; waits for the end of the run {active[0]['dag_run_id']}"
    return f"{ALERT}: {line}, and no run has started" if now - due > OVERDUE else line


def moment(text: str) -> datetime:
    """Read a time in ISO 8601."""
    return datetime.fromisoformat(text)


def utc(time: datetime) -> str:
    """Write a time for people."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def ago(text: str, now: datetime) -> str:
    """Write how long ago a time in ISO 8601 is, and when it was."""
    return f"{span(now - moment(text))} ago ({utc(moment(text))})"


def span(length: timedelta) -> str:
    """Write a length of time in the largest unit of which it has two."""
    minutes = int(length.total_seconds() // 60)
    if minutes < 2 * 60:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 2 * 24 * 60 else f"{minutes // (24 * 60)} days"


def one_line(text: str) -> str:
    """Make other people's text one line of no more than 200 characters that does nothing to a terminal."""
    return "".join(character for character in " ".join(text.split()) if character.isprintable())[:200]


# ---------------------------------------------------------------- down and main


@lock()
def down(_arguments: argparse.Namespace) -> None:
    """Delete our kind cluster and all that is in it."""
    if CONTEXT != KIND:
        raise Failed("make down deletes its own kind cluster only; README.md says how to uninstall from another.")
    run("kind", "delete", "cluster", "--name", CLUSTER)
    if not run("docker", "ps", "-aq", "--filter", "network=kind"):
        run("docker", "network", "rm", "kind", check=False)


def main() -> int:
    """Return 0, or 1 with a sentence on standard error."""
    # What `make offline` compiled comes first.
    os.environ["PATH"] = f"{CACHE / 'bin'}{os.pathsep}{os.environ['PATH']}"
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True)
    for command in (up, deploy, trigger, logs, psql, backup, restore, status, down, secrets, chart, values):
        subparser = commands.add_parser(command.__name__, help=command.__doc__)
        subparser.set_defaults(run=command)
        if command is logs:
            subparser.add_argument("task", nargs="?")
        if command is psql:
            subparser.add_argument("statement", nargs="?")
        if command is restore:
            subparser.add_argument("file", type=Path)
        if command is chart:
            subparser.add_argument("name", choices=locked_charts())
        if command is values:
            subparser.add_argument("release", choices=("operator", "postgres", "airflow"))
    arguments = parser.parse_args()
    try:
        arguments.run(arguments)
    except Failed as failure:
        print(f"\n{failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped: the same command goes on from here.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
