"""A KubernetesPodOperator that hears of its pod's changes at once, instead of asking every second or two.

Its pod manager waits by Kubernetes' watch API before it does what the provider's does, and takes a pod for finished as
soon as its containers are: the kubelet says so in the pod's phase up to a second later. For a step of a second, the
asking is most of its time. A wait that no longer happens, or fails, costs time and nothing more.

It also judges more strictly than the provider does:

- A task that was stopped fails and is tried again. The provider shows it as a success (apache/airflow#73006, #71202).
- So does one whose pod was deleted, evicted or past its deadline, even if the program exited with 0.
- A pod whose Secret is missing, or whose image name is invalid, fails at once with the kubelet's own sentence.
- `fail_on_exit_code` names the exit codes that no second try would change.

`tests/dag/test_watching_pod_operator.py` shows each, and fails when a newer provider no longer calls what is
overridden.
"""

from collections.abc import Callable, Container
from datetime import timedelta
from functools import cached_property
from typing import Any

from airflow.providers.cncf.kubernetes.kubernetes_helper_functions import PodLaunchFailedException
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.providers.cncf.kubernetes.utils.container import container_is_running, get_container_status
from airflow.providers.cncf.kubernetes.utils.pod_manager import PodManager, PodPhase
from airflow.providers.cncf.kubernetes.utils.xcom_sidecar import PodDefaults
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from kubernetes.client import models as k8s
from kubernetes.watch import Watch

# Seconds to watch before falling back to the provider's polling: a pod that pulls its image gains nothing from more.
LONGEST_WAIT = 3

# The waiting reasons of a container that will never start; the provider would poll until its timeout.
NEVER_STARTS = ("CreateContainerConfigError", "InvalidImageName", "ErrImageNeverPull")


class PodCannotStartError(PodLaunchFailedException):
    """The pod's specification, or something that it names, has to change first."""


def cannot_start(pod: k8s.V1Pod) -> str | None:
    """Return why a pod will never start, with the kubelet's sentence as the last line."""
    for status in [*(pod.status.init_container_statuses or []), *(pod.status.container_statuses or [])]:
        waiting = status.state.waiting
        # A kubelet that has not read a Secret yet says that it "failed to sync": a moment later it has.
        if waiting and waiting.reason in NEVER_STARTS and "failed to sync" not in (waiting.message or ""):
            return f"Pod {pod.metadata.name} cannot start ({waiting.reason}). The kubelet says:\n{waiting.message}"
    return None


def stopped(pod: k8s.V1Pod) -> str | None:
    """Return why a pod was stopped from outside, if it was: its program may exit with 0 and not have done its work."""
    if pod.metadata.deletion_timestamp:
        return "it was deleted"
    if pod.status.reason:
        return str(pod.status.reason)  # such as Evicted or DeadlineExceeded
    for condition in pod.status.conditions or []:
        if condition.type == "DisruptionTarget" and condition.status == "True":
            return str(condition.reason)
    deadline = pod.spec.active_deadline_seconds
    if deadline and pod.status.start_time:
        last = pod.status.start_time + timedelta(seconds=deadline)
        if any(end.finished_at and end.finished_at >= last for end in ends(pod)):
            return "DeadlineExceeded"
    return None


def ends(pod: k8s.V1Pod) -> list[k8s.V1ContainerStateTerminated]:
    """Return the end of each container that has ended."""
    return [status.state.terminated for status in pod.status.container_statuses or [] if status.state.terminated]


class WatchingPodManager(PodManager):
    """A pod manager for pods with `restartPolicy: Never`, the operator's default; others it leaves to the provider."""

    is_starting = False

    def wait(self, pod: k8s.V1Pod, until: Callable[[k8s.V1Pod], object]) -> None:
        """Return when something is true for the pod, or it is gone, at the latest after LONGEST_WAIT seconds."""
        try:
            for event in Watch().stream(
                self._client.list_namespaced_pod,
                pod.metadata.namespace,
                field_selector=f"metadata.name={pod.metadata.name}",
                timeout_seconds=LONGEST_WAIT,  # the API server ends the watch
                _request_timeout=2 * LONGEST_WAIT,  # … unless it has died
            ):
                if event["type"] == "DELETED" or until(event["object"]):
                    return
        except Exception as error:  # noqa: BLE001  # no network, no right, no JSON: whatever it is, the provider asks
            reason = getattr(error, "reason", None) or repr(error)
            self.log.warning("Cannot watch pod %s, so this takes a second or two longer: %s", pod.metadata.name, reason)

    async def await_pod_start(self, pod: k8s.V1Pod, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # the provider's
        """Wait for the pod to start."""
        self.wait(pod, lambda now: now.status.phase != PodPhase.PENDING or cannot_start(now))
        self.is_starting = True
        try:
            await super().await_pod_start(pod, *args, **kwargs)
        finally:
            self.is_starting = False

    def container_is_running(self, pod: k8s.V1Pod, container_name: str) -> bool:
        """Tell whether the log that has just ended has ended with its container, or broke off."""
        if container_name != PodDefaults.SIDECAR_CONTAINER_NAME:  # that one runs until it is told to stop
            self.wait(pod, lambda now: not container_is_running(now, container_name))
        return super().container_is_running(pod, container_name)

    def read_pod(self, pod: k8s.V1Pod) -> k8s.V1Pod:
        """Return the pod, in its final phase as soon as its containers have ended."""
        now = super().read_pod(pod)
        if self.is_starting and (why := cannot_start(now)):
            raise PodCannotStartError(why)
        has_ended = len(ends(now)) == len(now.spec.containers)
        if (
            now.spec.restart_policy == "Never"
            and has_ended
            and now.status.phase
            in (
                PodPhase.RUNNING,
                PodPhase.SUCCEEDED,
            )
        ):
            is_done = not any(end.exit_code for end in ends(now)) and not stopped(now)
            now.status.phase = PodPhase.SUCCEEDED if is_done else PodPhase.FAILED
        return now


class WatchingPodOperator(KubernetesPodOperator):
    """The operator with that pod manager; `fail_on_exit_code` lists exit codes after which no retry follows."""

    launch_failure: PodLaunchFailedException | None = None

    def __init__(self, *, fail_on_exit_code: Container[int] = (), **kwargs: Any) -> None:  # noqa: ANN401  # the provider's
        super().__init__(**kwargs)
        self.fail_on_exit_code = fail_on_exit_code

    @cached_property
    def pod_manager(self) -> WatchingPodManager:
        """The pod manager that all of the operator's waits go through."""
        return WatchingPodManager(kube_client=self.client, callbacks=self.callbacks)

    def await_pod_start(self, pod: k8s.V1Pod) -> None:
        """Remember why the pod did not start: `cleanup` would say no more than that it failed."""
        try:
            super().await_pod_start(pod)
        except PodLaunchFailedException as failure:
            self.launch_failure = failure
            raise

    def await_pod_completion(self, pod: k8s.V1Pod) -> None:
        """Read the log of a container that ends soon in one piece: a log that is followed ends a second late."""
        self.pod_manager.wait(pod, lambda now: not container_is_running(now, self.base_container_name))
        super().await_pod_completion(pod)

    def cleanup(
        self,
        pod: k8s.V1Pod,
        remote_pod: k8s.V1Pod,
        xcom_result: dict[str, Any] | None = None,
        context: Any = None,  # noqa: ANN401  # the provider's
    ) -> None:
        """Raise if the pod did not do its work: AirflowFailException where another try would not, either."""
        if self._killed:  # the provider returns here, and the task would be a success
            raise AirflowException("The task was stopped and its pod deleted: nothing is half-written, try it again.")
        try:
            super().cleanup(pod, remote_pod, xcom_result, context)
        except AirflowSkipException:
            raise
        except AirflowException as failure:
            if isinstance(self.launch_failure, PodCannotStartError):
                raise AirflowFailException(str(self.launch_failure)) from None
            if self.launch_failure:
                raise self.launch_failure from None
            if why := stopped(remote_pod):
                raise AirflowException(f"Pod {pod.metadata.name} was stopped before it was done: {why}.") from None
            status = get_container_status(remote_pod, self.base_container_name)
            if status and status.state.terminated and status.state.terminated.exit_code in self.fail_on_exit_code:
                raise AirflowFailException(str(failure)) from None
            raise
