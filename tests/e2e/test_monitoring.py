"""What a real Prometheus knows after `make up MONITORING=yes`. KEEP_CLUSTER=yes takes a cluster that was made so."""

import contextlib
import json
import math
import os
import re
import shutil
import socket
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from deploy.images import STAND_IN_IMAGE
from deploy.manifests import deploy_monitoring
from deploy.programs import AIRFLOW, CONTEXT, OPERATOR, kubectl
from tests.e2e.cluster import ROOT, make, stand_in, stored, until
from tests.e2e.conftest import ARTIFACTS

pytestmark = pytest.mark.usefixtures("monitored")

KEEP = bool(os.environ.get("KEEP_CLUSTER"))
DASHBOARD = json.loads((ROOT / "helm" / "dashboard.json").read_text(encoding="utf-8"))
PANELS = [(panel["title"], target["expr"]) for panel in DASHBOARD["panels"] for target in panel["targets"]]
# Where the metrics are: a namespace, the pods' label, and their port.
EXPORTERS = {
    "postgres": (AIRFLOW, "cnpg.io/instanceRole=primary", 9187),
    "statsd": (AIRFLOW, "component=statsd", 9102),
    "operator": (OPERATOR, "app.kubernetes.io/name=cloudnative-pg", 8080),
}
Query = Callable[[str], list[float]]


@pytest.fixture(scope="module")
def monitored(programs: None) -> Iterator[None]:  # noqa: ARG001  # a fixture is its argument's name
    """A cluster with metrics, on which a run has succeeded and a task has failed."""
    if not shutil.which("prometheus"):
        pytest.skip("no prometheus here: apt-get install prometheus")
    if not KEEP:
        assert make("down")[0] == 0
        assert make("up", "MONITORING=yes")[0] == 0
    for _, label, _ in EXPORTERS.values():
        kubectl("wait", "pods", "-A", "-l", label, "--for=condition=Ready", "--timeout=2m")
    assert make("trigger")[0] == 0
    stand_in("launch-library", orders={"faults": [{"status": 500, "body": "Server Error"}] * 20})
    try:
        assert make("trigger")[0] != 0
    finally:
        stand_in("launch-library", orders={"faults": []})
    yield
    if not KEEP:
        make("down")


def pod(exporter: str) -> dict[str, Any]:
    """Return the pod that has the metrics."""
    namespace, label, _ = EXPORTERS[exporter]
    found = json.loads(kubectl("get", "pods", "-n", namespace, "-l", label, "-o", "json"))["items"]
    return found[0]  # type: ignore[no-any-return]


@contextlib.contextmanager
def forwarded(exporter: str) -> Iterator[str]:
    """Forward a free port of this machine to an exporter; return the address."""
    namespace, _, port = EXPORTERS[exporter]
    name = f"pod/{pod(exporter)['metadata']['name']}"
    command = ["kubectl", "--context", CONTEXT, "port-forward", "-n", namespace, name, f":{port}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        said = process.stdout.readline()
        try:
            address = re.search(r"127\.0\.0\.1:\d+", said)
            assert address, f"{' '.join(command)}: {said}"
            yield address[0]
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def query(monitored: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Query]:  # noqa: ARG001  # as above
    """What a query returns, from a Prometheus on this machine that asks the exporters every second."""
    folder = tmp_path_factory.mktemp("prometheus")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"

    def values(expression: str) -> list[float]:
        url = f"http://{address}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return [float(sample["value"][1]) for sample in json.load(answer)["data"]["result"]]

    def scraped() -> bool:
        try:
            return values("sum(up)") == [len(EXPORTERS)]
        except OSError:  # it is still starting
            return False

    with contextlib.ExitStack() as stack:
        jobs = [
            {"job_name": name, "static_configs": [{"targets": [stack.enter_context(forwarded(name))]}]}
            for name in EXPORTERS
        ]
        # JSON is YAML.
        configuration = {"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": jobs}
        (folder / "prometheus.yml").write_text(json.dumps(configuration), encoding="utf-8")
        log = stack.enter_context((ARTIFACTS / "prometheus.log").open("w"))
        process = subprocess.Popen(
            [
                "prometheus",
                "--config.file=prometheus.yml",
                "--storage.tsdb.path=data",
                f"--web.listen-address={address}",
            ],
            cwd=folder,
            stderr=log,
        )
        stack.callback(process.wait)
        stack.callback(process.terminate)
        until(scraped, 60, f"Prometheus does not get all metrics: see {log.name}")
        yield values


def known(found: list[float]) -> bool:
    return bool(found) and not any(map(math.isnan, found))


@pytest.mark.parametrize(("title", "expression"), PANELS, ids=[f"{title}: {expr}" for title, expr in PANELS])
def test_every_panel_shows_something(query: Query, title: str, expression: str) -> None:
    # CloudNativePG keeps what it has asked for 30 s.
    until(lambda: known(query(expression)), 60, f"{title}: {expression} gives nothing")


def test_the_numbers_are_right(query: Query) -> None:
    failed = 'cnpg_rocket_launches_fetches_total{outcome="failed"}'
    until(lambda: sum(query(failed)), 60, "the failed fetch is not there")
    [age] = query("cnpg_rocket_launches_fetch_age_seconds")
    assert 0 <= age < 900
    assert query("cnpg_rocket_launches_stored") == [len(stored())]
    assert query("cnpg_collector_up") == [1]
    assert query("sum(airflow_ti_failures)")[0] >= 1
    assert 1 < query('airflow_dagrun_duration{quantile="0.99"}')[0] < 600
    # None of the queries has failed.
    assert query("cnpg_last_error") == [0]


# Who may ask

CONNECT = """
import socket, sys, time
time.sleep(4)  # some networks see a new pod a little later
for address in sys.argv[1:]:
    host, port = address.split(":")
    try:
        socket.create_connection((host, port), 3).close()
        print(port)
    except OSError:
        pass
"""
CONTROL = 8000  # PostgreSQL's pods, for the operator alone


def reached(labels: str) -> set[int]:
    """Return which ports a pod of another namespace can connect to."""
    addresses = [f"{pod(exporter)['status']['podIP']}:{port}" for exporter, (_, _, port) in EXPORTERS.items()]
    addresses.append(f"{pod('postgres')['status']['podIP']}:{CONTROL}")
    namespace, name = ("-n", "default"), "probe"
    kubectl(
        *("run", name, *namespace, "--image", STAND_IN_IMAGE, "--restart", "Never", "--labels", labels),
        *("--command", "--", "python", "-c", CONNECT, *addresses),
    )
    try:
        phase = ("get", "pod", name, *namespace, "-o", "jsonpath={.status.phase}")
        until(lambda: kubectl(*phase) == "Succeeded", 60, "the probe has not ended")
        return set(map(int, kubectl("logs", name, *namespace).split()))
    finally:
        kubectl("delete", "pod", name, *namespace, "--ignore-not-found")


def test_only_a_prometheus_is_let_in() -> None:
    stranger = reached("app.kubernetes.io/name=stranger")
    if CONTROL in stranger:
        pytest.skip("the network of this cluster does not enforce network policies")
    assert stranger == set()
    assert reached("app.kubernetes.io/name=prometheus") == {port for _, _, port in EXPORTERS.values()}


# Without it

# As much of it as it takes to have such objects.
POD_MONITORS = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: { name: podmonitors.monitoring.coreos.com }
spec:
  group: monitoring.coreos.com
  names: { kind: PodMonitor, plural: podmonitors }
  scope: Namespaced
  versions:
    - name: v1
      served: true
      storage: true
      schema: { openAPIV3Schema: { type: object, x-kubernetes-preserve-unknown-fields: true } }
"""
ALL = "networkpolicies,podmonitors,deployments,services,serviceaccounts,configmaps"


def left() -> set[str]:
    """Return what is there for the metrics alone."""
    names = kubectl("get", ALL, "-A", "-o", "name").split()
    return {name for name in names if re.search("metrics$|statsd$|^podmonitor|postgres-monitoring$", name)}


@pytest.mark.skipif(KEEP, reason="a cluster that is kept keeps its metrics")
def test_without_the_setting_all_of_it_is_gone() -> None:
    kubectl("apply", "-f", "-", stdin=POD_MONITORS)
    kubectl("wait", "crd/podmonitors.monitoring.coreos.com", "--for=condition=Established", "--timeout=30s")
    deploy_monitoring(wanted=True)
    assert {name.rpartition("/")[2] for name in left()} >= {
        *("airflow-statsd", "postgres-monitoring", "postgres-metrics", "statsd-metrics", "operator-metrics"),
        *EXPORTERS,
    }
    assert make("up")[0] == 0
    assert left() == set()
