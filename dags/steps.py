"""A step as a pod: what all of them share, and what a DAG says of one.

A step's folder in tasks/ names everything: `fetch` has the image `IMAGE_FETCH` and the Secret `database-fetch`. The
deployment sets, in Airflow's environment:

- `IMAGE_FETCH` and its like: the images, by an immutable tag or digest
- `TASK_NAMESPACE`: where the pods run

The pods read the rest from Secrets in their own namespace, so nothing secret passes through here.
"""

import os
from datetime import timedelta
from typing import Any

from kubernetes.client import models as k8s

from watching_pod_operator import WatchingPodOperator


def deployed(variable: str) -> str:
    """Return what the deployment says, or fail with a sentence that the UI shows as the import error."""
    if not (value := os.environ.get(variable)):
        raise ValueError(f"{variable} is not set: set it in the environment of Airflow, as the deployment does")
    return value


def image(variable: str) -> str:
    """Return an image reference; a tag that moves would make a retry run other code than the first try."""
    reference = deployed(variable)
    _, _, tag = reference.rpartition("/")[2].partition(":")
    if "@sha256:" not in reference and tag in ("", "latest"):
        raise ValueError(f"{variable} is {reference!r}: give an immutable tag or a digest")
    return reference


POD_DEFAULTS = {
    # A finished pod stays, so that `kubectl logs` finds it; one that is stuck or running is removed.
    "on_finish_action": "delete_active_pod",
    # None: use Airflow's own service account. Looking up an undefined connection takes time.
    "kubernetes_conn_id": None,
    # Polling interval once the watch (LONGEST_WAIT, 3 s) has given up.
    "startup_check_interval_seconds": 1,
    # Long enough to pull an image over a slow line.
    "startup_timeout_seconds": 300,
    # The kubelet's own limit: it holds even where the worker that watches the pod has died.
    "active_deadline_seconds": 600,
    # The worker's limit: longer than the two above together, so that the pod's own limit applies first.
    "execution_timeout": timedelta(minutes=20),
    # The API allows 15 requests an hour. Four retries, after 5, 10, 20 and 40 minutes at least,
    # outlast a used-up hour.
    "retries": 4,
    "retry_delay": timedelta(minutes=5),
    "retry_exponential_backoff": 2,
    # Bad configuration: someone has to change it, and a run that waits keeps the next one waiting.
    "fail_on_exit_code": (78,),
    # The pod's specification is long and says nothing about a failure; its events do.
    "log_pod_spec_on_failure": False,
    "log_events_on_failure": True,
    # The last lines of the log become the pod's termination message: the steps end with what to do.
    "termination_message_policy": "FallbackToLogsOnError",
    # The steps talk to PostgreSQL and to the outside, never to Kubernetes.
    "automount_service_account_token": False,
    # Measured: a step needs about 60 MiB; its work is waiting for others.
    "container_resources": k8s.V1ResourceRequirements(
        requests={"cpu": "100m", "memory": "96Mi"}, limits={"cpu": "1", "memory": "256Mi"}
    ),
    # Everything that Pod Security "restricted" asks for, and a root file system that cannot be written.
    "security_context": k8s.V1PodSecurityContext(
        run_as_non_root=True,
        run_as_user=65532,
        run_as_group=65532,
        seccomp_profile=k8s.V1SeccompProfile(type="RuntimeDefault"),
    ),
    "container_security_context": k8s.V1SecurityContext(
        allow_privilege_escalation=False,
        capabilities=k8s.V1Capabilities(drop=["ALL"]),
        read_only_root_filesystem=True,
    ),
}

# What the UI shows beside each task.
EXIT_CODES = """

| exit code | meaning | what to do |
|---|---|---|
| 0 | done | |
| 65 | the input is bad: no page, a message or launch that is refused, an altered object | read the log's last line |
| 75 | network, throttled, 5xx, a server away | nothing: up to four more tries follow, over 75 to 150 minutes |
| 78 | the configuration is bad: password, schema, address, token | fix what the last line names, clear the task |
| 99 | no request is due or possible now, nothing to say, or nobody to tell | nothing: the task is shown as skipped |
| 143 | stopped by SIGTERM | nothing: it is tried again, and nothing is half-written |
"""


def setting(name: str) -> k8s.V1EnvVar:
    """Let the kubelet fill in a setting: neither Airflow nor its database and UI ever see the value."""
    selector = k8s.V1SecretKeySelector(name="settings", key=name, optional=True)
    return k8s.V1EnvVar(name=name, value_from=k8s.V1EnvVarSource(secret_key_ref=selector))


def parameter(name: str, template: str) -> k8s.V1EnvVar:
    """Give a run's parameter to the step."""
    return k8s.V1EnvVar(name=name, value=template)


def step(  # noqa: PLR0913  # what a DAG can say of a step
    folder: str,
    task_id: str,
    *environment: k8s.V1EnvVar,
    doc: str,
    egress: str | None = None,
    objects: str | None = None,
    login: str | None = None,
    **arguments: Any,  # noqa: ANN401  # the operator's
) -> WatchingPodOperator:
    """Return the task that runs a step's image, as the step's own role on the database.

    `egress` is the label by which network policies let a pod out: `web` is port 443 of public addresses. A pod without
    it reaches PostgreSQL alone. `objects` is who the step is to the object store: `fetch` has the login in the Secret
    `objects-fetch`, and the label `objects: fetch`, which lets the pod out to the store. Without the Secret there is no
    store. `login` is a Secret with the login of another server, as the step's own variables name it.
    """
    secrets = [k8s.V1SecretEnvSource(name=f"database-{folder.replace('_', '-')}")]
    if objects:
        secrets.append(k8s.V1SecretEnvSource(name=f"objects-{objects}", optional=True))
    if login:
        secrets.append(k8s.V1SecretEnvSource(name=login))
    labels = {"egress": egress, "objects": objects}
    return WatchingPodOperator(
        task_id=task_id,
        name=task_id.replace("_", "-"),
        namespace=deployed("TASK_NAMESPACE"),
        image=image(f"IMAGE_{folder.upper()}"),
        env_from=[k8s.V1EnvFromSource(secret_ref=secret) for secret in secrets],
        env_vars=list(environment),
        labels={key: value for key, value in labels.items() if value},
        doc_md=doc + EXIT_CODES,
        **POD_DEFAULTS | arguments,
    )
