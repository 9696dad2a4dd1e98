"""Everything that ends up in the cluster, as `make up` makes it: three charts, our own manifests, the DAG's pods."""

import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.charts import RELEASES, airflow_values, chart_path, locked_charts, postgres_values
from deploy.images import names
from deploy.programs import CACHE, ROOT

Document = dict[str, Any]

# As `make up` looks for them.
PATH = f"{CACHE / 'bin'}{os.pathsep}{os.environ['PATH']}"
CHARTS = Path(os.environ.get("CHARTS_DIR") or CACHE / "charts")

IMAGES = {f"IMAGE_{name.upper()}": f"rocket-launches/{name.replace('_', '-')}:0123456789ab" for name in names()}
# What the deployment adds to a release's values file, by release.
VALUES: dict[str, Document] = {
    "operator": {},
    "postgres": postgres_values("rocket", "launches"),
    "s3": {},
    "kafka": {},
    "search": {},
    "airflow": airflow_values(
        IMAGES, {"SCHEDULE": "@hourly", "CRAWL_CONTACT": "crawl@example.org", "WITH": "stream search"}
    ),
}
# By `make up`, by `make deploy`, and by `make up MONITORING=yes`: the values and the manifest that each adds.
ADDED = {
    "": ((), ()),
    " in production": (("--values", "helm/production.yaml"), ("k8s/backup.yaml", "k8s/backup-to-store.yaml")),
    " with monitoring": (("--values", "helm/monitoring.yaml"), ("k8s/monitoring.yaml",)),
}
EVERYTHING = [f"{name}{how}" for name in (*RELEASES, "k8s") for how in ADDED]
# What the DAG's pods are: Airflow reads its environment once, so it gets a process of its own.
DAG_PODS = """
import json, sys
from kubernetes.client import ApiClient
from demo.pods import load_dags
for task in [task for dag in load_dags(sys.argv[1], "http://localhost:8081").values() for task in dag.tasks]:
    pod = ApiClient().sanitize_for_serialization(task.build_pod_request_obj({}, dry_run=True))
    pod["metadata"]["name"] = task.task_id.replace("_", "-")
    print("---", json.dumps(pod), sep="\\n")
"""


def load(text: str) -> list[Document]:
    """Return the documents of a YAML text."""
    return [document for document in yaml.load_all(text, Loader=yaml.CSafeLoader) if document]


def read(path: str) -> Document:
    """Return the only document of one of our files."""
    (document,) = load((ROOT / path).read_text(encoding="utf-8"))
    return document


def program(name: str) -> str:
    """Return the path of a program, or skip the test."""
    found = shutil.which(name, path=PATH)
    return found or pytest.skip(f"no {name} here: k8s/offline/build programs makes it")


def run(*command: str, stdin: str | None = None) -> str:
    """Run a program that must succeed; return what it prints."""
    result = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, cwd=ROOT)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def chart(name: str) -> str:
    """Return the path of a chart that is at hand, or skip the test: tests download nothing."""
    if not (CHARTS / f"{name}-{locked_charts()[name][0]}.tgz").exists() and not (CHARTS / name / "Chart.yaml").exists():
        pytest.skip(f"no chart {name} in {CHARTS}: make up puts it there")
    return chart_path(name)


def kubernetes() -> str:
    """Return the version of the cluster that `make up` makes."""
    image: str = read("k8s/kind.yaml")["nodes"][0]["image"]
    return image.rpartition(":v")[2]


@functools.cache
def defaults(release: str) -> Document:
    """Return the values that the release's chart itself has."""
    (values,) = load(run(program("helm"), "show", "values", chart(RELEASES[release].chart)))
    return values


@functools.cache
def text(name: str) -> str:
    """Return the YAML of a release, of our own manifests, or of the DAG's pods; with what is ADDED, too."""
    name, space, how = name.partition(" ")
    more, manifests = ADDED[space + how]
    if name == "k8s":
        files = [
            "k8s/operator.yaml",
            "k8s/s3.yaml",
            "k8s/website.yaml",
            "k8s/kafka.yaml",
            "k8s/search.yaml",
            "k8s/pod-cleanup.yaml",
            *manifests,
        ]
        kubectl = shutil.which("kubectl", path=PATH)
        if not kubectl:
            files += [f"k8s/{file}" for file in read("k8s/kustomization.yaml")["resources"]]
        texts = [(ROOT / file).read_text(encoding="utf-8") for file in files]
        joined = "\n---\n".join([*texts, *([run(kubectl, "kustomize", "k8s")] if kubectl else [])])
        ours = joined.replace("rocket-launches/airflow:set-by-deploy", IMAGES["IMAGE_AIRFLOW"])
        return ours.replace("rocket-launches/fetch:set-by-deploy", IMAGES["IMAGE_FETCH"])
    if name == "dag":
        with tempfile.TemporaryDirectory() as home:
            servers = ("KAFKA_BOOTSTRAP_SERVERS=kafka.example.org:9092", "SEARCH_URL=https://search.example.org:9200")
            return run("env", *servers, sys.executable, "-c", DAG_PODS, home)
    # A release gets the shared files that it names.
    files = [path for path in more[1::2] if path in RELEASES[name].shared_values]
    return template(name, *(word for path in files for word in ("--values", path)), "--values", "-")


def template(name: str, *arguments: str) -> str:
    """Return the YAML of a release; the arguments add values, "-" those of the deployment."""
    release = RELEASES[name]
    return run(
        *(program("helm"), "template", name, chart(release.chart), "--namespace", release.namespace),
        *("--kube-version", kubernetes(), "--skip-tests"),  # nobody runs `helm test`
        *("--values", f"helm/{name}.yaml", *arguments),
        stdin=json.dumps(VALUES[name]),
    )


@functools.cache
def documents(name: str) -> list[Document]:
    """Return what `text` has, parsed."""
    return load(text(name))


def of_kind(name: str, kind: str) -> dict[str, Document]:
    """Return the objects of a kind, by their names."""
    return {found["metadata"]["name"]: found for found in documents(name) if found["kind"] == kind}


def pod_spec(document: Document) -> Document | None:
    """Return the specification of the pods that an object makes, if it makes any."""
    spec = document.get("spec") or {}
    if document["kind"] == "Pod":
        return spec
    if document["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    return spec["template"]["spec"] if document["kind"] in WORKLOADS else None


LASTING = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet")
WORKLOADS = (*LASTING, "Job", "CronJob")


def containers(name: str) -> Iterator[tuple[str, Document, Document, bool]]:
    """Yield every container: where it is, its pod's specification, its own, and whether it stays."""
    for document in documents(name):
        pod = pod_spec(document)
        for kind in ("initContainers", "containers", "ephemeralContainers") if pod else ():
            for container in (pod or {}).get(kind) or []:
                stays = kind == "containers" or container.get("restartPolicy") == "Always"  # or it is a sidecar
                where = f"{document['metadata']['name']}/{container['name']}"
                yield where, pod or {}, container, stays and document["kind"] in LASTING


def strict(schema: Any) -> Any:  # noqa: ANN401  # any JSON
    """Return an OpenAPI schema as JSON Schema that refuses what it does not name, as a mistyped field.

    Fields may be null, which Kubernetes takes for absent, unless they are required.
    """
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    # Descriptions are most of it, and nobody reads them here; a field of that name is no string.
    schema = {key: strict(value) for key, value in schema.items() if key != "description" or isinstance(value, dict)}
    fields = schema.get("properties")
    if isinstance(fields, dict) and schema.get("type") == "object":
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            schema.setdefault("additionalProperties", False)
        for field in fields.keys() - set(schema.get("required", [])):
            if isinstance(fields[field].get("type"), str):
                fields[field]["type"] = [fields[field]["type"], "null"]
    return schema


def write_crd_schemas(folder: Path) -> None:
    """Write the schemas of CloudNativePG's own kinds, which its chart brings, for kubeconform."""
    for crd in of_kind("operator", "CustomResourceDefinition").values():
        kind, group = crd["spec"]["names"]["kind"].lower(), crd["spec"]["group"].partition(".")[0]
        for version in crd["spec"]["versions"]:
            schema = strict(version["schema"]["openAPIV3Schema"])
            (folder / f"{kind}-{group}-{version['name']}.json").write_text(json.dumps(schema), encoding="utf-8")


def write_schemas(folder: Path, openapi: Path) -> None:
    """Write the schemas of Kubernetes' own kinds, out of its OpenAPI specification, for kubeconform."""
    definitions = json.loads(openapi.read_text(encoding="utf-8"))["definitions"]
    definitions["io.k8s.apimachinery.pkg.util.intstr.IntOrString"]["type"] = ["integer", "string"]
    definitions["io.k8s.apimachinery.pkg.api.resource.Quantity"]["type"] = ["number", "string"]
    every = {"definitions": {name: strict(definition) for name, definition in definitions.items()}}
    (folder / "definitions.json").write_text(json.dumps(every), encoding="utf-8")
    for name, definition in definitions.items():
        for of in definition.get("x-kubernetes-group-version-kind", []):
            parts = (of["kind"].lower(), of["group"].partition(".")[0], of["version"])
            schema = {"$ref": f"definitions.json#/definitions/{name}"}
            (folder / f"{'-'.join(filter(None, parts))}.json").write_text(json.dumps(schema), encoding="utf-8")
