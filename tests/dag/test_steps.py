"""What holds for each step, whichever there are: a further one is found here, and what it lacks is named."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow.dag_processing.dagbag import BundleDagBag
from kubernetes.client import ApiClient

from deploy.channels import check_pod
from deploy.images import references, steps
from deploy.objects import USERS
from deploy.status import RETRIES
from init_schema.schema import GRANTS
from steps import POD_DEFAULTS

ROOT = Path(__file__).parents[2]
OWNER = "init_schema"  # its role owns the tables

each_step = pytest.mark.parametrize("step", steps())


@pytest.fixture
def pods(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The pods of all DAGs, as the Kubernetes API would have them."""
    for variable, image in references().items():
        monkeypatch.setenv(variable, image)
    monkeypatch.setenv("TASK_NAMESPACE", "launch-tasks")
    monkeypatch.setenv("CRAWL_CONTACT", "crawl@example.org")
    monkeypatch.setenv("PUBLIC_URL", "https://launches.example.org")
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "kafka.example.org:9092")
    monkeypatch.setenv("SEARCH_URL", "https://search.example.org:9200")
    found = []
    for path in sorted((ROOT / "dags").glob("*.py")):
        bag = BundleDagBag(path, bundle_path=path.parent)
        assert bag.import_errors == {}
        tasks = [task for dag in bag.dags.values() for task in dag.tasks]
        found += [
            ApiClient().sanitize_for_serialization(task.build_pod_request_obj({}, dry_run=True)) for task in tasks
        ]
    return found


def settings() -> set[str]:
    """Return the names in .env.example, and the one that is a file."""
    assert (ROOT / "channels.example.toml").exists()
    lines = re.findall(r"^(\w+)=", (ROOT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE)
    return {*lines, "CHANNELS"}


def egress_policies() -> list[dict[str, Any]]:
    """Return the network policies of the steps' namespace that select a label `egress`."""
    documents = [
        document for path in (ROOT / "k8s").glob("*.yaml") for document in yaml.safe_load_all(path.read_text())
    ]
    documents += [item for document in documents for item in (document or {}).get("items") or []]
    selected = [
        document["spec"]["podSelector"].get("matchLabels", {})
        for document in documents
        if document and document["kind"] == "NetworkPolicy" and document["metadata"]["namespace"] == "rocket-launches"
    ]
    return [labels for labels in selected if "egress" in labels]


def test_each_image_is_in_a_dag_and_no_other_is(pods: list[dict[str, Any]]) -> None:
    used = {pod["spec"]["containers"][0]["image"] for pod in pods}
    assert used == {image for variable, image in references().items() if variable != "IMAGE_AIRFLOW"}


def test_each_step_comes_to_the_database_as_itself(pods: list[dict[str, Any]]) -> None:
    secrets = {
        source["secretRef"]["name"] for pod in pods for source in pod["spec"]["containers"][0].get("envFrom") or []
    }
    secrets = {name for name in secrets if not name.startswith(("objects-", "kafka-", "search-"))}
    assert secrets == {f"database-{step.replace('_', '-')}" for step in steps()}


@each_step
def test_a_steps_role_has_its_rights(step: str) -> None:
    if step != OWNER:
        statements = GRANTS[f"launch_{step}"]
        assert statements
        assert all(statement.endswith(f" TO launch_{step}") for statement in statements)


def test_each_setting_can_be_set(pods: list[dict[str, Any]]) -> None:
    used = {
        variable["valueFrom"]["secretKeyRef"]["key"]
        for pod in pods
        for variable in pod["spec"]["containers"][0].get("env") or []
        if "valueFrom" in variable
    }
    assert used
    assert used <= settings()


def test_each_way_out_has_a_policy_and_each_policy_a_pod(pods: list[dict[str, Any]]) -> None:
    labels = {pod["metadata"]["labels"]["egress"] for pod in pods if "egress" in pod["metadata"]["labels"]}
    assert labels
    assert labels == {labels["egress"] for labels in egress_policies()}


def test_each_user_of_the_object_store_is_a_pods_and_each_pods_is_one(pods: list[dict[str, Any]]) -> None:
    for pod in pods:
        user = pod["metadata"]["labels"].get("objects")
        logins = [source["secretRef"]["name"] for source in pod["spec"]["containers"][0]["envFrom"][1:]]
        assert [name for name in logins if name.startswith("objects-")] == ([f"objects-{user}"] if user else [])
    users = {pod["metadata"]["labels"]["objects"] for pod in pods if "objects" in pod["metadata"]["labels"]}
    assert users == USERS.keys() - {"backup"}  # which is no step


@pytest.mark.parametrize(("server", "login"), [("kafka", "kafka-stream"), ("search", "search-index")])
def test_who_reaches_a_server_has_its_login_and_nobody_else(
    pods: list[dict[str, Any]], server: str, login: str
) -> None:
    logins = {
        pod["metadata"]["labels"].get("egress"): source["secretRef"]
        for pod in pods
        for source in pod["spec"]["containers"][0]["envFrom"]
        if source["secretRef"]["name"].startswith(f"{server}-")
    }
    assert logins == {server: {"name": login}}


@each_step
def test_a_steps_requirements_are_locked(step: str) -> None:
    folder = ROOT / "tasks" / step
    lines = (folder / "requirements.in").read_text(encoding="utf-8")
    wanted = [name.replace(".", "-") for name in re.findall(r"^([\w.-]+)", lines, re.MULTILINE)]
    locked = (folder / "requirements.txt").read_text(encoding="utf-8")
    assert wanted
    for name in wanted:
        assert re.search(rf"^{re.escape(name)}==\S+( ;.*)? \\$", locked, re.MULTILINE), name


def test_the_pod_that_checks_the_channels_is_notifys_but_for_its_way_out(pods: list[dict[str, Any]]) -> None:
    (step,) = (pod for pod in pods if "/notify:" in pod["spec"]["containers"][0]["image"])
    (container,) = step["spec"]["containers"]
    check = check_pod(container["image"])
    (checking,) = check["spec"]["containers"]
    assert "egress" not in check["metadata"]["labels"]
    for name in ("automountServiceAccountToken", "restartPolicy", "securityContext"):
        assert check["spec"][name] == step["spec"][name]
    for name in ("envFrom", "securityContext"):
        assert checking[name] == container[name]
    assert checking["resources"]["limits"] == container["resources"]["limits"]
    rest = [variable for variable in container["env"] if variable not in checking["env"]]
    assert [variable["name"] for variable in rest] == ["HEARTBEAT_URL", "NOTIFY"]
    assert len(container["env"]) - len(rest) == len(checking["env"])


def test_what_is_not_configured_has_no_dag(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, image in references().items():
        monkeypatch.setenv(variable, image)
    monkeypatch.setenv("TASK_NAMESPACE", "launch-tasks")

    def dag(name: str) -> Any:  # noqa: ANN401  # airflow.sdk.DAG
        path = ROOT / "dags" / f"{name}.py"
        bag = BundleDagBag(path, bundle_path=path.parent)
        assert bag.import_errors == {}
        assert bag.dags.keys() <= {name}
        return bag.dags.get(name)

    def only_with(variable: str, value: str, name: str) -> Any:  # noqa: ANN401  # the same
        monkeypatch.setenv(variable, "")
        assert dag(name) is None
        monkeypatch.setenv(variable, value)
        return dag(name)

    fetch = dag("download_rocket_launches").get_task("fetch_and_store_data")
    crawl = only_with("CRAWL_CONTACT", "crawl@example.org", "crawl_launch_pages")
    stream = only_with("KAFKA_BOOTSTRAP_SERVERS", "kafka.example.org:9092", "publish_launch_changes")
    index = only_with("SEARCH_URL", "https://search.example.org:9200", "index_launches")
    publish = only_with("PUBLIC_URL", "https://launches.example.org", "publish_launches")
    # They follow the asset of fetch_and_store_data; the site also the crawl, whose pictures it shows.
    assert list(crawl.timetable.asset_condition.objects) == fetch.outlets
    assert list(stream.timetable.asset_condition.objects) == fetch.outlets
    assert list(index.timetable.asset_condition.objects) == fetch.outlets
    followed = [*fetch.outlets, *crawl.get_task("crawl_launch_pages").outlets]
    assert list(publish.timetable.asset_condition.objects) == followed


# When a failed step is tried again


WAITS = [
    int((POD_DEFAULTS["retry_delay"] * POD_DEFAULTS["retry_exponential_backoff"] ** n).total_seconds()) // 60
    for n in range(POD_DEFAULTS["retries"])
]
COUNT = ("no", "one", "two", "three", "four", "five", "six")[len(WAITS)]


def test_a_run_is_late_after_its_last_retry() -> None:
    """Airflow adds up to as much again to each wait."""
    assert timedelta(minutes=2 * sum(WAITS)) == RETRIES


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("dags/steps.py", f"up to {COUNT} more tries follow, over {sum(WAITS)} to {2 * sum(WAITS)} minutes"),
        ("deploy/airflow.py", f"Airflow tries again by itself, up to {COUNT} times"),
        ("docs/tables.md", f"up to {COUNT} more, after at least {', '.join(map(str, WAITS[:-1]))} and {WAITS[-1]} min"),
        ("README.md", f"waiting up to {2 * WAITS[-1]} minutes for its next try"),
    ],
)
def test_what_is_said_about_retries_is_what_airflow_does(path: str, sentence: str) -> None:
    assert sentence in " ".join((ROOT / path).read_text(encoding="utf-8").split())


@pytest.mark.parametrize("since", [None, "", "2026-11-24"])
def test_the_rebuilds_form_can_be_sent_as_it_is_and_reaches_the_pod(
    monkeypatch: pytest.MonkeyPatch, since: str | None
) -> None:
    for variable, image in references().items():
        monkeypatch.setenv(variable, image)
    monkeypatch.setenv("TASK_NAMESPACE", "launch-tasks")
    path = ROOT / "dags" / "rebuild_rocket_launches.py"
    dag = BundleDagBag(path, bundle_path=path.parent).dags["rebuild_rocket_launches"]
    form = {name: param.schema["type"] for name, param in dag.params.items()}
    assert form == {"since": ["null", "string"], "dry_run": "boolean"}
    task = dag.get_task("rebuild_from_store")
    task.render_template_fields({"params": dag.params.dump() | {"since": since}})
    pod = ApiClient().sanitize_for_serialization(task.build_pod_request_obj({}, dry_run=True))
    container = pod["spec"]["containers"][0]
    assert container["args"] == ["--from-store"]
    assert container["env"] == [{"name": "SINCE", "value": since or ""}, {"name": "DRY_RUN", "value": "false"}]
