"""The rendered charts, our own manifests, and the DAG's pods: each by itself, and that they fit together."""

import base64
import hashlib
import ipaddress
import itertools
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy import charts, kafka, manifests, objects, pods, search, settings
from deploy.charts import LOCAL_SITE, RELEASES, locked_charts
from deploy.images import STATSD_EXPORTER, steps
from deploy.programs import AIRFLOW, CACHE, CONTEXT, KAFKA, OPERATOR, ROOT, S3, SEARCH, TASKS, WEBSITE, Failed
from publish.site import POLICY
from tests.charts.manifests import (
    CHARTS,
    EVERYTHING,
    IMAGES,
    VALUES,
    Document,
    chart,
    containers,
    defaults,
    documents,
    kubernetes,
    of_kind,
    pod_spec,
    program,
    read,
    run,
    template,
    text,
    write_crd_schemas,
    write_schemas,
)

OPERATING = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
NAMESPACES = {name: release.namespace for name, release in RELEASES.items()}
NAMESPACES |= {"dag": TASKS, "k8s in production": AIRFLOW}

each_release = pytest.mark.parametrize("release", RELEASES)
everywhere = pytest.mark.parametrize("name", [*EVERYTHING, "dag"])


# The values: only what the charts know, and only what differs from what they do anyway


# What goes into a pod as it is: Kubernetes' own schema knows what each may have.
OF_KUBERNETES = ("podSecurityContext.", "securityContext.", "startupProbe.", "readinessProbe.", "resources.")


def idle(values: Document, chart_has: Document, path: str = "") -> Iterator[str]:
    """Yield each value that does nothing. An empty map in a chart takes anything, and so do Airflow's settings."""
    for key, value in values.items():
        where, default = f"{path}{key}", chart_has.get(key)
        if key not in chart_has:
            if not path.startswith(("config.", *OF_KUBERNETES)):
                yield f"{where}: no such value"
        elif isinstance(value, dict) and isinstance(default, dict) and default:
            yield from idle(value, default, f"{where}.")
        elif value == default:
            yield f"{where}: the chart's default"


@each_release
def test_every_value_does_something(release: str) -> None:
    assert list(idle(read(f"helm/{release}.yaml"), defaults(release))) == []


def merged(values: Document, over: Document) -> Document:
    """Return values with others over them, as Helm does it."""
    both = values.keys() & over.keys()
    nested = {key: merged(values[key], over[key]) for key in both if isinstance(values[key], dict)}
    return values | over | nested


@pytest.mark.parametrize("values", ["helm/production.yaml", "helm/monitoring.yaml"])
def test_every_value_that_is_added_does_something(values: str) -> None:
    """Of the charts that get it, just one knows each key; and what it has otherwise is what a laptop gets."""
    found: Document = {}
    for release in (name for name, release in RELEASES.items() if values in release.shared_values):
        chart_has = merged(defaults(release), read(f"helm/{release}.yaml"))
        known = {key: value for key, value in read(values).items() if key in chart_has}
        assert known
        assert list(idle(known, chart_has)) == []
        assert not found.keys() & known.keys()
        found |= known
    assert found == read(values)


@each_release
def test_what_the_deployment_adds_is_known_to_the_chart(release: str) -> None:
    assert list(idle(VALUES[release], defaults(release))) == []


@each_release
def test_what_the_deployment_adds_is_what_it_prints(release: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before there is a cluster, .env alone says it."""
    monkeypatch.setattr(charts, "run", lambda *_, **__: "another-context\n")
    chosen = {"SCHEDULE": "@hourly", "CRAWL_CONTACT": "crawl@example.org", "WITH": "stream search"}
    monkeypatch.setattr(charts, "settings", lambda: chosen)
    assert charts.values_of(release, IMAGES) == VALUES[release]


def test_the_values_follow_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """The owner of what is there stays, whatever .env says; a registry's login is used where it is."""
    data = {"username": "cm9ja2V0", "dbname": "bGF1bmNoZXM="}  # rocket, launches
    monkeypatch.setattr(charts, "run", lambda *_, **__: f"{CONTEXT}\n")
    for module in (charts, settings):
        monkeypatch.setattr(module, "kubectl", lambda *_, **__: json.dumps({"data": data}))
    monkeypatch.setattr(charts, "settings", lambda: {"POSTGRES_USER": "probe", "POSTGRES_DB": "orbit"})
    owned = {"owner": "rocket", "database": "launches"}
    assert charts.values_of("postgres", IMAGES)["cluster"]["initdb"] == owned
    assert charts.values_of("airflow", IMAGES)["imagePullSecrets"] == [{"name": "registry"}]


@pytest.mark.parametrize("release", [release for release, added in VALUES.items() if added])
def test_the_values_file_alone_is_refused(release: str) -> None:
    """It would be every pod with the chart's own image, and another owner of the launches."""
    of = RELEASES[release]
    command = (program("helm"), "template", release, chart(of.chart), "--namespace", of.namespace)
    alone = subprocess.run(
        [*command, "--values", f"helm/{release}.yaml"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert alone.returncode
    assert f"add --values with what `python3 -m deploy values {release}` prints" in alone.stderr


@each_release
def test_a_file_of_ones_own_fits_every_chart(release: str, tmp_path: Path) -> None:
    """The documented example: each chart takes what it knows, though its schema is strict."""
    example = OPERATING.partition("`helm/local.yaml`")[2].partition("```yaml\n")[2].partition("```")[0]
    (tmp_path / "local.yaml").write_text(example, encoding="utf-8")
    files = (*RELEASES[release].shared_values[:1], "-", str(tmp_path / "local.yaml"))
    rendered = template(release, *(f"--values={file}" for file in files))
    assert ("disk: fast" in rendered) is (release != "postgres")
    assert ("storageClass: fast" in rendered) is (release == "postgres")
    assert ("airflow.example.org" in rendered) is (release == "airflow")


def test_ones_own_values_come_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[tuple[str, ...]] = []

    def helm(*command: str, **_: object) -> str:
        commands.append(command)
        return "[]"

    monkeypatch.setattr(charts, "helm", helm)
    monkeypatch.setattr(charts, "kubectl", lambda *_, **__: "")
    monkeypatch.setattr(charts, "values_of", lambda *_: {})
    monkeypatch.setattr(charts, "chart_path", lambda name: name)
    monkeypatch.setattr(charts, "ROOT", tmp_path)
    (tmp_path / "helm").mkdir()

    def files(release: str = "airflow") -> list[str]:
        charts.install(release, IMAGES, ["helm/production.yaml"])
        return [value for option, value in itertools.pairwise(commands[-1]) if option == "--values"]

    assert files() == ["helm/airflow.yaml", "helm/production.yaml", "-"]
    (tmp_path / "helm" / "local.yaml").touch()
    assert files() == ["helm/airflow.yaml", "helm/production.yaml", "-", "helm/local.yaml"]
    # Another chart may use the same keys for something else.
    assert files("search") == ["helm/search.yaml", "-", "helm/local.yaml"]


@each_release
def test_every_chart_is_locked(release: str) -> None:
    version, repository, digest = locked_charts()[RELEASES[release].chart]
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    assert repository.startswith(("https://", "oci://"))
    # A chart that is published as OCI alone had no digest that could be had here.
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", digest) or (digest == "-" and repository.startswith("oci://"))
    assert len(locked_charts()) == len(RELEASES)


@each_release
def test_the_charts_at_hand_have_the_locked_version(release: str) -> None:
    name = RELEASES[release].chart
    assert f"\nversion: {locked_charts()[name][0]}\n" in run(program("helm"), "show", "chart", chart(name))


def test_airflows_chart_is_what_its_publisher_serves() -> None:
    path = CHARTS / f"airflow-{locked_charts()['airflow'][0]}.tgz"
    if not path.exists():
        pytest.skip(f"{path} is not there: make up downloads it")
    assert locked_charts()["airflow"][2] == f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


# Kubernetes' own rules


@pytest.fixture(scope="session")
def kubeconform(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command that checks manifests: with the schemas that are here, else with those on the internet."""
    folder = tmp_path_factory.mktemp("schemas")
    command = [program("kubeconform"), "-strict", "-summary", "-kubernetes-version", kubernetes()]
    here = ["-schema-location", f"{folder}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json"]
    openapi = CACHE / "schemas" / f"kubernetes-v{kubernetes()}.json"
    if openapi.exists():
        write_schemas(folder, openapi)
        return [*command, *here]
    cache = CACHE / "schemas" / "downloaded"
    cache.mkdir(parents=True, exist_ok=True)
    # There is none of a CustomResourceDefinition: yannh/kubeconform#100.
    command += ["-cache", str(cache), "-skip", "CustomResourceDefinition", "-schema-location", "default"]
    namespace = "{apiVersion: v1, kind: Namespace, metadata: {name: test}}"
    if subprocess.run(command, input=namespace, capture_output=True, text=True, check=False).returncode:
        pytest.skip(f"no {openapi} (k8s/offline/build schemas), and Kubernetes' schemas cannot be downloaded")
    return [*command, *here]


def check(kubeconform: list[str], name: str) -> None:
    summary = run(*kubeconform, stdin=text(name))
    assert f"Summary: {len(documents(name))} resource" in summary
    assert "Invalid: 0, Errors: 0" in summary


@everywhere
def test_kubernetes_accepts_it(kubeconform: list[str], name: str) -> None:
    if name.startswith("postgres"):
        (folder,) = (Path(word).parent for word in kubeconform if word.endswith("{{.KindSuffix}}.json"))
        write_crd_schemas(folder)
    check(kubeconform, name)


# Every container

Rule = Callable[[Document, Document], Any]  # what it says of a pod's specification and one of its containers


def security(pod: Document, container: Document, field: str) -> Any:  # noqa: ANN401  # any JSON
    """Return a field of the container's security context, or of the pod's: that is the order of Kubernetes."""
    return (container.get("securityContext") or {}).get(field, (pod.get("securityContext") or {}).get(field))


def quantities(container: Document) -> set[str]:
    resources = container.get("resources") or {}
    return {f"{kind}.{name}" for kind in ("requests", "limits") for name in resources.get(kind) or {}}


def pinned(image: str) -> bool:
    return "@sha256:" in image or image.rpartition("/")[2].partition(":")[2] not in ("", "latest")


def plain_secrets(container: Document) -> list[str]:
    """Return what looks like a secret's value, in words that everybody sees who may see a pod."""
    suspicious = re.compile(r"password|passwd|secret|token|credential|_key$|_conn$|webhook|heartbeat", re.IGNORECASE)
    found = [env["name"] for env in container.get("env") or [] if env.get("value") and suspicious.search(env["name"])]
    for word in [*(container.get("command") or []), *(container.get("args") or [])]:
        # A variable is no value: "$ADMIN_PASSWORD", $(PASSWORD).
        found += re.findall(r"(?:^|\s)--?[\w-]*(?:password|secret|token)[ =]+(?![\"']?\$)\S+", word, re.IGNORECASE)
        found += re.findall(r"://[^\s/:@]*:[^\s/@$]+@", word)
    return found


RULES: dict[str, Rule] = {
    "it is not root": lambda pod, container: (
        security(pod, container, "runAsUser") != 0
        and (security(pod, container, "runAsNonRoot") or security(pod, container, "runAsUser"))
    ),
    "it cannot gain privileges": lambda _, container: (
        security({}, container, "allowPrivilegeEscalation") is False and not security({}, container, "privileged")
    ),
    "it has no capabilities": lambda _, container: security({}, container, "capabilities") == {"drop": ["ALL"]},
    "its system calls are filtered": lambda pod, container: (
        security(pod, container, "seccompProfile") == {"type": "RuntimeDefault"}
    ),
    "it shares nothing with the node": lambda pod, _: (
        not any(map(pod.get, ("hostNetwork", "hostPID", "hostIPC")))
        and not any("hostPath" in volume for volume in pod.get("volumes") or [])
    ),
    "it says what it needs and takes no more": lambda _, container: (
        quantities(container) == {"requests.cpu", "requests.memory", "limits.cpu", "limits.memory"}
    ),
    "its image is pinned": lambda _, container: pinned(container["image"]),
    "its secrets are in Secrets": lambda _, container: not plain_secrets(container),
    "its root file system is read-only": lambda _, container: security({}, container, "readOnlyRootFilesystem"),
}
WRITES = "it makes a keystore beside its configuration, and logs, where its image has them"
PROBED = "it is probed"  # the rule for what stays

# Where a rule does not hold: each with its reason.
GROOMER = "a loop in a shell: the chart offers it no probe, and it ends when it fails"
EXCEPTIONS: dict[tuple[str, str], dict[str, str]] = {
    ("airflow", PROBED): {
        "airflow-dag-processor/dag-processor-log-groomer": GROOMER,
        "airflow-scheduler/scheduler-log-groomer": GROOMER,
    },
    ("search", "its root file system is read-only"): {
        "search/opensearch": WRITES,
        "search/configfile": "the chart gives it the same rights as the server",
    },
    ("k8s", "it has no capabilities"): {
        "website/caddy": "the image's program has one in its file, and the kernel starts it with that or not at all",
    },
}


@pytest.mark.parametrize("rule", RULES)
@everywhere
def test_every_container_keeps_the_rule(name: str, rule: str) -> None:
    broken = {where for where, pod, container, _ in containers(name) if not RULES[rule](pod, container)}
    assert broken == EXCEPTIONS.get((name.partition(" ")[0], rule), {}).keys()


@everywhere
def test_what_stays_is_probed(name: str) -> None:
    kinds = {"livenessProbe", "readinessProbe", "startupProbe"}
    broken = {where for where, _, container, stays in containers(name) if stays and not kinds & container.keys()}
    assert broken == EXCEPTIONS.get((name.partition(" ")[0], PROBED), {}).keys()


def test_two_cores_are_enough() -> None:
    """For every part, with what else `make up` starts, somebody who follows the stream, and two steps at once."""

    def millicores(text: str) -> int:
        return int(text[:-1]) if text.endswith("m") else 1000 * int(text)

    wanted = {
        f"{name}/{where}": millicores(container["resources"]["requests"]["cpu"])
        for name in (*RELEASES, "k8s")
        for where, _, container, stays in containers(name)
        if stays
    }
    assert {"kafka/kafka/kafka", "search/search/opensearch"} <= wanted.keys()
    step = {millicores(container["resources"]["requests"]["cpu"]) for _, _, container, _ in containers("dag")}
    following = pods.pod("", "", {}, secrets=[], labels={}, seconds=0)["spec"]["containers"][0]["resources"]["requests"]
    postgresql = of_kind("postgres", "Cluster")["postgres"]["spec"]["resources"]["requests"]["cpu"]
    kind, stand_ins = 950, 20  # as `kubectl describe node` shows them
    others = kind + stand_ins + millicores(postgresql) + millicores(following["cpu"]) + 2 * max(step)
    assert sum(wanted.values()) + others <= 2000


def test_every_container_was_seen() -> None:
    """The rules above hold for nothing as well: this is what they are about."""
    seen = (*RELEASES, "airflow with monitoring", "k8s", "k8s in production", "dag")
    assert {name: len(list(containers(name))) for name in seen} == {
        "operator": 1,
        "postgres": 0,  # the operator makes its pods
        "airflow": 11,
        "airflow with monitoring": 12,
        "s3": 1,
        "kafka": 1,
        "search": 2,  # one copies its configuration
        "k8s": 2,
        "k8s in production": 5,  # one backup of the two
        "dag": len(steps()) + 5,
    }


@everywhere
def test_no_secret_comes_from_a_manifest(name: str) -> None:
    """A chart's own would be new with every upgrade; and what is in a ConfigMap is for everybody."""
    # The certificate of Kafka's chart, which looks for the one that is there, and takes that.
    assert of_kind(name, "Secret").keys() == ({"kafka-tls"} if name.startswith("kafka") else set())
    for config_map in of_kind(name, "ConfigMap").values():
        for value in config_map.get("data", {}).values():
            assert not re.search(r"(?im)^\s*\w*(password|passwd|secret|token|webhook\w*url)\w*\s*[:=]\s*\S", value)
            assert not re.search(r"://[^\s/:@]*:[^\s/@]+@", value)


def test_the_images_are_those_that_the_deployment_brings() -> None:
    """What `make up` loads into the node is what the pods ask for, and what k8s/offline makes."""
    asked = {
        container["image"].removeprefix("docker.io/") for name in EVERYTHING for _, _, container, _ in containers(name)
    }
    asked |= {cluster["spec"]["imageName"] for cluster in of_kind("postgres", "Cluster").values()}
    brought = {image for release in RELEASES.values() for image in release.images}
    assert asked == {IMAGES["IMAGE_AIRFLOW"], IMAGES["IMAGE_FETCH"], STATSD_EXPORTER} | brought
    assert all(map(pinned, asked))


def test_postgresqls_tag_has_a_date() -> None:
    """Without one it moves with every fix, and a node takes it for the image that it has already."""
    [image] = RELEASES["postgres"].images
    assert re.search(r"/postgresql:17\.\d+-\d{12}-", image)


# PostgreSQL


@pytest.mark.parametrize(("name", "instances"), [("postgres", 1), ("postgres in production", 3)])
def test_postgresql(name: str, instances: int) -> None:
    (cluster,) = of_kind(name, "Cluster").values()
    spec = cluster["spec"]
    assert spec["instances"] == instances
    assert quantities(spec) == {"requests.cpu", "requests.memory", "limits.cpu", "limits.memory"}
    assert spec["enableSuperuserAccess"] is False
    assert spec["enablePDB"] is (spec["instances"] > 1)  # with one, it would only block whoever drains the node
    assert not any(role.get("superuser") for role in spec["managed"]["roles"])
    assert (spec["bootstrap"]["initdb"]["owner"], spec["bootstrap"]["initdb"]["database"]) == ("rocket", "launches")
    (database,) = of_kind(name, "Database").values()
    assert (database["spec"]["name"], database["spec"]["owner"]) == ("airflow", "airflow")


# Airflow


def test_a_drain_leaves_an_api_server() -> None:
    """With one, a budget would only block whoever drains the node."""
    assert not of_kind("airflow", "PodDisruptionBudget")
    deployment = of_kind("airflow in production", "Deployment")["airflow-api-server"]["spec"]
    (budget,) = (found["spec"] for found in of_kind("airflow in production", "PodDisruptionBudget").values())
    assert (deployment["replicas"], budget["maxUnavailable"]) == (2, 1)
    assert budget["selector"]["matchLabels"].items() <= deployment["template"]["metadata"]["labels"].items()


# Secrets and settings


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[Document]:
    """What the deployment writes into an empty cluster for its pods to read."""
    found: list[Document] = []

    def kubectl(*_: str, stdin: str = "") -> str:
        if stdin:
            found.append(json.loads(stdin))
        return ""

    monkeypatch.setattr(settings, "kubectl", kubectl)
    monkeypatch.setattr(objects, "kubectl", kubectl)
    monkeypatch.setattr(kafka, "kubectl", kubectl)
    monkeypatch.setattr(search, "kubectl", kubectl)
    certificates = ("ca.crt", "tls.crt", "tls.key", "admin.crt", "admin.key")
    monkeypatch.setattr(search, "make_certificates", lambda: dict.fromkeys(certificates, "-----"))
    # What its chart has made.
    monkeypatch.setattr(kafka, "secret", lambda _, name: {"ca.crt": "-----"} if name == "kafka-tls" else {})
    chosen = {"WITH": " ".join(release.part for release in RELEASES.values())}
    settings.write_secrets(chosen)
    objects.write_object_secrets(chosen)
    kafka.write_kafka_secrets(chosen)
    search.write_search_secrets(chosen)
    return found


def test_the_owner_of_what_is_there_cannot_be_renamed(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"username": "rocket", "dbname": "launches", "password": "kept"}
    data = {key: base64.b64encode(value.encode()).decode() for key, value in there.items()}
    monkeypatch.setattr(settings, "kubectl", lambda *_, **__: json.dumps({"data": data}))
    with pytest.raises(Failed, match="belong to rocket in the database launches: set POSTGRES_USER"):
        settings.write_secrets({"POSTGRES_USER": "probe"})


def test_a_key_that_is_no_longer_written_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    """`kubectl apply --server-side` alone leaves it in the Secret, and so in the environment of the pods."""
    done = []

    def kubectl(*command: str, **_: object) -> str:
        done.append(command)
        return json.dumps({"data": {"PGHOST": "", "host": "", "password": ""}}) if command[0] == "get" else ""

    monkeypatch.setattr(settings, "kubectl", kubectl)
    settings.write_secret(TASKS, "database-fetch", {"PGHOST": "postgres"})
    assert [command[0] for command in done] == ["apply", "get", "patch"]
    assert done[-1][:5] == ("patch", "secret", "database-fetch", "-n", TASKS)
    assert json.loads(done[-1][-1]) == {"data": {"host": None, "password": None}}


def test_the_steps_settings_are_those_that_a_pod_asks_for(written: list[Document]) -> None:
    """A line of .env.example is the deployment's own or in this Secret; the environment of a shell is not."""
    (document,) = (document for document in written if document["metadata"]["name"] == "settings")
    assert document["metadata"]["namespace"] == TASKS
    assert document["stringData"].keys() == {key for _, _, name, key in asked_for("dag") if name == "settings"}
    assert set(document["stringData"].values()) == {""}  # which a step takes for "not set"


def test_each_step_but_the_tables_owner_has_a_role() -> None:
    (cluster,) = of_kind("postgres", "Cluster").values()
    roles = {role["name"]: role["passwordSecret"]["name"] for role in cluster["spec"]["managed"]["roles"]}
    others = set(steps()) - {"init_schema"}
    assert roles == {"airflow": "database-airflow"} | {f"launch_{step}": f"database-{dashed(step)}" for step in others}
    assert roles["launch_fetch"] == "database-fetch"


def test_the_owner_of_the_tables_is_another_role(monkeypatch: pytest.MonkeyPatch) -> None:
    for taken in ("postgres", "airflow", *(f"launch_{step}" for step in set(steps()) - {"init_schema"})):
        monkeypatch.setenv("POSTGRES_USER", taken)
        with pytest.raises(Failed, match="POSTGRES_USER must be a role of its own"):
            settings.check_settings()


def dashed(step: str) -> str:
    """Return a step's name as Kubernetes takes it."""
    return step.replace("_", "-")


def keys(namespace: str, document: Document) -> Iterator[tuple[str, str, str, str]]:
    """Yield the keys of a Secret or a ConfigMap: namespace, kind, name, key."""
    for key in (document.get("data") or {}) | (document.get("stringData") or {}):
        yield namespace, document["kind"], document["metadata"]["name"], key


def references(node: Any) -> Iterator[tuple[str, str, str]]:  # noqa: ANN401  # any JSON
    """Yield all that is asked for anywhere inside of an object: kind, name, key; a volume takes every key."""
    if isinstance(node, list):
        for item in node:
            yield from references(item)
    if not isinstance(node, dict):
        return
    for field, value in node.items():
        if field in ("secretKeyRef", "configMapKeyRef"):
            yield "Secret" if field == "secretKeyRef" else "ConfigMap", value["name"], value["key"]
        elif field in ("secretRef", "configMapRef", "configMap"):
            yield "Secret" if field == "secretRef" else "ConfigMap", value["name"], ""
        elif field == "secret" and "secretName" in value:
            yield "Secret", value["secretName"], ""
        elif field in ("secret", "passwordSecret"):  # CloudNativePG's
            yield from (("Secret", value["name"], key) for key in ("username", "password"))
        else:
            yield from references(value)


def asked_for(name: str) -> set[tuple[str, str, str, str]]:
    specs = [*map(pod_spec, documents(name)), *(cluster["spec"] for cluster in of_kind(name, "Cluster").values())]
    return {(NAMESPACES[name], *reference) for spec in specs for reference in references(spec)}


@pytest.mark.parametrize("name", [*RELEASES, "dag"])
def test_what_a_pod_asks_for_is_there(written: list[Document], name: str) -> None:
    there = {key for document in written for key in keys(document["metadata"]["namespace"], document)}
    there |= {key for config_map in of_kind(name, "ConfigMap").values() for key in keys(NAMESPACES[name], config_map)}
    there |= {(*key[:3], "") for key in there}
    # The operator makes it when it starts.
    there.add((OPERATOR, "Secret", "cnpg-webhook-cert", ""))
    there.add((KAFKA, "Secret", "kafka-tls", ""))  # its chart does
    assert asked_for(name) - there == set()
    assert name == "operator" or asked_for(name)


def test_the_admins_password_may_begin_with_a_dash() -> None:
    """One in 64 that we generate does."""
    (container,) = pod_spec(of_kind("airflow", "Job")["airflow-create-user"])["containers"]  # type: ignore[index]
    assert container["args"][-1].count('--password="$ADMIN_PASSWORD"') == 2


def test_nothing_is_there_that_no_pod_asks_for(written: list[Document]) -> None:
    there = {(document["metadata"]["namespace"], document["metadata"]["name"]) for document in written}
    for_people = {(TASKS, "kafka-reader"), (TASKS, "search-reader")}
    assert there - for_people == {
        (namespace, name)
        for pods in (*RELEASES, "dag", "k8s in production")
        for namespace, _, name, _ in asked_for(pods)
        # The charts' own, and that of a manifest.
        if name not in ("airflow-config", "cnpg-controller-manager-config", "cnpg-webhook-cert", "website")
        and name not in ("kafka-tls", "kafka-config", "kafka-log4j", "search-config")
    }


def test_the_documents_list_every_secret(written: list[Document]) -> None:
    """For whoever writes them from outside."""
    there = {key for document in written for key in keys(document["metadata"]["namespace"], document)}
    section = OPERATING.partition("### The Secrets")[2].partition("\n##")[0]
    rows = re.findall(r"^\| `([\w-]+)` \| (`.+`) \| (`.+`) \|$", section, re.MULTILINE)
    listed = {
        (namespace, "Secret", name, key)
        for namespace, names, listed_keys in rows
        for step in steps()
        for name in re.findall(r"`([^`]+)`", names.replace("STEP", dashed(step)))
        for key in re.findall(r"`([^`]+)`", listed_keys)
    }
    assert listed == there


def test_a_roles_new_password_takes_effect(written: list[Document]) -> None:
    """CloudNativePG watches the Secrets with this label; the others it reads again some time."""
    asked = {name for _, kind, name, _ in asked_for("postgres") if kind == "Secret"}
    watched = {
        document["metadata"]["name"]
        for document in written
        if document["metadata"]["namespace"] == AIRFLOW
        and document["metadata"].get("labels", {}).get("cnpg.io/reload") == "true"
    }
    assert watched == asked == {"database-airflow", *(f"database-{dashed(step)}" for step in steps())}


def test_the_databases_secrets_lead_to_postgresql(written: list[Document]) -> None:
    (cluster,) = of_kind("postgres", "Cluster")
    hosts = {document["stringData"].get(key) for document in written for key in ("host", "PGHOST")} - {None}
    assert hosts == {"postgres-rw.airflow.svc"} == {f"{cluster}-rw.{AIRFLOW}.svc"}
    (uri,) = (document["stringData"]["connection"] for document in written if "airflow-metadata" in str(document))
    assert re.fullmatch(r"postgresql://airflow:[^@:/?]+@postgres-rw\.airflow\.svc:5432/airflow", uri)


# Who may do what


def test_pod_security() -> None:
    labels = {
        name: {
            label.partition("/")[2]: value
            for label, value in namespace["metadata"]["labels"].items()
            if label.startswith("pod-security.kubernetes.io/")
        }
        for name, namespace in of_kind("k8s", "Namespace").items()
    }
    namespaces = {TASKS, WEBSITE, *(release.namespace for release in RELEASES.values())}
    assert labels == {namespace: {"enforce": "restricted"} for namespace in namespaces}


def test_what_airflow_may_do_where_the_tasks_run() -> None:
    """The scheduler, whose processes the LocalExecutor's workers are, runs pods; the hourly cleanup deletes them."""
    assert "executor = LocalExecutor" in of_kind("airflow", "ConfigMap")["airflow-config"]["data"]["airflow.cfg"]
    granted = {}
    for binding in of_kind("k8s", "RoleBinding").values():
        (subject,) = binding["subjects"]
        role = of_kind("k8s", "Role")[binding["roleRef"]["name"]]
        assert binding["metadata"]["namespace"] == role["metadata"]["namespace"] == TASKS
        assert (subject["kind"], subject["namespace"]) == ("ServiceAccount", AIRFLOW)
        assert subject["name"] in of_kind("airflow", "ServiceAccount") | of_kind("k8s", "ServiceAccount")
        granted[subject["name"]] = {
            "/".join(filter(None, (group, resource))): sorted(rule["verbs"])
            for rule in role["rules"]
            for group in rule["apiGroups"]
            for resource in rule["resources"]
        }
    assert granted == {
        pod_spec(of_kind("airflow", "StatefulSet")["airflow-scheduler"])["serviceAccountName"]: {  # type: ignore[index]
            "pods": ["create", "delete", "get", "list", "patch", "watch"],
            "pods/log": ["get"],
            "events": ["list", "watch"],
        },
        pod_spec(of_kind("k8s", "CronJob")["pod-cleanup"])["serviceAccountName"]: {  # type: ignore[index]
            "pods": ["delete", "list"],
        },
    }
    assert len(of_kind("k8s", "Role")) == len(granted)
    assert not of_kind("k8s", "ClusterRole")
    assert not of_kind("k8s", "ClusterRoleBinding")


def test_the_nightly_cleanup_keeps_90_days_of_history() -> None:
    (container,) = pod_spec(of_kind("airflow", "CronJob")["airflow-database-cleanup"])["containers"]  # type: ignore[index]
    assert "\"$(date -ud '-90 days' +%FT%TZ)\"" in container["args"][-1]


def test_finished_pods_are_deleted_long_before_the_quota_is_full() -> None:
    """A run every ten minutes for ever, and if every step needs all its tries."""
    cronjob = of_kind("k8s", "CronJob")["pod-cleanup"]
    assert cronjob["spec"]["schedule"] == "25 * * * *"
    (container,) = pod_spec(cronjob)["containers"]  # type: ignore[index]
    options = container["args"]
    assert options[options.index("--namespace") + 1] == TASKS
    hours_kept = int(options[options.index("--min-completed-minutes") + 1]) / 60
    assert hours_kept >= 24
    pod_defaults = (ROOT / "dags" / "steps.py").read_text(encoding="utf-8")
    tries = 1 + int(re.findall(r'"retries": (\d+),', pod_defaults)[0])
    pods = 6 * (hours_kept + 1) * len(documents("dag")) * tries
    assert pods <= int(read("k8s/quota.yaml")["spec"]["hard"]["count/pods"])


def test_the_tasks_pods_may_do_nothing() -> None:
    account = of_kind("k8s", "ServiceAccount")["default"]
    assert account["metadata"]["namespace"] == TASKS
    assert account["automountServiceAccountToken"] is False
    for pod in documents("dag"):
        assert pod["metadata"]["namespace"] == TASKS
        assert pod["spec"].get("serviceAccountName") in (None, "default")
        assert pod["spec"]["automountServiceAccountToken"] is False


# Who may talk to whom


def policies(namespace: str) -> dict[str, Document]:
    """Return the network policies of a namespace; two namespaces have one of the same name."""
    return {
        policy["metadata"]["name"]: policy["spec"]
        for policy in documents("k8s")
        if policy["kind"] == "NetworkPolicy" and policy["metadata"]["namespace"] == namespace
    }


def ports(spec: Document, direction: str) -> set[int]:
    return {port["port"] for rule in spec.get(direction, []) for port in rule.get("ports", [])}


@pytest.mark.parametrize("namespace", sorted({*NAMESPACES.values()} - {OPERATOR}))
def test_nobody_talks_to_anybody_by_default(namespace: str) -> None:
    assert policies(namespace)["default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def dns_alone(rule: Document) -> bool:
    """Tell whether a rule opens DNS and nothing else, wherever it answers."""
    wanted = [{"port": port, "protocol": protocol} for port in (53, 5353) for protocol in ("UDP", "TCP")]
    return rule == {"ports": wanted}


def reaches(spec: Document, address: str) -> bool:
    """Tell whether a policy lets its pods go to an address."""
    there = ipaddress.ip_address(address)
    return any(
        there in ipaddress.ip_network(peer["ipBlock"]["cidr"])
        and not any(there in ipaddress.ip_network(network) for network in peer["ipBlock"].get("except", []))
        for rule in spec["egress"]
        for peer in rule["to"]
    )


INSIDE = {
    "kind: pods, services, nodes": "10.244.0.0/16 10.96.0.0/16 172.18.0.0/16 fd00:10:244::/56 fd00:10:96::/112",
    "k3s: pods, services": "10.42.0.0/16 10.43.0.0/16",
    "EKS: services, further pods": "172.20.0.0/16 100.64.0.0/16",
    "OpenShift: pods, services": "10.128.0.0/14 172.30.0.0/16",
    "minikube: nodes": "192.168.49.0/24 192.168.39.0/24",
    "NodeLocal DNSCache; a cloud's metadata": "169.254.20.10/32 169.254.169.254/32 fd00:ec2::254/128 fe80::/64",
}
# Others, and the neighbours of what is excepted.
OUTSIDE = "162.159.128.233 1.1.1.1 9.255.255.255 11.0.0.0 172.15.255.255 172.32.0.0 192.167.255.255 192.169.0.0"
OUTSIDE += " 100.63.255.255 100.128.0.0 169.253.255.255 169.255.0.0 2606:4700::1111 fbff:ffff:: fec0::"


@pytest.mark.parametrize("cluster", INSIDE)
def test_the_web_is_not_inside_of_the_cluster(cluster: str) -> None:
    web = policies(TASKS)["web"]
    for network in map(ipaddress.ip_network, INSIDE[cluster].split()):
        assert not reaches(web, str(network[0]))
        assert not reaches(web, str(network[-1]))


def test_the_web_is_all_that_is_outside() -> None:
    assert [address for address in OUTSIDE.split() if not reaches(policies(TASKS)["web"], address)] == []


def test_what_is_inside_can_be_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy at a private address is let through; the addresses of IPv6 stay, where they are named.

    Every rule of the policy keeps its ports, in whichever place it is.
    """
    commands = []
    web = policies(TASKS)["web"]
    web = web | {"egress": [*web["egress"], web["egress"][0] | {"ports": [{"port": 8443}]}]}

    def kubectl(*command: str, **_: object) -> str:
        if command[0] != "get":
            commands.append(command)
        return json.dumps({"spec": web})

    monkeypatch.setattr(manifests, "kubectl", kubectl)
    manifests.apply_manifests({"EGRESS_EXCEPT": ""})
    assert commands == [("apply", "--server-side", "--force-conflicts", "-k", "k8s")]
    manifests.apply_manifests({"EGRESS_EXCEPT": "10.0.0.0/8 fc00::/7"})
    ((*command, text),) = commands[2:]
    assert command == ["patch", "networkpolicy", "web", "-n", TASKS, "--type=merge", "-p"]
    changed = merged(web, json.loads(text)["spec"])
    assert [rule["ports"] for rule in changed["egress"]] == [[{"port": 443}], [{"port": 8443}]]
    for rule in changed["egress"]:
        one = {"egress": [rule]}
        assert [reaches(one, address) for address in ("192.168.1.5", "10.1.2.3", "1.1.1.1")] == [True, False, True]
        assert [reaches(one, address) for address in ("fd00::1", "fe80::1", "2606::1")] == [False, True, True]
    with pytest.raises(Failed, match=r"EGRESS_EXCEPT in \.env takes .* 10\.0\.0\.1/8 has host bits set"):
        settings.egress_except({"EGRESS_EXCEPT": "10.0.0.1/8"})


API_SERVER = {443, 6443, 8443, 16443}  # … and behind a load balancer, minikube's, MicroK8s'


def selects(policy: Document, labels: dict[str, str]) -> bool:
    """Tell whether a policy is about pods with these labels."""
    selector = policy["podSelector"]
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        labels.get(expression["key"]) in expression["values"] for expression in selector.get("matchExpressions", [])
    )


def test_who_has_a_token_and_nobody_else_reaches_kubernetes() -> None:
    """PostgreSQL's pods, which the operator makes, have one, too."""
    accounts = of_kind("airflow", "ServiceAccount") | of_kind("k8s in production", "ServiceAccount")
    found = {"postgres": (True, {"cnpg.io/cluster": next(iter(of_kind("postgres", "Cluster")))})}
    for document in documents("airflow") + documents("k8s in production"):
        if (spec := pod_spec(document)) and document["metadata"].get("namespace", AIRFLOW) == AIRFLOW:
            account = accounts.get(spec.get("serviceAccountName", ""), {})
            token = spec.get("automountServiceAccountToken", account.get("automountServiceAccountToken"))
            template = document["spec"].get("jobTemplate", document)["spec"]["template"]
            found[document["metadata"]["name"]] = (token is not False, template["metadata"]["labels"])
    assert len(found) > 6
    for name, (token, labels) in found.items():
        about = [spec for spec in policies(AIRFLOW).values() if selects(spec, labels)]
        anywhere = [rule for spec in about for rule in spec.get("egress", []) if "to" not in rule]
        assert any(map(dns_alone, anywhere)), name
        opened = {port["port"] for rule in anywhere if not dns_alone(rule) for port in rule["ports"]}
        assert opened == (API_SERVER if token else set()), name


def test_the_operator_reaches_kubernetes() -> None:
    anywhere = [rule for rule in policies(OPERATOR)["operator"]["egress"] if "to" not in rule]
    assert len(anywhere) == 2
    assert dns_alone(anywhere[0])
    assert {port["port"] for port in anywhere[1]["ports"]} == API_SERVER


def test_the_web_is_for_the_tasks_that_need_it() -> None:
    inside = {53, 5353, 5432, 7070}
    outside = [spec["podSelector"] for spec in policies(TASKS).values() if ports(spec, "egress") - inside]
    assert ports(policies(TASKS)["web"], "egress") == {443}
    assert dns_alone(policies(TASKS)["dns-and-postgres"]["egress"][0])
    assert {"matchLabels": {"egress": "web"}} in outside
    assert all(selector.get("matchLabels", {}).keys() == {"egress"} for selector in outside)
    allowed = {pod["metadata"]["name"] for pod in documents("dag") if pod["metadata"]["labels"].get("egress") == "web"}
    assert {"fetch-and-store-data", "notify-discord"} <= allowed
    assert "initialize-schema" not in allowed
    assert not any(spec.get("ingress") for spec in policies(TASKS).values())


def test_the_object_store_is_for_those_that_have_a_login() -> None:
    """From both sides: pods of the steps' namespace with the label, and the server's port alone."""
    has_login = {"matchExpressions": [{"key": "objects", "operator": "Exists"}]}
    [rule] = policies(S3)["s3"]["ingress"]
    assert rule["from"][0]["podSelector"] == has_login
    assert rule["from"][0]["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": TASKS}
    assert ports(policies(S3)["s3"], "ingress") == ports(policies(TASKS)["objects"], "egress") == {7070}
    assert policies(TASKS)["objects"]["podSelector"] == has_login
    (server,) = of_kind("s3", "Deployment").values()
    [target] = policies(TASKS)["objects"]["egress"][0]["to"]
    assert target["podSelector"]["matchLabels"].items() <= server["spec"]["template"]["metadata"]["labels"].items()
    (service,) = of_kind("s3", "Service").values()
    assert f"http://{service['metadata']['name']}.{S3}.svc:{service['spec']['ports'][0]['port']}" == objects.ENDPOINT


def test_the_step_finds_the_search_server() -> None:
    """By the name in its certificate; from both sides, and nobody comes to the port by which nodes talk."""
    service = of_kind("search", "Service")["search"]
    address = f"{service['metadata']['name']}.{SEARCH}.svc"
    assert f"https://{address}:{service['spec']['ports'][0]['port']}" == search.URL
    assert f'"{address}"' in (ROOT / "helm/certificates/templates/certificates.yaml").read_text(encoding="utf-8")
    labelled = {"matchLabels": {"egress": "search"}}
    [rule] = policies(SEARCH)["search"]["ingress"]
    assert rule["from"] == [{"namespaceSelector": {}, "podSelector": labelled}]
    assert policies(TASKS)["search"]["podSelector"] == labelled
    assert ports(policies(SEARCH)["search"], "ingress") == ports(policies(TASKS)["search"], "egress") == {9200}
    [target] = policies(TASKS)["search"]["egress"][0]["to"]
    (server,) = of_kind("search", "StatefulSet").values()
    assert target["podSelector"]["matchLabels"].items() <= server["spec"]["template"]["metadata"]["labels"].items()
    assert server["spec"]["serviceName"] in of_kind("search", "Service")


def test_the_search_server_starts_again_with_a_new_certificate() -> None:
    """It reads it at its start alone."""
    digests = set()
    for certificate in ("old", "new"):
        values = charts.search_values(certificate)
        assert list(idle(values, defaults("search"))) == []
        digests |= {*values["podAnnotations"].values()}
    assert len(digests) == 2


def test_the_browser_finds_the_ui() -> None:
    """From kind's port on this machine to the node's, the service's, the pod's; and the network policy lets it in."""
    (node,) = read("k8s/kind.yaml")["nodes"]
    mapping, of_the_site = node["extraPortMappings"]
    assert (mapping["hostPort"], mapping["listenAddress"]) == (8080, "127.0.0.1")
    service = of_kind("airflow", "Service")["airflow-api-server"]["spec"]
    assert service["type"] == "NodePort"
    (port,) = service["ports"]
    assert port["nodePort"] == mapping["containerPort"]
    template = of_kind("airflow", "Deployment")["airflow-api-server"]["spec"]["template"]
    (container,) = template["spec"]["containers"]
    assert [found["containerPort"] for found in container["ports"]] == [port.get("targetPort", port["port"])]
    allowed = policies(AIRFLOW)["ui"]
    assert allowed["podSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    assert ports(allowed, "ingress") == {port["port"]}
    assert (of_the_site["hostPort"], of_the_site["listenAddress"]) == (8081, "127.0.0.1")
    assert str(of_the_site["containerPort"]) in (ROOT / "deploy" / "manifests.py").read_text(encoding="utf-8")
    assert f"http://localhost:{of_the_site['hostPort']}" == LOCAL_SITE
    service = of_kind("k8s", "Service")["website"]["spec"]
    (container,) = of_kind("k8s", "Deployment")["website"]["spec"]["template"]["spec"]["containers"]
    assert [port["port"] for port in service["ports"]] == [container["ports"][0]["containerPort"]]
    assert ports(policies(WEBSITE)["website"], "ingress") == {8080}


def test_the_site_has_the_same_policy_in_its_pages_and_from_the_server() -> None:
    caddyfile = of_kind("k8s", "ConfigMap")["website"]["data"]["Caddyfile"]
    [policy] = re.findall(r'Content-Security-Policy "(.*)"', caddyfile)
    assert policy.replace("frame-ancestors 'none'; ", "") == POLICY


def test_the_tasks_find_postgresql() -> None:
    peer = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": AIRFLOW}}}
    peer |= {"podSelector": {"matchLabels": {"cnpg.io/cluster": next(iter(of_kind("postgres", "Cluster")))}}}
    assert {"to": [peer], "ports": [{"port": 5432}]} in policies(TASKS)["dns-and-postgres"]["egress"]
    inside = policies(AIRFLOW)["postgres"]
    assert inside["podSelector"] == peer["podSelector"]
    tasks = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": TASKS}}}
    assert {"from": [tasks], "ports": [{"port": 5432}]} in inside["ingress"]


# The same version wherever one is named


@pytest.mark.parametrize(
    ("version", "places"),
    [
        (kubernetes(), {"k8s/offline/node/kubernetes/go.mod": r"^\s*k8s\.io/kubernetes v(\S+)"}),
        (
            read("helm/airflow.yaml")["airflowVersion"],
            {
                "dags/Dockerfile": r"^FROM apache/airflow:(\S+)",
                "requirements.in": r"^apache-airflow==(\S+)",
                "k8s/offline/airflow/requirements.in": r"^apache-airflow==(\S+)",
            },
        ),
        (
            re.findall(r"==(\S+)", (ROOT / "dags" / "requirements.in").read_text(encoding="utf-8"))[0],
            {
                "requirements.in": r"^apache-airflow-providers-cncf-kubernetes==(\S+)",
                "k8s/offline/airflow/requirements.in": r"^apache-airflow-providers-cncf-kubernetes==(\S+)",
            },
        ),
        (
            RELEASES["operator"].images[0].rpartition(":")[2],
            {"k8s/offline/operator/go.mod": r"^\s*github\.com/cloudnative-pg/cloudnative-pg v(\S+)"},
        ),
        (
            RELEASES["postgres"].images[0].rpartition(":")[2],
            {
                "helm/postgres.yaml": r"^  imageName: ghcr\.io/cloudnative-pg/postgresql:(\S+)",
                "k8s/backup.yaml": r"image: ghcr\.io/cloudnative-pg/postgresql:(\S+)",
                "k8s/offline/build": r"image postgresql ghcr\.io/cloudnative-pg/postgresql:(\S+)",
            },
        ),
        (
            STATSD_EXPORTER.rpartition(":")[2],
            {"k8s/offline/build": r"^statsd_exporter=(\S+)"},
        ),
    ],
    ids=["kubernetes", "airflow", "the operator of the tasks", "operator", "postgresql", "statsd_exporter"],
)
def test_versions(version: str, places: dict[str, str]) -> None:
    said = {place: re.findall(pattern, (ROOT / place).read_text(), re.MULTILINE) for place, pattern in places.items()}
    assert said == {place: [version] for place in places}
