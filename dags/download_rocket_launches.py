"""Upcoming rocket launches, from the Launch Library into PostgreSQL and out to Discord.

Each step is its own container image and runs as a pod. This file says what runs, in what order and with which
limits, and does no work itself. The deployment sets, in Airflow's environment:

- `IMAGE_INIT_SCHEMA`, `IMAGE_FETCH`, `IMAGE_NOTIFY`: the images, by an immutable tag or digest
- `TASK_NAMESPACE`: where the pods run
- `SCHEDULE`: a cron expression or preset such as `@hourly`; unset or empty, the DAG runs only when triggered

The pods read the rest from Secrets and a ConfigMap in their own namespace, so nothing secret passes through here.
"""

import os
from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, Param
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


def secret(variable: str, name: str, key: str, *, optional: bool = False) -> k8s.V1EnvVar:
    """Let the kubelet fill in a variable: neither Airflow nor its database and UI ever see the value."""
    selector = k8s.V1SecretKeySelector(name=name, key=key, optional=optional)
    return k8s.V1EnvVar(name=variable, value_from=k8s.V1EnvVarSource(secret_key_ref=selector))


def setting(variable: str, name: str, key: str) -> k8s.V1EnvVar:
    """Let the kubelet fill in an optional variable from a ConfigMap; without it the step uses its default."""
    selector = k8s.V1ConfigMapKeySelector(name=name, key=key, optional=True)
    return k8s.V1EnvVar(name=variable, value_from=k8s.V1EnvVarSource(config_map_key_ref=selector))


def database(name: str) -> list[k8s.V1EnvVar]:
    """Return libpq's own variables, from a Secret with the keys that CloudNativePG uses."""
    return [
        secret("PGHOST", name, "host"),
        secret("PGPORT", name, "port"),
        secret("PGDATABASE", name, "dbname"),
        secret("PGUSER", name, "username"),
        secret("PGPASSWORD", name, "password"),
    ]


POD_DEFAULTS = {
    "namespace": deployed("TASK_NAMESPACE"),
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
| 65 | the input is bad: not a page of launches, or a message that Discord refuses | read the log's last line |
| 75 | network, throttled, 5xx, database away | nothing: up to four more tries follow, over one to two hours |
| 78 | the configuration is bad: password, schema, address, token | fix what the last line names, clear the task |
| 99 | nothing to say, or no channel to say it in | nothing: the task is shown as skipped |
| 143 | stopped by SIGTERM | nothing: it is tried again, and nothing is half-written |
"""

with DAG(
    "download_rocket_launches",
    description="Launch Library 2 to PostgreSQL to Discord, a pod a step",
    doc_md=__doc__,
    schedule=os.environ.get("SCHEDULE") or None,
    start_date=datetime(2025, 1, 1, tzinfo=UTC),
    # A page says what is true now: there is no past to catch up with, and nothing for two runs to do at once.
    catchup=False,
    max_active_runs=1,
    default_args=POD_DEFAULTS,
    params={
        "pages": Param(
            "1",
            type="string",
            enum=["1", "all"],
            title="Pages to read",
            description="One page holds the nearest 100 launches. All pages take about four of the 15 requests "
            "that the Launch Library allows in an hour.",
        ),
        "notify": Param(
            default=True,
            type="boolean",
            title="Notify Discord",
            description="Off: store the launches and post nothing.",
        ),
    },
    tags=["rocket-launches"],
) as dag:
    initialize_schema = WatchingPodOperator(
        task_id="initialize_schema",
        name="initialize-schema",
        doc_md="Brings the database to the schema of this image. Running it again is harmless." + EXIT_CODES,
        image=image("IMAGE_INIT_SCHEMA"),
        env_vars=database("database-init-schema"),
    )
    fetch_and_store_data = WatchingPodOperator(
        task_id="fetch_and_store_data",
        name="fetch-and-store-data",
        doc_md="Reads the upcoming launches and stores them, all of a run or nothing." + EXIT_CODES,
        image=image("IMAGE_FETCH"),
        env_vars=[
            *database("database-fetch"),
            setting("LAUNCH_LIBRARY_URL", "launch-library", "url"),
            secret("LAUNCH_LIBRARY_TOKEN", "launch-library", "token", optional=True),
            k8s.V1EnvVar(name="LAUNCH_LIBRARY_PAGES", value="{{ params.pages }}"),
        ],
    )
    notify_discord = WatchingPodOperator(
        task_id="notify_discord",
        name="notify-discord",
        doc_md="Posts the next launch once, and edits the messages whose launch has changed." + EXIT_CODES,
        image=image("IMAGE_NOTIFY"),
        env_vars=[
            *database("database-notify"),
            secret("DISCORD_WEBHOOK_URL", "discord", "webhook-url", optional=True),
            secret("HEARTBEAT_URL", "heartbeat", "url", optional=True),
            k8s.V1EnvVar(name="NOTIFY", value="{{ params.notify | lower }}"),
        ],
        # Nothing to say, or no channel to say it in: the task is shown as skipped.
        skip_on_exit_code=99,
        # Another try does not help a message that Discord refuses, either; the next run has newer text.
        fail_on_exit_code=(65, 78),
    )
    initialize_schema >> fetch_and_store_data >> notify_discord
