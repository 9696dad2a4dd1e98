"""Who may do what on the real cluster, and who may talk to whom; and that no secret is seen where it should not be."""

import base64
import gzip
import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from deploy.airflow import DAG, KEEP, REBUILD, Api, Refused
from deploy.images import STAND_IN_IMAGE
from deploy.programs import AIRFLOW, CLUSTER, OPERATOR, S3, TASKS, WEBSITE, Failed, kubectl, run
from deploy.settings import secret
from tests.e2e.cluster import STEPS, make, pods, runs, stand_in, until
from tests.faults.test_cluster import FETCH, NOTIFY, bare_pod, end_of

pytestmark = pytest.mark.usefixtures("cluster")


# Pod Security

ROOT_CONTAINER = {"name": "root", "image": STAND_IN_IMAGE}


@pytest.mark.parametrize("namespace", [AIRFLOW, TASKS, OPERATOR, S3])
def test_a_pod_that_is_not_restricted_is_refused(namespace: str) -> None:
    metadata = {"name": "root", "namespace": namespace}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [ROOT_CONTAINER]}}
    with pytest.raises(Failed, match="violates PodSecurity"):
        kubectl("create", "-f", "-", stdin=json.dumps(pod))


def test_the_tasks_pods_have_no_token() -> None:
    for step in STEPS:
        spec = pods(step)[-1]["spec"]
        assert spec["serviceAccountName"] == "default"
        assert "serviceAccount" not in json.dumps(spec.get("volumes", []))
        assert "volumeMounts" not in spec["containers"][0]


# Kubernetes' rights: of each service account, in each namespace, beyond what anybody has who is logged in

POSTGRES_RIGHTS = {
    ("", "configmaps"): "get watch",
    ("", "secrets"): "get watch",
    ("", "events"): "create patch",
    ("coordination.k8s.io", "leases"): "get update",
    ("postgresql.cnpg.io", "backups"): "get list delete",
    ("postgresql.cnpg.io", "backups/status"): "get patch update",
    ("postgresql.cnpg.io", "clusters"): "get list watch",
    ("postgresql.cnpg.io", "clusters/status"): "get patch update watch",
    ("postgresql.cnpg.io", "databases"): "get list update watch",
    ("postgresql.cnpg.io", "databases/status"): "get patch update",
    ("postgresql.cnpg.io", "databaseroles"): "get list update watch",
    ("postgresql.cnpg.io", "databaseroles/status"): "get patch update",
    ("postgresql.cnpg.io", "publications"): "get list update watch",
    ("postgresql.cnpg.io", "publications/status"): "get patch update",
    ("postgresql.cnpg.io", "subscriptions"): "get list update watch",
    ("postgresql.cnpg.io", "subscriptions/status"): "get patch update",
    ("postgresql.cnpg.io", "failoverquorums"): "get list watch",
    ("postgresql.cnpg.io", "failoverquorums/status"): "get patch update watch",
}
RIGHTS: dict[str, dict[str, dict[tuple[str, str], str]]] = {
    "airflow:airflow-scheduler": {
        TASKS: {
            ("", "pods"): "create delete get list patch watch",
            ("", "pods/log"): "get",
            ("", "events"): "list watch",
        }
    },
    "airflow:pod-cleanup": {TASKS: {("", "pods"): "delete list"}},
    "airflow:airflow-database-cleanup": {},
    "airflow:airflow-api-server": {},
    "airflow:airflow-dag-processor": {},
    "airflow:airflow-create-user-job": {},
    "airflow:airflow-migrate-database-job": {},
    "airflow:default": {},
    "airflow:postgres": {AIRFLOW: POSTGRES_RIGHTS},
    "rocket-launches:default": {},
    "s3:default": {},
    "s3:s3": {},
}


def rights(account: str, namespace: str) -> dict[tuple[str, str], str]:
    """Return what a service account may do in a namespace: verbs by API group and resource."""
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace},
    }
    answer = kubectl(
        "create",
        "--validate=false",
        f"--as=system:serviceaccount:{account}",
        "-o",
        "json",
        "-f",
        "-",
        stdin=json.dumps(review),
    )
    found: dict[tuple[str, str], set[str]] = {}
    for rule in json.loads(answer)["status"]["resourceRules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                found.setdefault((group, resource), set()).update(rule["verbs"])
    return {what: " ".join(sorted(verbs)) for what, verbs in found.items()}


def test_every_service_account_is_known() -> None:
    found = json.loads(kubectl("get", "serviceaccounts", "-A", "-o", "json"))["items"]
    names = {f"{one['metadata']['namespace']}:{one['metadata']['name']}" for one in found}
    assert {name for name in names if name.partition(":")[0] in (AIRFLOW, TASKS, S3)} == RIGHTS.keys()


@pytest.mark.parametrize("account", RIGHTS)
def test_what_a_service_account_may_do(account: str) -> None:
    for namespace in (AIRFLOW, TASKS, OPERATOR, S3, "kube-system"):
        anybody = rights("default:nobody", namespace)
        found = {what: verbs for what, verbs in rights(account, namespace).items() if anybody.get(what) != verbs}
        wanted = RIGHTS[account].get(namespace, {})
        assert found == {what: " ".join(sorted(verbs.split())) for what, verbs in wanted.items()}, namespace


def test_only_who_needs_kubernetes_has_a_token() -> None:
    with_token = set()
    for pod in json.loads(kubectl("get", "pods", "-A", "-o", "json"))["items"]:
        if pod["metadata"]["namespace"] in (AIRFLOW, TASKS, S3) and "serviceAccountToken" in json.dumps(pod["spec"]):
            with_token.add(pod["spec"]["serviceAccountName"])
    assert with_token <= {"airflow-scheduler", "pod-cleanup", "postgres"}


# Who may talk to whom, by real connections

CONNECT = """
import json, socket, sys, time
time.sleep(4)  # some networks see a new pod a little later
def can(host, port):
    try:
        socket.create_connection((host, int(port)), 3).close()
        return True
    except OSError:
        return False
print(json.dumps([can(*address.split(":")) for address in sys.argv[1:]]))
"""
POSTGRES = f"postgres-rw.{AIRFLOW}.svc:5432"
UI = f"airflow-api-server.{AIRFLOW}.svc:8080"
LOGS = f"airflow-scheduler.{AIRFLOW}.svc:8793"
DISCORD = "discord.stand-ins.svc:80"
STORE = f"s3.{S3}.svc:7070"
KUBERNETES = "kubernetes.default.svc:443"
ADDRESSES = (POSTGRES, UI, LOGS, DISCORD, STORE, KUBERNETES)
NEIGHBOUR = "the neighbour"


@pytest.fixture(scope="module")
def neighbour(cluster: None) -> Iterator[str]:  # noqa: ARG001  # which makes the network
    """The address of what listens on port 443 beside the cluster, as a router's page does."""
    name = f"{CLUSTER}-neighbour"
    listen = ("python", "-m", "http.server", "443")
    run("docker", "run", "--detach", "--rm", "--name", name, "--network", "kind", STAND_IN_IMAGE, *listen)
    try:
        address = "{{.NetworkSettings.Networks.kind.IPAddress}}"
        yield f"{run('docker', 'inspect', '--format', address, name).strip()}:443"
    finally:
        run("docker", "rm", "--force", name, check=False)


def reached(namespace: str, labels: dict[str, str], *more: str) -> set[str]:
    """Return which of the addresses a pod in a namespace can connect to."""
    addresses = (*ADDRESSES, *more)
    container = {
        "name": "probe",
        "image": STAND_IN_IMAGE,
        "command": ["python", "-c", CONNECT, *addresses],
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"cpu": "500m", "memory": "64Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    spec = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    metadata = {"generateName": "probe-", "namespace": namespace, "labels": labels}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    name = kubectl("create", "-o", "name", "-f", "-", stdin=json.dumps(pod)).strip()
    try:
        phase = ("get", name, "-n", namespace, "-o", "jsonpath={.status.phase}")
        until(lambda: kubectl(*phase) == "Succeeded", 60, f"{name} has not ended")
        can = json.loads(kubectl("logs", name, "-n", namespace))
    finally:
        kubectl("delete", name, "-n", namespace, "--wait=false")
    return {address for address, reached in zip(addresses, can, strict=True) if reached}


@pytest.fixture(scope="module")
def enforced(cluster: None) -> None:  # noqa: ARG001  # it must be there
    """Skip where the cluster's network accepts policies and does nothing about them."""
    spec = {"podSelector": {}, "policyTypes": ["Egress"]}
    deny = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "deny"}, "spec": spec}
    kubectl("create", "namespace", "nobody")
    try:
        kubectl("apply", "-n", "nobody", "-f", "-", stdin=json.dumps(deny))
        if reached("nobody", {}):
            pytest.skip("the network of this cluster does not enforce network policies")
    finally:
        kubectl("delete", "namespace", "nobody", "--wait=false")


@pytest.mark.usefixtures("enforced")
@pytest.mark.parametrize(
    ("namespace", "labels", "wanted"),
    [
        (TASKS, {}, {POSTGRES}),
        (TASKS, {"egress": "web"}, {POSTGRES, DISCORD}),
        (TASKS, {"objects": "fetch"}, {POSTGRES, STORE}),
        (AIRFLOW, {}, {POSTGRES, UI, LOGS}),
        # Kubernetes' API server can have any address.
        (AIRFLOW, {"component": "scheduler"}, {POSTGRES, UI, LOGS, KUBERNETES, NEIGHBOUR}),
        (OPERATOR, {}, {KUBERNETES, NEIGHBOUR}),
        (S3, {}, set()),
        ("default", {}, {UI, DISCORD, KUBERNETES, NEIGHBOUR}),
    ],
    ids=[
        "a stranger among the tasks",
        "a step that may go out",
        "a step that has a login for the object store",
        "a stranger beside Airflow",
        "the scheduler",
        "a stranger beside the operator",
        "a stranger beside the object store",
        "a stranger elsewhere",
    ],
)
def test_who_reaches_what(neighbour: str, namespace: str, labels: dict[str, str], wanted: set[str]) -> None:
    found = reached(namespace, labels, neighbour)
    assert {NEIGHBOUR if address == neighbour else address for address in found} == wanted


# PostgreSQL

SQL = "import psycopg2, time; time.sleep(4); psycopg2.connect('{}').close()"


@pytest.mark.parametrize(
    ("step", "options", "refusal"),
    [
        (FETCH, "", ""),
        (FETCH, "dbname=airflow", "pg_hba.conf rejects connection"),
        (NOTIFY, "dbname=airflow", "pg_hba.conf rejects connection"),
        (FETCH, "sslmode=disable", "pg_hba.conf rejects connection .* no encryption"),
        (FETCH, "dbname=postgres", "pg_hba.conf rejects connection"),
        (FETCH, "user=postgres", "password authentication failed"),
        (FETCH, "user=launch_notify", "password authentication failed"),
        (FETCH, "user=streaming_replica", "pg_hba.conf|certificate"),
    ],
)
def test_whom_postgresql_lets_in(step: str, options: str, refusal: str) -> None:
    pod = bare_pod(step, command=["python", "-c", SQL.format(options)])
    code, _ = end_of(pod)
    said = kubectl("logs", pod, "-n", TASKS)
    assert (code == 0) is (not refusal), said
    assert re.search(refusal, said)


# Secrets


# Beside the secret ones, in the Secrets that become a pod's environment.
NO_SECRETS = (
    *("PGHOST", "PGPORT", "PGUSER", "PGDATABASE", "LAUNCH_LIBRARY_URL"),
    *("OBJECT_STORE", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_ACCESS_KEY_ID", "CRAWL_CONTACT", "CRAWL_NETWORKS"),
    "PUBLIC_URL",
)


def needles() -> dict[str, str]:
    """Return every secret value, in plain and in base64, and what it is."""
    found = {}
    for namespace in (AIRFLOW, TASKS, S3):
        for item in json.loads(kubectl("get", "secrets", "-n", namespace, "-o", "json"))["items"]:
            if item["type"] in ("helm.sh/release.v1", "kubernetes.io/tls"):
                continue
            for key, value in item["data"].items():
                plain = base64.b64decode(value).decode(errors="replace")
                if key in ("username", "host", "port", "dbname", "user", *NO_SECRETS):
                    continue
                if len(plain) >= 8 and not key.endswith(".crt"):
                    name = f"{namespace}/{item['metadata']['name']}/{key}"
                    found[plain] = found[value.rstrip("=")] = name
    return found


def places() -> Iterator[tuple[str, str]]:
    """Yield everything that somebody may read who may not read Secrets."""
    yield "objects", kubectl("get", "all,configmaps,events,cronjobs,clusters.postgresql.cnpg.io", "-A", "-o", "yaml")
    for namespace in (AIRFLOW, TASKS, OPERATOR, S3, WEBSITE, "stand-ins"):
        for pod in kubectl("get", "pods", "-n", namespace, "-o", "name").split():
            yield pod, kubectl("logs", pod, "-n", namespace, "--all-containers", "--tail=-1", check=False)
    for item in json.loads(kubectl("get", "secrets", "-A", "-l", "owner=helm", "-o", "json"))["items"]:
        release = gzip.decompress(base64.b64decode(base64.b64decode(item["data"]["release"]))).decode()
        yield f"what Helm keeps: {item['metadata']['name']}", release
    with Api() as call:
        for run_id in runs(call):
            for task in call("GET", f"/api/v2/dags/{DAG}/dagRuns/{run_id}/taskInstances")["task_instances"]:
                yield f"Airflow's {run_id} {task['task_id']}", json.dumps(task)
                for attempt in range(1, task["try_number"] + 1):
                    path = f"/api/v2/dags/{DAG}/dagRuns/{run_id}/taskInstances/{task['task_id']}/logs/{attempt}"
                    yield f"the UI's log of {task['task_id']}", json.dumps(call("GET", f"{path}?full_content=true"))
        yield "the DAG's source", json.dumps(call("GET", f"/api/v2/dagSources/{DAG}"))
    yield "make status", make("status")[1]


def test_no_secret_is_seen() -> None:
    assert make("trigger")[0] == 0
    secrets = needles()
    assert {name.partition("/")[2] for name in secrets.values()} >= {
        "database-init-schema/PGPASSWORD",
        "database-fetch/PGPASSWORD",
        "database-notify/PGPASSWORD",
        "database-airflow/password",
        "airflow-metadata/connection",
        "airflow-fernet-key/fernet-key",
        "airflow-api-secret-key/api-secret-key",
        "airflow-jwt-secret/jwt-secret",
        "airflow-admin/password",
        "objects-fetch/AWS_SECRET_ACCESS_KEY",
        "objects-notify/AWS_SECRET_ACCESS_KEY",
        "objects-crawl/AWS_SECRET_ACCESS_KEY",
        "objects-publish/AWS_SECRET_ACCESS_KEY",
        "objects-thin/AWS_SECRET_ACCESS_KEY",
        "objects-backup/AWS_SECRET_ACCESS_KEY",
        "s3-root/rootSecretAccessKey",
        "settings/DISCORD_WEBHOOK_URL",
        "settings/HEARTBEAT_URL",
    }
    seen = {(secrets[value], where) for where, text in places() for value in secrets if value in text}
    assert not seen


# Airflow


def status_of(call: Api, path: str, token: str = "") -> int:
    """Ask Airflow's API with another login, or with none."""
    request = urllib.request.Request(call.url + path, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_airflow_lets_nobody_in() -> None:
    with Api() as call:
        for path in ("/api/v2/dags", f"/api/v2/dags/{DAG}/dagRuns", "/api/v2/config", "/api/v2/connections"):
            assert status_of(call, path) == 401
            assert status_of(call, path, "eyJhbGciOiJIUzI1NiJ9.e30.invalid") in (401, 403)
        for username, password in (("admin", "admin"), ("airflow", "airflow"), ("admin", "")):
            with pytest.raises(Refused) as refused:
                call("POST", "/auth/token", {"username": username, "password": password})
            assert refused.value.status in (400, 401, 422)
        assert {dag["dag_id"] for dag in call("GET", "/api/v2/dags")["dags"]} == {
            DAG,
            KEEP,
            REBUILD,
            "crawl_launch_pages",
            "publish_launches",
        }
        with pytest.raises(Refused) as refused:
            call("GET", "/api/v2/config")
        assert refused.value.status == 403
    assert len(secret(AIRFLOW, "airflow-admin")["password"]) >= 16


# Other people's text

HOSTILE = (
    "Falcon\x1b[2J 9\r\n2026-01-01T00:00:00Z INFO forged\u2028"
    " | @everyone **[x](http://evil.example)** <script>alert(1)</script>"
)


def test_hostile_text_stays_text() -> None:
    page = stand_in("launch-library", "/2.3.0/launches/upcoming/?limit=100")
    launch = page["results"][0] | {"id": "00000000-0000-4000-8000-000000000666", "name": HOSTILE}
    launch["net"] = re.sub("^....", "2026", launch["net"])
    bad = {"id": HOSTILE}  # cannot be read, which is logged
    stand_in(
        "launch-library", orders={"faults": [{"body": page | {"results": [launch, bad], "count": 2, "next": None}}]}
    )
    pod = bare_pod(FETCH)
    assert end_of(pod)[0] == 0
    log = kubectl("logs", pod, "-n", TASKS)
    assert "forged" in log
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (INFO|WARNING) ", line) for line in log.splitlines())
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u202e]", log)
    make("psql", stdin="DELETE FROM rocket_launches WHERE launch_id LIKE '%666';")
