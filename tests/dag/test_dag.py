"""The DAG's shape, and every pod that it would make."""

import ast
import json
import re
import subprocess
import sys
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from airflow.dag_processing.dagbag import BundleDagBag
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk import DAG, TriggerRule
from airflow.sdk.api.datamodels._generated import DagRun, DagRunType
from kubernetes.client import ApiClient

OURS = {"steps", "watching_pod_operator"}  # beside the DAG
DAG_FILE = Path(__file__).parents[2] / "dags" / "download_rocket_launches.py"


class Step(NamedTuple):
    """What is particular about a step's pod."""

    variable: str
    image: str
    next: set[str]
    database: str
    settings: set[str]
    egress: str | None
    objects: str | None
    plain: dict[str, str]
    not_retried: tuple[int, ...]
    skipped_by: tuple[int, ...]


STEPS = {
    "initialize_schema": Step(
        variable="IMAGE_INIT_SCHEMA",
        image="rocket-launches/init-schema:0123456789ab",
        next={"fetch_and_store_data"},
        database="database-init-schema",
        settings=set(),
        egress=None,
        objects=None,
        plain={},
        not_retried=(78,),
        skipped_by=(),
    ),
    "fetch_and_store_data": Step(
        variable="IMAGE_FETCH",
        image="rocket-launches/fetch:0123456789ab",
        next={"notify_discord"},
        database="database-fetch",
        settings={"LAUNCH_LIBRARY_URL", "LAUNCH_LIBRARY_TOKEN"},
        egress="web",
        objects="fetch",
        plain={"LAUNCH_LIBRARY_PAGES": "1", "RUN_TYPE": "manual"},
        not_retried=(78,),
        skipped_by=(99,),
    ),
    "notify_discord": Step(
        variable="IMAGE_NOTIFY",
        image="registry.example:5000/rocket-launches/notify@sha256:" + 64 * "0",
        next=set(),
        database="database-notify",
        settings={
            *("DISCORD_WEBHOOK_URL", "CHANNELS", "ANNOUNCE_HOURS", "REMINDERS", "SLIP_MINUTES"),
            *("PUBLIC_URL", "HEARTBEAT_URL"),
        },
        egress="web",
        objects="notify",
        plain={"NOTIFY": "true"},
        not_retried=(65, 78),
        skipped_by=(99,),
    ),
}


@pytest.fixture
def deployment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The environment of Airflow that the DAG reads; a test may change it."""
    monkeypatch.delenv("SCHEDULE", raising=False)
    monkeypatch.setenv("TASK_NAMESPACE", "launch-tasks")
    for step in STEPS.values():
        monkeypatch.setenv(step.variable, step.image)
    return monkeypatch


def load() -> DAG:
    """Load the DAG file as Airflow's dag processor does; any warning fails the test."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bag = BundleDagBag(DAG_FILE, bundle_path=DAG_FILE.parent)
    assert bag.import_errors == {}
    return bag.dags["download_rocket_launches"]


@pytest.fixture
def dag(deployment: pytest.MonkeyPatch) -> DAG:  # noqa: ARG001  # its environment is what the file reads
    return load()


def pod_of(dag: DAG, task_id: str, run_type: DagRunType = DagRunType.MANUAL, **params: object) -> dict[str, Any]:
    """Return the pod that a run with these parameters would make, as JSON of the Kubernetes API."""
    task = dag.get_task(task_id)
    values = {name: param.value for name, param in dag.params.items()} | params
    # A DagRun as a worker has it: its run_type is an enumeration, and that is no string when it is written.
    task.render_template_fields({"params": values, "dag_run": DagRun.model_construct(run_type=run_type)})
    pod: dict[str, Any] = ApiClient().sanitize_for_serialization(task.build_pod_request_obj({}, dry_run=True))
    return pod


def container_of(pod: dict[str, Any]) -> dict[str, Any]:
    container: dict[str, Any]
    (container,) = pod["spec"]["containers"]
    assert "initContainers" not in pod["spec"] or not pod["spec"]["initContainers"]
    return container


def test_the_dag_has_the_promised_shape(dag: DAG) -> None:
    assert {task.task_id: task.downstream_task_ids for task in dag.tasks} == {
        task_id: step.next for task_id, step in STEPS.items()
    }
    assert {type(task).__name__ for task in dag.tasks} == {"WatchingPodOperator"}
    assert all(isinstance(task, KubernetesPodOperator) for task in dag.tasks)
    assert (dag.catchup, dag.max_active_runs) == (False, 1)
    assert dag.start_date.utcoffset() == timedelta(0)


def test_the_dag_imports_nothing_of_the_tasks() -> None:
    trees = [ast.parse(path.read_text()) for path in DAG_FILE.parent.glob("*.py")]
    imports = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    modules = {alias.name for node in imports if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module or "" for node in imports if isinstance(node, ast.ImportFrom)}
    ours = {
        module
        for module in modules
        if module.split(".")[0]
        not in {"airflow", "kubernetes", "steps", "watching_pod_operator", *sys.stdlib_module_names}
    }
    assert not ours


@pytest.mark.parametrize(
    ("setting", "schedule"), [(None, None), ("", None), ("@hourly", "@hourly"), ("*/20 * * * *", "*/20 * * * *")]
)
def test_the_deployment_decides_the_schedule(
    deployment: pytest.MonkeyPatch, setting: str | None, schedule: str | None
) -> None:
    if setting is not None:
        deployment.setenv("SCHEDULE", setting)
    assert load().schedule == schedule


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("IMAGE_FETCH", "", "IMAGE_FETCH is not set"),
        ("TASK_NAMESPACE", "", "TASK_NAMESPACE is not set"),
        ("IMAGE_FETCH", "rocket-launches/fetch", "immutable tag"),
        ("IMAGE_FETCH", "rocket-launches/fetch:latest", "immutable tag"),
        ("IMAGE_NOTIFY", "registry.example:5000/notify", "immutable tag"),
    ],
)
def test_a_bad_deployment_shows_as_an_import_error(
    deployment: pytest.MonkeyPatch, variable: str, value: str, sentence: str
) -> None:
    deployment.setenv(variable, value)
    (error,) = BundleDagBag(DAG_FILE, bundle_path=DAG_FILE.parent).import_errors.values()
    assert variable in error
    assert sentence in error


def test_the_form_offers_pages_and_notifying(dag: DAG) -> None:
    form = {
        name: param.schema | {"default": param.value, "description": param.description}
        for name, param in dag.params.items()
    }
    assert form["pages"]["enum"] == ["1", "all"]
    assert form["pages"]["default"] == "1"
    assert form["notify"]["type"] == "boolean"
    assert form["notify"]["default"] is True
    assert all(field["title"] and field["description"] for field in form.values())


@pytest.mark.parametrize("task_id", STEPS)
def test_a_pod_runs_its_own_image(dag: DAG, task_id: str) -> None:
    pod = pod_of(dag, task_id)
    assert container_of(pod)["image"] == STEPS[task_id].image
    assert "command" not in container_of(pod) or not container_of(pod)["command"], (
        "the image's entry point is the command"
    )
    assert pod["metadata"]["namespace"] == "launch-tasks"
    assert pod["metadata"]["name"].startswith(task_id.replace("_", "-"))


@pytest.mark.parametrize("task_id", STEPS)
def test_a_pod_passes_pod_security_restricted(dag: DAG, task_id: str) -> None:
    """Each control of https://kubernetes.io/docs/concepts/security/pod-security-standards/ that applies to a pod."""
    pod = pod_of(dag, task_id)
    spec, container = pod["spec"], container_of(pod)
    assert spec["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    assert not any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC", "volumes"))
    assert not container.get("ports")
    assert spec["automountServiceAccountToken"] is False


@pytest.mark.parametrize("task_id", STEPS)
def test_a_pod_is_bounded(dag: DAG, task_id: str) -> None:
    pod, task = pod_of(dag, task_id), dag.get_task(task_id)
    resources = container_of(pod)["resources"]
    assert set(resources["requests"]) == set(resources["limits"]) == {"cpu", "memory"}
    assert pod["spec"]["restartPolicy"] == "Never"
    inside = pod["spec"]["activeDeadlineSeconds"] + task.startup_timeout_seconds
    assert timedelta(seconds=inside) < task.execution_timeout, "the pod's own end must come before the worker's"
    waits = [task.retry_delay * task.retry_exponential_backoff**n for n in range(task.retries)]
    assert sum(waits, timedelta()) > timedelta(hours=1), "the API's limit is by the hour"


@pytest.mark.parametrize("task_id", STEPS)
def test_a_finished_pod_stays_and_tells_why(dag: DAG, task_id: str) -> None:
    task = dag.get_task(task_id)
    assert task.on_finish_action.value == "delete_active_pod"
    assert (task.get_logs, task.deferrable, task.do_xcom_push) == (True, False, False)
    assert (task.log_pod_spec_on_failure, task.log_events_on_failure) == (False, True)
    assert container_of(pod_of(dag, task_id))["terminationMessagePolicy"] == "FallbackToLogsOnError"


@pytest.mark.parametrize("task_id", STEPS)
def test_what_no_waiting_heals_is_not_tried_again(dag: DAG, task_id: str) -> None:
    assert tuple(dag.get_task(task_id).fail_on_exit_code) == STEPS[task_id].not_retried


def test_every_task_says_what_its_exit_codes_mean(dag: DAG) -> None:
    for task in dag.tasks:
        assert re.findall(r"^\| (\d+) \|", task.doc_md, re.MULTILINE) == ["0", "65", "75", "78", "99", "143"]


@pytest.mark.parametrize("task_id", STEPS)
def test_a_step_is_skipped_by_no_other_exit_code(dag: DAG, task_id: str) -> None:
    assert tuple(dag.get_task(task_id).skip_on_exit_code) == STEPS[task_id].skipped_by


@pytest.mark.parametrize("task_id", STEPS)
def test_a_pod_gets_exactly_the_secrets_it_needs_and_by_reference(dag: DAG, task_id: str) -> None:
    container, step = container_of(pod_of(dag, task_id)), STEPS[task_id]
    database, *objects = container["envFrom"]
    assert database == {"secretRef": {"name": step.database}}
    # Without an object store, there is no login for one.
    login = {"secretRef": {"name": f"objects-{step.objects}", "optional": True}}
    assert objects == ([login] if step.objects else [])
    found = {variable["name"]: variable for variable in container.get("env", [])}
    settings = {name: found.pop(name)["valueFrom"] for name in step.settings}
    # Each may be absent.
    assert settings == {
        name: {"secretKeyRef": {"name": "settings", "key": name, "optional": True}} for name in step.settings
    }
    assert {name: variable["value"] for name, variable in found.items()} == step.plain


@pytest.mark.parametrize("task_id", STEPS)
def test_a_pod_says_its_way_out(dag: DAG, task_id: str) -> None:
    labels = pod_of(dag, task_id)["metadata"]["labels"]
    assert (labels.get("egress"), labels.get("objects")) == (STEPS[task_id].egress, STEPS[task_id].objects)


def test_what_is_stored_is_announced_to_other_dags(dag: DAG) -> None:
    assert {task.task_id: [asset.name for asset in task.outlets] for task in dag.tasks if task.outlets} == {
        "fetch_and_store_data": ["rocket_launches"]
    }


def test_the_form_reaches_the_pods(dag: DAG) -> None:
    fetch = pod_of(dag, "fetch_and_store_data", pages="all")
    notify = pod_of(dag, "notify_discord", notify=False)
    assert {"name": "LAUNCH_LIBRARY_PAGES", "value": "all"} in container_of(fetch)["env"]
    assert {"name": "NOTIFY", "value": "false"} in container_of(notify)["env"]


@pytest.mark.parametrize(("run_type", "word"), [(DagRunType.MANUAL, "manual"), (DagRunType.SCHEDULED, "scheduled")])
def test_fetch_knows_a_scheduled_run(dag: DAG, run_type: DagRunType, word: str) -> None:
    fetch = pod_of(dag, "fetch_and_store_data", run_type)
    assert {"name": "RUN_TYPE", "value": word} in container_of(fetch)["env"]


def test_messages_are_sent_after_a_fetch_that_was_skipped_but_not_after_one_that_failed(dag: DAG) -> None:
    assert dag.get_task("notify_discord").trigger_rule == TriggerRule.NONE_FAILED


def test_no_secret_of_the_deployment_can_reach_airflow(deployment: pytest.MonkeyPatch) -> None:
    """Even where Airflow's own environment has them, the pods' specifications do not."""
    for name in ("PGPASSWORD", "DISCORD_WEBHOOK_URL", "CHANNELS", "HEARTBEAT_URL", "LAUNCH_LIBRARY_TOKEN"):
        deployment.setenv(name, "a-secret-value")
    dag = load()
    assert "a-secret-value" not in json.dumps([pod_of(dag, task_id) for task_id in STEPS])


@pytest.mark.parametrize(("component", "imported"), [("scheduler", True), ("dag-processor", False)])
def test_the_scheduler_alone_imports_what_its_tasks_need(component: str, imported: bool) -> None:  # noqa: FBT001  # pytest's
    values = yaml.safe_load((DAG_FILE.parents[1] / "helm" / "airflow.yaml").read_text())
    program = f"{values['airflowLocalSettings']}\nprint({KubernetesPodOperator.__module__!r} in sys.modules)"
    command = [sys.executable, "-c", program, component]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    assert said.splitlines()[-1] == str(imported)
