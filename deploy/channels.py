"""`make check-channels`: what notify_discord would send now, to which channel, without sending it."""

import argparse
import json
import time
from typing import Any

from deploy.programs import AIRFLOW, CLUSTER, TASKS, Failed, kubectl

POD = "check-channels"
SECONDS = 180  # pulling the image, waiting for PostgreSQL, and the check itself
SETTINGS = ("DISCORD_WEBHOOK_URL", "CHANNELS", "ANNOUNCE_HOURS", "REMINDERS", "SLIP_MINUTES", "PUBLIC_URL")


def check_channels(_arguments: argparse.Namespace) -> int:
    """Say what each channel would be sent now, by the settings in the cluster; return the step's exit code."""
    manifest = json.dumps(pod(deployed_image()))
    kubectl("delete", "pod", POD, "-n", TASKS, "--ignore-not-found")  # of a check that was interrupted
    kubectl("create", "-f", "-", stdin=manifest)
    try:
        exit_code = wait_for_end()
        print(kubectl("logs", POD, "-n", TASKS), end="")
    finally:
        kubectl("delete", "pod", POD, "-n", TASKS, "--ignore-not-found", "--wait=false")
    return exit_code


def deployed_image() -> str:
    """Return the image that Airflow would run for notify_discord."""
    found = kubectl("get", "deployment", "airflow-dag-processor", "-n", AIRFLOW, "-o", "json", "--ignore-not-found")
    containers = json.loads(found)["spec"]["template"]["spec"]["containers"] if found else []
    variables = [variable for container in containers for variable in container.get("env", [])]
    images = [variable["value"] for variable in variables if variable["name"] == "IMAGE_NOTIFY"]
    if not images:
        raise Failed("Airflow is not there: make up deploys it, make status shows what is.")
    return str(images[0])


def pod(image: str) -> dict[str, Any]:
    """Return the pod: that of the DAG's task, but for the label that would let it out to Discord."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": POD,
            "namespace": TASKS,
            "labels": {"app.kubernetes.io/part-of": CLUSTER, "objects": "notify"},
        },
        "spec": {
            "restartPolicy": "Never",
            "activeDeadlineSeconds": SECONDS,
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
                    "args": ["--check"],
                    "envFrom": [
                        {"secretRef": {"name": "database-notify"}},
                        {"secretRef": {"name": "objects-notify", "optional": True}},
                    ],
                    "env": [
                        {
                            "name": name,
                            "valueFrom": {"secretKeyRef": {"name": "settings", "key": name, "optional": True}},
                        }
                        for name in SETTINGS
                    ],
                    "resources": {
                        "requests": {"cpu": "100m", "memory": "96Mi"},
                        "limits": {"cpu": "1", "memory": "256Mi"},
                    },
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                        "readOnlyRootFilesystem": True,
                    },
                }
            ],
        },
    }


def wait_for_end() -> int:
    """Wait for the end of the pod; return its exit code. Raises Failed with what keeps it."""
    deadline = time.monotonic() + SECONDS
    while True:
        status = json.loads(kubectl("get", "pod", POD, "-n", TASKS, "-o", "json"))["status"]
        states = [container["state"] for container in status.get("containerStatuses", [])]
        if ended := [state["terminated"] for state in states if "terminated" in state]:
            return int(ended[0]["exitCode"])
        if status["phase"] == "Failed" or time.monotonic() > deadline:
            waiting = [state["waiting"] for state in states if "waiting" in state]
            why = [part[key] for part in (status, *waiting) for key in ("reason", "message") if part.get(key)]
            raise Failed(f"The pod {POD} did not run to its end: {': '.join(why) or status['phase']}.")
        time.sleep(1)
