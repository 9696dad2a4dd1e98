"""Airflow: its API, the runs of the DAG, and the logs of its tasks' pods."""

import argparse
import http.client
import json
import re
import subprocess
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime
from typing import Any, Self

from deploy.programs import AIRFLOW, CONTEXT, TASKS, Failed, kubectl, one_line, say
from deploy.settings import secret

DAG, REBUILD, KEEP = "download_rocket_launches", "rebuild_rocket_launches", "keep_rocket_launches"

DAGS = "/api/v2/dags"
RUNS = f"{DAGS}/{DAG}/dagRuns"


class Refused(Failed):
    """The API's answer is an error."""

    def __init__(self, sentence: str, status: int) -> None:
        super().__init__(sentence)
        self.status = status


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


def trigger_and_wait(seconds: float = 900, dag: str = DAG, **parameters: object) -> dict[str, Any]:
    """Start a run and wait for its end; return each task's state and seconds, and the run's state under ''.

    A task that waits for its next try ends the wait: that may be an hour away.
    """
    runs = f"{DAGS}/{dag}/dagRuns"
    told: set[str] = set()
    deadline = time.monotonic() + seconds
    with Api() as call:
        while True:  # the dag processor reads the file some seconds after Airflow is there
            try:
                call("GET", f"{DAGS}/{dag}")
                break
            except Refused as error:
                if error.status != 404 or time.monotonic() > deadline:
                    raise
                time.sleep(1)
        run_id = call("POST", runs, {"logical_date": None, "conf": parameters})["dag_run_id"]
        while time.monotonic() < deadline:
            state = call("GET", f"{runs}/{run_id}")["state"]
            tasks = task_states(call, run_id, runs)
            waiting = any(task_state == "up_for_retry" for task_state, _ in tasks.values())
            if state in ("success", "failed") or waiting:
                return tasks | {"": "failed" if waiting else state}
            if state == "queued":
                make_room(call, run_id, told, runs)
            time.sleep(1)
    raise Failed(f"The run {run_id} has not ended after {seconds:.0f} s: make status, make logs TASK=…")


def make_room(call: Api, ours: str, told: set[str], runs: str = RUNS) -> None:
    """End a run that only waits for its next try, which can be 80 minutes away; wait for any other. Say so, once a run.

    There is one run at a time, so that a queued one waits for as long as the one before it.
    """
    for other in call("GET", f"{runs}?state=running")["dag_runs"]:
        run_id = other["dag_run_id"]
        if run_id == ours:  # by now it runs
            continue
        tasks = task_instances(call, run_id, runs)
        if waiting := next((task for task in tasks if task["state"] == "up_for_retry"), None):
            call("PATCH", f"{runs}/{run_id}", {"state": "failed"})
            since = f" since {utc(moment(waiting['end_date']))}" if waiting["end_date"] else ""
            say(f"The run {run_id} is marked failed to make room: {waiting['task_id']} was up_for_retry{since}.")
        elif run_id not in told:
            told.add(run_id)
            busy = "".join(f": {task['task_id']} is running" for task in tasks if task["state"] == "running")
            say(f"Waiting for the run {run_id}{busy}.")


def task_instances(call: Api, run_id: str, runs: str = RUNS) -> list[dict[str, Any]]:
    """Return all that Airflow says of a run's tasks."""
    return call("GET", f"{runs}/{run_id}/taskInstances")["task_instances"]  # type: ignore[no-any-return]


def task_states(call: Api, run_id: str, runs: str = RUNS) -> dict[str, tuple[str | None, float]]:
    """Return each task's state and seconds, in the order in which they started; at the end, those that did not."""
    tasks = sorted(
        task_instances(call, run_id, runs), key=lambda task: (task["start_date"] is None, task["start_date"])
    )
    return {task["task_id"]: (task["state"], task["duration"] or 0.0) for task in tasks}


def running_tasks() -> str:
    """Return the names of the tasks whose pods are running."""
    which = ("-l", "task_id", "--field-selector", "status.phase=Running")
    return kubectl("get", "pods", "-n", TASKS, *which, "-o", "jsonpath={.items[*].metadata.labels.task_id}")


def print_states(states: dict[str, Any]) -> None:
    """Print each task's state and seconds; the run's own state is not a task's."""
    for task, found in states.items():
        if task:
            state, duration = found
            print(f"  {task:<22}{state or 'not run':<18}{duration:5.1f} s")


def trigger(_arguments: argparse.Namespace) -> None:
    """Run the DAG once, and say how it ended."""
    states = trigger_and_wait()
    print_states(states)
    if states[""] != "success":
        raise Failed("The run failed: make logs TASK=… says why. Airflow tries again by itself, up to four times.")


def rebuild(arguments: argparse.Namespace) -> None:
    """Make the launches' tables again from the object store, by a run of its DAG, and print what it says."""
    run_and_show(REBUILD, "rebuild_from_store", since=arguments.since, dry_run=arguments.dry_run)


def check_store(_arguments: argparse.Namespace) -> None:
    """Thin the object store, compare it with the tables, and print what is not as it should be."""
    run_and_show(KEEP, "check_store")


def run_and_show(dag: str, task: str, **parameters: object) -> None:
    """Run a DAG once and print the log of a task. Raises Failed if the run has failed."""
    say(f"Running {dag}; make logs TASK={task} shows how far it is.")
    states = trigger_and_wait(6 * 3600, dag, **parameters)
    which = ("-l", f"dag_id={dag},task_id={task}", "--sort-by=.metadata.creationTimestamp")
    pods = json.loads(kubectl("get", "pods", "-n", TASKS, *which, "-o", "json"))["items"]
    if pods:
        print(kubectl("logs", "-n", TASKS, pods[-1]["metadata"]["name"], "--tail=-1"), end="")
    print_states(states)
    if states[""] != "success":
        raise Failed(f"The run of {dag} failed: the lines above say why, or the task's log in the UI.")


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


def moment(text: str) -> datetime:
    """Read a time in ISO 8601."""
    return datetime.fromisoformat(text)


def utc(time: datetime) -> str:
    """Write a time for people."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
