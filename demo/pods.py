"""Runs the pods of a DAG as local processes, with what the kubelet and their images would give them."""

import copy
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from deploy.images import references

ROOT = Path(__file__).parents[1]
TASKS = ROOT / "tasks"


class PodError(Exception):
    """The container cannot start; the sentence says what the kubelet would."""


@dataclass
class Namespace:
    """What containers find around them: Secrets by name, each with its keys and values.

    `environment` is added to every container, such as a replay's `NOW`.
    """

    secrets: dict[str, dict[str, str]]
    environment: dict[str, str] = field(default_factory=dict)


@dataclass
class Step:
    """How one task of a run ended: Airflow's word for it, and the exit code, None where nothing ran."""

    task_id: str
    state: str
    exit_code: int | None = None
    seconds: float = 0.0
    last_line: str = ""

    @property
    def reason(self) -> str:
        """Return the last line of the log without its time and level."""
        return re.sub(r"^\S+Z [A-Z]+ ", "", self.last_line)


def load_dags(airflow_home: str, public_url: str) -> dict[str, Any]:
    """Return the DAGs as Airflow loads them, in the environment that a deployment gives to Airflow. Raises PodError."""
    os.environ.update(
        references(),
        TASK_NAMESPACE="rocket-launches",
        CRAWL_CONTACT="nobody@example.org",  # in the demo, the stand-in's own site is crawled
        PUBLIC_URL=public_url,
        AIRFLOW_HOME=airflow_home,
        AIRFLOW__CORE__LOAD_EXAMPLES="False",
        AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"sqlite:///{airflow_home}/airflow.db",
        AIRFLOW__LOGGING__LOGGING_LEVEL="ERROR",
    )
    from airflow.dag_processing.dagbag import BundleDagBag  # noqa: PLC0415  # it reads the settings above

    bag = BundleDagBag(ROOT / "dags", bundle_path=ROOT / "dags")
    if bag.import_errors:
        raise PodError(f"A DAG cannot be loaded: {'; '.join(bag.import_errors.values())}")
    return dict(bag.dags)


def run(
    dag: Any,  # noqa: ANN401  # airflow.sdk.DAG
    namespace: Namespace,
    on_line: Callable[[str, str], None],
    run_type: str = "manual",
) -> Iterator[Step]:
    """Run a DAG once with its parameters' defaults, and yield each task as it ends.

    `on_line` is called with the task's id and a line of its log. Of trigger rules, `all_success` and `none_failed` are
    known.
    """
    context = {"params": dag.params.dump(), "dag_run": SimpleNamespace(run_type=SimpleNamespace(value=run_type))}
    states: dict[str, str] = {}
    for original in dag.topological_sort():
        upstream = {states[task_id] for task_id in original.upstream_task_ids}
        if upstream & {"failed", "upstream_failed"}:
            step = Step(original.task_id, "upstream_failed")
        elif "skipped" in upstream and original.trigger_rule == "all_success":
            step = Step(original.task_id, "skipped")
        else:
            task = copy.deepcopy(original)  # rendering writes into it
            task.render_template_fields(context)
            step = run_task(task, namespace, on_line)
        states[step.task_id] = step.state
        yield step


def run_task(task: Any, namespace: Namespace, on_line: Callable[[str, str], None]) -> Step:  # noqa: ANN401
    """Run the container of a KubernetesPodOperator whose templates are rendered."""
    step = Step(task.task_id, "failed")
    container = task.build_pod_request_obj({}, dry_run=True).spec.containers[0]
    started = time.monotonic()

    def keep(line: str) -> None:
        step.last_line = line
        on_line(step.task_id, line)

    try:
        step.exit_code = run_container(container, namespace, keep)
        step.state = state(step.exit_code, task.skip_on_exit_code)
    except PodError as error:
        keep(str(error))
    step.seconds = time.monotonic() - started
    return step


def state(exit_code: int, skip_on_exit_code: Collection[int]) -> str:
    """Return Airflow's state for a task whose container ended so."""
    if exit_code in skip_on_exit_code:
        return "skipped"
    return "failed" if exit_code else "success"


def run_container(container: Any, namespace: Namespace, on_line: Callable[[str], None]) -> int:  # noqa: ANN401
    """Run a container's process to its end, line by line, and return its exit code. Raises PodError."""
    folder = TASKS / image_name(container.image)
    command: list[str] = (container.command or entry_point(folder)) + (container.args or [])
    process = subprocess.Popen(
        [sys.executable if command[0] == "python" else command[0], *command[1:]],
        cwd=TASKS,
        env={"PATH": os.environ["PATH"], **environment(container, namespace)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="backslashreplace",
        process_group=0,  # Ctrl-C is for us; the step gets SIGTERM, as it would from the kubelet
    )
    with process:
        try:
            for line in process.stdout or ():
                on_line(line.rstrip("\n"))
            exit_code = process.wait()
            return exit_code if exit_code >= 0 else 128 - exit_code  # killed by a signal, as containers tell it
        finally:
            if process.poll() is None:
                stop(process)


def stop(process: "subprocess.Popen[str]") -> None:
    """End a process as the kubelet does, though with less patience."""
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()


def image_name(reference: str) -> str:
    """Return the folder of an image: rocket-launches/init-schema:0123 is made of init_schema."""
    return reference.rpartition("/")[2].partition("@")[0].partition(":")[0].replace("-", "_")


def entry_point(folder: Path) -> list[str]:
    """Return what an image runs where the pod says nothing else."""
    dockerfile = folder / "Dockerfile"
    try:
        lines = dockerfile.read_text(encoding="utf-8").splitlines()
        (line,) = (line for line in lines if line.startswith("ENTRYPOINT "))
        return list(json.loads(line.removeprefix("ENTRYPOINT ")))
    except (OSError, ValueError) as error:
        raise PodError(f"{dockerfile} has no ENTRYPOINT line in exec form: {error}") from None


def environment(container: Any, namespace: Namespace) -> dict[str, str]:  # noqa: ANN401
    """Return a container's variables, with its references to Secrets resolved. Raises PodError."""
    variables = dict(namespace.environment)
    for source in container.env_from or []:
        if not source.secret_ref:
            raise PodError("envFrom: the demo knows references to Secrets only")
        if source.secret_ref.name not in namespace.secrets and source.secret_ref.optional:
            continue
        if source.secret_ref.name not in namespace.secrets:
            raise PodError(f'secret "{source.secret_ref.name}" not found')
        variables |= namespace.secrets[source.secret_ref.name]
    for variable in container.env or []:  # these win
        source = variable.value_from
        if source is None:
            variables[variable.name] = variable.value or ""
        elif not source.secret_key_ref:
            raise PodError(f"{variable.name}: the demo knows references to Secrets only")
        else:
            variables |= resolve(variable.name, namespace.secrets, source.secret_key_ref)
    return variables


def resolve(variable: str, secrets: dict[str, dict[str, str]], reference: Any) -> dict[str, str]:  # noqa: ANN401
    """Return one variable, or none where the reference is optional and leads nowhere. Raises PodError."""
    if reference.key in secrets.get(reference.name, {}):
        return {variable: secrets[reference.name][reference.key]}
    if reference.optional:
        return {}
    raise PodError(f"{variable}: couldn't find key {reference.key} in Secret {reference.name}")
