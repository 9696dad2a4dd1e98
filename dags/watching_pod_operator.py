"""A KubernetesPodOperator that hears of its pod's changes at once, instead of asking every second or two.

Its pod manager waits by Kubernetes' watch API before it does what the provider's does, and takes a pod for finished as
soon as its containers are: the kubelet says so in the pod's phase up to a second later. For a step of a second, the
asking is most of its time. All else, above all the judgement, stays the provider's, so that a wait that no longer
happens, or fails, costs time and nothing more; `tests/dag/test_watching_pod_operator.py` tells when it does.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.providers.cncf.kubernetes.utils.container import container_is_running
from airflow.providers.cncf.kubernetes.utils.pod_manager import PodManager, PodPhase
from kubernetes.client import ApiException
from kubernetes.client import models as k8s
from kubernetes.watch import Watch
from urllib3.exceptions import HTTPError

# What takes longer, say as an image is pulled, is not worth a hurry: from then on the provider asks, tells the pod's
# events and follows its log.
LONGEST_WAIT = 3


class WatchingPodManager(PodManager):
    """A pod manager for pods with `restartPolicy: Never`, which is the operator's default."""

    def wait(self, pod: k8s.V1Pod, until: Callable[[k8s.V1Pod], bool]) -> None:
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
        except (ApiException, HTTPError) as error:
            reason = getattr(error, "reason", None) or error
            self.log.warning("Cannot watch pod %s, so this takes a second or two longer: %s", pod.metadata.name, reason)

    async def await_pod_start(self, pod: k8s.V1Pod, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # the provider's
        """Wait for the pod to start."""
        self.wait(pod, lambda now: now.status.phase != PodPhase.PENDING)
        await super().await_pod_start(pod, *args, **kwargs)

    def container_is_running(self, pod: k8s.V1Pod, container_name: str) -> bool:
        """Tell whether the log that has just ended has ended with its container, or broke off."""
        self.wait(pod, lambda now: not container_is_running(now, container_name))
        return super().container_is_running(pod, container_name)

    def read_pod(self, pod: k8s.V1Pod) -> k8s.V1Pod:
        """Return the pod with the phase that the kubelet will give it, now that its containers have ended."""
        now = super().read_pod(pod)
        statuses = now.status.container_statuses or []
        ends = [status.state.terminated for status in statuses if status.state.terminated]
        if now.status.phase == PodPhase.RUNNING and len(ends) == len(now.spec.containers):
            now.status.phase = PodPhase.FAILED if any(end.exit_code for end in ends) else PodPhase.SUCCEEDED
        return now


class WatchingPodOperator(KubernetesPodOperator):
    """The operator with that pod manager."""

    @cached_property
    def pod_manager(self) -> WatchingPodManager:
        """Return what the operator asks for everything that its pod does."""
        return WatchingPodManager(kube_client=self.client, callbacks=self.callbacks)

    def await_pod_completion(self, pod: k8s.V1Pod) -> None:
        """Read the log of a container that ends soon in one piece: a log that is followed ends a second late."""
        self.pod_manager.wait(pod, lambda now: not container_is_running(now, self.base_container_name))
        super().await_pod_completion(pod)
