"""The releases: which charts are installed, from where, with which values."""

import argparse
import functools
import hashlib
import json
import os
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.images import references
from deploy.kafka import bootstrap_servers
from deploy.programs import (
    AIRFLOW,
    CACHE,
    CONTEXT,
    KAFKA,
    OPERATOR,
    ROOT,
    S3,
    SEARCH,
    TASKS,
    Failed,
    check_programs,
    helm,
    kubectl,
    run,
    say,
)
from deploy.search import search_url
from deploy.settings import REGISTRY_LOGIN, has, owner_and_database, roles, secret, settings

LOCAL_SITE = "http://localhost:8081"  # where `make up` serves the site, by k8s/kind.yaml


@dataclass(frozen=True)
class Release:
    """A chart that is installed with helm/NAME.yaml, after k8s/NAME.yaml is applied, if there is one.

    A release with a `part` is installed only where WITH names that, one with `unless` only if that is not set. `ready`
    are the kubectl commands that wait for it.
    If the cluster has the custom resource `crd` from another release, there can be no second: that one is used.
    """

    chart: str  # by its name in helm/charts.lock
    namespace: str
    phase: str  # as `make up` shows it
    arguments: tuple[str, ...] = ()
    ready: tuple[tuple[str, ...], ...] = ()
    images: tuple[str, ...] = ()  # of its pods, besides ours
    shared_values: tuple[str, ...] = ()  # the files for several charts that have something for it
    crd: str = ""
    part: str = ""
    unless: str = ""


# In the order in which they are installed.
RELEASES = {
    "operator": Release(
        chart="cloudnative-pg",
        namespace=OPERATOR,
        phase="operator",
        arguments=("--wait",),  # its webhooks have to answer before there is a database
        images=("ghcr.io/cloudnative-pg/cloudnative-pg:1.30.0",),
        shared_values=("helm/production.yaml",),
        crd="clusters.postgresql.cnpg.io",
    ),
    "postgres": Release(
        chart="cluster",
        namespace=AIRFLOW,
        phase="database",
        ready=(
            ("wait", "cluster/postgres", "--for=condition=Ready", "--timeout=10m"),
            ("wait", "database/postgres-airflow", "--for=jsonpath={.status.applied}=true", "--timeout=2m"),
        ),
        images=("ghcr.io/cloudnative-pg/postgresql:17.11-202608310816-minimal-trixie",),
        shared_values=("helm/production.yaml", "helm/monitoring.yaml"),
    ),
    "s3": Release(
        chart="versitygw",
        namespace=S3,
        phase="objects",
        ready=(("rollout", "status", "deployment/s3", "--timeout=5m"),),
        # The second serves the site from it: as in k8s/website.yaml.
        images=("ghcr.io/versity/versitygw:v1.8.0", "caddy:2.11.9-alpine"),
        unless="OBJECT_STORE",
    ),
    "kafka": Release(
        chart="kafka",
        namespace=KAFKA,
        phase="stream",
        ready=(("rollout", "status", "statefulset/kafka", "--timeout=5m"),),
        images=("apache/kafka:4.3.1",),  # as in helm/kafka.yaml
        part="stream",
    ),
    "search": Release(
        chart="opensearch",
        namespace=SEARCH,
        phase="search",
        ready=(("rollout", "status", "statefulset/search", "--timeout=10m"),),
        images=("opensearchproject/opensearch:3.4.0",),  # as in helm/search.yaml
        part="search",
    ),
    "airflow": Release(
        chart="airflow",
        namespace=AIRFLOW,
        phase="airflow",
        # Not --wait: the pods wait for a migration that Helm starts only afterwards. A scheduler that is replaced
        # waits for the end of its task, up to 11 minutes.
        ready=(
            ("rollout", "status", "deployment/airflow-api-server", "--timeout=15m"),
            ("rollout", "status", "deployment/airflow-dag-processor", "--timeout=15m"),
            ("rollout", "status", "statefulset/airflow-scheduler", "--timeout=15m"),
        ),
        shared_values=("helm/production.yaml", "helm/monitoring.yaml"),
    ),
}


def wanted(chosen: dict[str, str]) -> dict[str, Release]:
    """Return the releases that the settings ask for."""
    return {
        name: release
        for name, release in RELEASES.items()
        if (not release.part or has(chosen, release.part)) and not chosen.get(release.unless)
    }


def locked_charts() -> dict[str, list[str]]:
    """Return helm/charts.lock: version, repository and digest by name."""
    lines = (ROOT / "helm" / "charts.lock").read_text(encoding="utf-8").splitlines()
    return {name: rest for name, *rest in map(str.split, lines) if name != "#"}


@functools.cache
def chart_path(name: str) -> str:
    """Return the path of a locked chart: from the charts folder if it is there, else from its repository.

    Another digest than the locked one is an error for a chart that was downloaded, and a warning for one that was
    already in the folder, as is an unpacked chart, which has no digest.
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
        is_oci = repository.startswith("oci://")
        where = (f"{repository}/{name}",) if is_oci else (name, "--repo", repository)
        run("helm", "pull", *where, "--version", version, "--destination", str(folder), show=True)
    found = f"sha256:{hashlib.sha256(packed.read_bytes()).hexdigest()}"
    if digest == "-":
        print(f"Warning: {name} {version} has no digest in helm/charts.lock. This one's is {found}.", file=sys.stderr)
    elif found != digest:
        source = repository if downloaded else packed
        differs = f"{name} {version} from {source} has the digest {found}, not the one in helm/charts.lock."
        if downloaded:
            packed.unlink()
            raise Failed(f"{differs} If you changed the version there, put this digest beside it.")
        print(f"Warning: {differs} It is used all the same.", file=sys.stderr)
    return str(packed)


def check_charts() -> None:
    """Download the charts of all releases that are wanted. Raises Failed if one cannot be had."""
    for release in wanted(settings()).values():
        chart_path(release.chart)


def chart(arguments: argparse.Namespace) -> None:
    """Print the path of a chart, for helm by hand; download it first if it is not there."""
    check_programs("helm")
    print(chart_path(arguments.name))


def install(name: str, images: dict[str, str], shared: Collection[str] = ()) -> None:
    """Install or upgrade a release with its values file, those of the shared ones that it takes, and `values_of`.

    Last come the user's own values.
    """
    release = RELEASES[name]
    if release.crd and is_from_another(release.crd, name):
        say(f"The cluster has {release.crd} already, from another release: that one is used as it is.")
        return
    if (ROOT / "k8s" / f"{name}.yaml").exists():
        kubectl("apply", "-f", f"k8s/{name}.yaml", show=True)
    namespace = ("--namespace", release.namespace)
    # An upgrade that was interrupted would block every later one.
    pending = json.loads(helm("list", "--pending", *namespace, "--output", "json") or "[]")
    if revisions := [found["revision"] for found in pending if found["name"] == name]:
        helm("uninstall" if revisions == ["1"] else "rollback", "--no-hooks", name, *namespace, show=True)
    taken = [word for path in release.shared_values if path in shared for word in ("--values", path)]
    local = ("--values", "helm/local.yaml") if (ROOT / "helm" / "local.yaml").exists() else ()
    helm(
        *("upgrade", "--install", name, chart_path(release.chart), *namespace, *release.arguments, "--timeout", "15m"),
        *("--values", f"helm/{name}.yaml", *taken, "--values", "-", *local),
        stdin=json.dumps(values_of(name, images)),
        show=f"python3 -m deploy values {name}",
    )
    for command in release.ready:
        kubectl(*command, "-n", release.namespace, show=True)


def is_from_another(crd: str, name: str) -> bool:
    """Return whether the cluster has a custom resource from a release other than this one."""
    found = ("get", "crd", crd, "--ignore-not-found", "-o")
    mark = "jsonpath={.metadata.annotations.meta\\.helm\\.sh/release-name}"
    return bool(kubectl(*found, "name")) and kubectl(*found, mark) != name


def values_of(release: str, images: dict[str, str]) -> dict[str, Any]:
    """Return what the deployment adds to a release's values file, from .env, the images and the cluster."""
    chosen = settings()
    # Before there is a cluster, .env alone decides.
    is_there = CONTEXT in run("kubectl", "config", "get-contexts", "-o", "name").split()
    if release == "postgres":
        owner, database = owner_and_database(chosen)
        there = secret(AIRFLOW, "database-init-schema") if is_there else {}
        return postgres_values(there.get("username", owner), there.get("dbname", database))
    if release == "search":
        certificate = secret(SEARCH, "search-tls").get("tls.crt", "") if is_there else ""
        return search_values(certificate)
    if release == "airflow":
        login = is_there and kubectl("get", "secret", "registry", "-n", AIRFLOW, "--ignore-not-found")
        return airflow_values(images, chosen) | (REGISTRY_LOGIN if login else {})
    return {}


def postgres_values(owner: str, database: str) -> dict[str, Any]:
    """Return what the deployment adds to helm/postgres.yaml; all roles at once, since Helm cannot add to a list."""
    managed = [{"name": role, "login": True, "passwordSecret": {"name": name}} for name, role in roles().items()]
    return {"cluster": {"initdb": {"owner": owner, "database": database}, "roles": managed}}


def search_values(certificate: str) -> dict[str, Any]:
    """Return what the deployment adds to helm/search.yaml: the server reads its certificate at its start."""
    digest = hashlib.sha256(certificate.encode()).hexdigest()
    return {"podAnnotations": {"rocket-launches/certificate": digest}} if certificate else {}


def airflow_values(images: dict[str, str], chosen: dict[str, str]) -> dict[str, Any]:
    """Return what the deployment adds to helm/airflow.yaml."""
    repository, _, tag = images["IMAGE_AIRFLOW"].rpartition(":")
    variables = {name: image for name, image in images.items() if name != "IMAGE_AIRFLOW"}
    variables |= {"TASK_NAMESPACE": TASKS}
    # What the DAG files read: when to run, and whether there is a DAG.
    variables |= {name: chosen.get(name, "") for name in ("SCHEDULE", "CRAWL_CONTACT")}
    variables["PUBLIC_URL"] = public_url(chosen)
    variables["KAFKA_BOOTSTRAP_SERVERS"] = bootstrap_servers(chosen)
    variables["SEARCH_URL"] = search_url(chosen)
    return {
        "images": {"airflow": {"repository": repository, "tag": tag}},
        "env": [{"name": name, "value": value} for name, value in variables.items()],
    }


def public_url(chosen: dict[str, str]) -> str:
    """Return the address of the site: that of our own server where .env names none; empty where there is no site."""
    store = chosen.get("OBJECT_STORE")
    if store == "none":
        return ""
    return chosen.get("PUBLIC_URL") or ("" if store else LOCAL_SITE)


def values(arguments: argparse.Namespace) -> None:
    """Print what the deployment adds to a release's values file, for helm by hand; JSON is YAML."""
    check_programs("kubectl")
    print(json.dumps(values_of(arguments.release, references()), indent=2))
