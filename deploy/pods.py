"""A pod of ours beside Airflow's: the image of a step, for something that somebody wants to know now."""

import json
import time
from collections.abc import Sequence
from typing import Any

from deploy.programs import AIRFLOW, CLUSTER, TASKS, Failed, kubectl


def deployed_image(variable: str) -> str:
    """Return the image that Airflow would run for a step, such as IMAGE_NOTIFY."""
    found = kubectl("get", "deployment", "airflow-dag-processor", "-n", AIRFLOW, "-o", "json", "--ignore-not-found")
    containers = json.loads(found)["spec"]["template"]["spec"]["containers"] if found else []
    variables = [variable for container in containers for variable in container.get("env", [])]
    images = [one["value"] for one in variables if one["name"] == variable]
    if not images:
        raise Failed("Airflow is not there: make up deploys it, make status shows what is.")
    return str(images[0])


def login_of(*names: str) -> str:
    """Return the first of these Secrets that is there, for a pod to log in with; empty where none is."""
    found = kubectl("get", "secret", "-n", TASKS, "-o", "name", *names, "--ignore-not-found")
    return found.split()[0].partition("/")[2] if found else ""


def pod(  # noqa: PLR0913  # what distinguishes one from another
    name: str,
    image: str,
    container: dict[str, Any],
    *,
    secrets: Sequence[dict[str, object]],
    labels: dict[str, str],
    seconds: int,
) -> dict[str, Any]:
    """Return a pod as the DAG's are, for so many seconds, with these references to Secrets as its environment."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": TASKS, "labels": {"app.kubernetes.io/part-of": CLUSTER} | labels},
        "spec": {
            "restartPolicy": "Never",
            "activeDeadlineSeconds": seconds,
            "automountServiceAccountToken": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65532,
                "runAsGroup": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "base",
                    "image": image,
                    "envFrom": [{"secretRef": secret} for secret in secrets],
                    "resources": {
                        "requests": {"cpu": "20m", "memory": "96Mi"},  # it waits, and must not keep a step out
                        "limits": {"cpu": "1", "memory": "256Mi"},
                    },
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                        "readOnlyRootFilesystem": True,
                    },
                }
                | container
            ],
        },
    }


def run_to_its_end(manifest: dict[str, Any], seconds: int) -> int:
    """Run a pod to its end, print its log, and return its exit code; nothing of it stays."""
    name = manifest["metadata"]["name"]
    kubectl("delete", "pod", name, "-n", TASKS, "--ignore-not-found")  # of one that was interrupted
    kubectl("create", "-f", "-", stdin=json.dumps(manifest))
    try:
        exit_code = wait_for(name, seconds) or 0
        print(kubectl("logs", name, "-n", TASKS), end="")
    finally:
        kubectl("delete", "pod", name, "-n", TASKS, "--ignore-not-found", "--wait=false")
    return exit_code


def wait_for(name: str, seconds: int, *, is_started: bool = False) -> int | None:
    """Wait for the end of a pod, or for its start; return its exit code. Raises Failed with what keeps it."""
    deadline = time.monotonic() + seconds
    while True:
        status = json.loads(kubectl("get", "pod", name, "-n", TASKS, "-o", "json"))["status"]
        states = [container["state"] for container in status.get("containerStatuses", [])]
        if ended := [state["terminated"] for state in states if "terminated" in state]:
            return int(ended[0]["exitCode"])
        if is_started and any("running" in state for state in states):
            return None
        if status["phase"] == "Failed" or time.monotonic() > deadline:
            waiting = [state["waiting"] for state in states if "waiting" in state]
            why = [part[key] for part in (status, *waiting) for key in ("reason", "message") if part.get(key)]
            raise Failed(f"The pod {name} did not run to its end: {': '.join(why) or status['phase']}.")
        time.sleep(1)
