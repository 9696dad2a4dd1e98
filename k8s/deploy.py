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
from collections.abc import Iterator
from datetime import UTC, datetime
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
def phase(name: str, *namespaces: str) -> Iterator[None]:
    """Show a phase and its seconds; if it fails, show the state of what it was about."""
    print(f"{name:<10}", end="", flush=True)
    started = time.monotonic()
    try:
        yield
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
    folder = ROOT / "tests" / "standins"
    files = [f"--from-file={file}" for file in sorted(folder.iterdir()) if file.is_file()]
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
    with phase("first run", AIRFLOW, TASKS):
        states = trigger_and_wait()
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


def trigger_and_wait(seconds: float = 900) -> dict[str, Any]:
    """Start a run and wait for its end; return each task's state and seconds, and the run's state under ''.

    A task that waits for its next try ends the wait: that may be an hour away.
    """
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
        runs = f"/api/v2/dags/{DAG}/dagRuns"
        run_id = call("POST", runs, {"logical_date": None})["dag_run_id"]
        while time.monotonic() < deadline:
            state = call("GET", f"{runs}/{run_id}")["state"]
            tasks = task_states(call, run_id)
            waiting = any(task_state == "up_for_retry" for task_state, _ in tasks.values())
            if state in ("success", "failed") or waiting:
                return tasks | {"": "failed" if waiting else state}
            if state == "queued":
                # One run at a time: one that waits for its next try would keep this one waiting for as long.
                for other in call("GET", f"{runs}?state=running")["dag_runs"]:
                    states = task_states(call, other["dag_run_id"])
                    if any(task_state == "up_for_retry" for task_state, _ in states.values()):
                        call("PATCH", f"{runs}/{other['dag_run_id']}", {"state": "failed"})
            time.sleep(1)
    raise Failed(f"The run {run_id} has not ended after {seconds:.0f} s: make status, make logs TASK=…")


def task_states(call: Api, run_id: str) -> dict[str, tuple[str | None, float]]:
    """Return each task's state and seconds."""
    instances = call("GET", f"/api/v2/dags/{DAG}/dagRuns/{run_id}/taskInstances")["task_instances"]
    return {task["task_id"]: (task["state"], task["duration"] or 0.0) for task in instances}


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
    """Print the logs of a task's newest pod."""
    selector = f"dag_id={DAG}" + (f",task_id={arguments.task}" if arguments.task else "")
    names = kubectl("get", "pods", "-n", TASKS, "-l", selector, "--sort-by=.metadata.creationTimestamp", "-o", "name")
    if not names:
        raise Failed(f"No pod of {arguments.task or DAG} is there: make trigger starts a run.")
    for name in names.split() if not arguments.task else names.split()[-1:]:
        print(f"--- {name}\n{kubectl('logs', '-n', TASKS, name, '--tail=-1', check=False)}", end="")


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


def status(_arguments: argparse.Namespace) -> None:
    """Print the releases and the pods."""
    print(helm("list", "--all-namespaces"))
    for namespace in (OPERATOR, AIRFLOW, TASKS):
        print(f"{namespace}:\n{kubectl('get', 'pods', '-n', namespace)}")


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
