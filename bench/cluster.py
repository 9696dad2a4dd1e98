"""The deployment: `make up` from nothing, a run of the DAG against three bare pods, and the way of a change."""

import json
import re
import shutil
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.measure import ROOT, Measure, interleaved
from deploy.airflow import DAG, Api
from deploy.images import build, names
from deploy.programs import CLUSTER, CONTEXT, TASKS, Failed, check_programs, kubectl, run


def measures(rounds: int) -> Iterator[Measure]:
    """Measure on a kind cluster of its own, with the stand-ins. Raises Failed if there is one already."""
    check_programs("docker", "kind", "helm", "kubectl")
    if CLUSTER in run("kind", "get", "clusters").split():
        raise Failed("The cluster is there, and would be deleted afterwards: make down, if you can spare it.")
    try:
        yield from up()
        yield from a_run(rounds)
        yield from a_change()
    finally:
        run("make", "down")


def up() -> Iterator[Measure]:
    """Make the cluster once, with the images built."""
    for name in names():
        build(name)
    started = time.monotonic()
    said = run("make", "up", "STAND_INS=yes")
    seconds = time.monotonic() - started
    phases = dict(re.findall(r"^(\w[\w ]*?) +(\d+) s$", said, re.MULTILINE))
    yield Measure("make up, to the first green run", "", "≤ 180 s", [seconds], unit=" s")
    for phase, took in phases.items():
        yield Measure(f"… {phase}", "", "", [float(took)], unit=" s")


def a_run(rounds: int) -> Iterator[Measure]:
    """Run the DAG when there is nothing to do, and the same three pods without it, in turn."""
    with Api() as call:
        dag_run(call)  # which has still to make the message
        seconds = interleaved(rounds, dag=lambda: dag_run(call), bare=bare_pods)
    yield Measure(
        "a run of the DAG, queued to done", "its three pods by themselves", "≤ 1.0", seconds["dag"], seconds["bare"]
    )


def dag_run(call: Api) -> float:
    """Run the DAG, and return its seconds by Airflow's own account."""
    runs = f"/api/v2/dags/{DAG}/dagRuns"
    run_id = call("POST", runs, {"logical_date": None})["dag_run_id"]
    while True:
        found = call("GET", f"{runs}/{run_id}")
        if found["end_date"]:
            assert found["state"] == "success", found
            return (
                datetime.fromisoformat(found["end_date"]) - datetime.fromisoformat(found["queued_at"])
            ).total_seconds()
        time.sleep(0.5)


def bare_pods() -> float:
    """Run pods with the specifications of the newest run's, one after another, and return the seconds."""
    from kubernetes import client, config, watch  # noqa: PLC0415  # a second, which the other measures do not need

    core = client.CoreV1Api(config.new_client_from_config(context=CONTEXT))
    bodies = [bare(pod) for pod in newest_run()]
    started = time.monotonic()
    names = []
    for body in bodies:
        names.append(core.create_namespaced_pod(TASKS, body).metadata.name)
        selector = f"metadata.name={names[-1]}"
        for event in watch.Watch().stream(
            core.list_namespaced_pod, TASKS, field_selector=selector, timeout_seconds=120
        ):
            if event["object"].status.phase in ("Succeeded", "Failed"):
                break
    seconds = time.monotonic() - started
    for name in names:
        core.delete_namespaced_pod(name, TASKS)
    return seconds


def newest_run() -> list[dict[str, Any]]:
    """Return the pods of the newest run, in the order in which they ran."""
    by_age = ("--sort-by=.metadata.creationTimestamp", "-o", "json")
    found = json.loads(kubectl("get", "pods", "-n", TASKS, "-l", f"dag_id={DAG}", *by_age))["items"]
    run_id = found[-1]["metadata"]["labels"]["run_id"]
    return [pod for pod in found if pod["metadata"]["labels"]["run_id"] == run_id]


def bare(pod: dict[str, Any]) -> dict[str, Any]:
    """Return a pod like one of a step; its label is what opens the network policies."""
    spec = pod["spec"]
    del spec["nodeName"]
    labels = {name: value for name, value in pod["metadata"]["labels"].items() if name == "egress"}
    return {"metadata": {"generateName": "bare-", "labels": labels}, "spec": spec}


def a_change() -> Iterator[Measure]:
    """Add a line to a task, build its image, and bring it into the cluster, as `make up` does."""
    seconds = []
    images = (sys.executable, "-m", "deploy", "images")
    with TemporaryDirectory() as folder:
        copy = Path(folder)
        for part in ("tasks", "dags", "deploy"):
            shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
        for number in range(3):
            with (copy / "tasks" / "fetch" / "__init__.py").open("a", encoding="utf-8") as file:
                file.write(f"\n# {time.time()} {number}\n")
            started = time.monotonic()
            run(*images, "build", "tasks", cwd=copy)
            image = re.search(r"IMAGE_FETCH=(\S+)", run(*images, cwd=copy))
            assert image
            run("kind", "load", "docker-image", image[1], "--name", CLUSTER)
            seconds.append(time.monotonic() - started)
            run("docker", "image", "rm", image[1])
    yield Measure("a line changed in a task, to its image there", "", "≤ 10 s", seconds, unit=" s")
