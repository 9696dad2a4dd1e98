"""The operator against an HTTP server that answers as Kubernetes does, and where nothing happens unless it is watched.

Whoever asks now and then, as the provider does, sleeps in between, which is an error here. So a newer provider that no
longer calls what is overridden fails these tests, where a user would only find it slow.
"""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
from airflow.providers.cncf.kubernetes.kubernetes_helper_functions import PodLaunchFailedException
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from kubernetes.client import ApiClient, Configuration, CoreV1Api, V1Pod
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from watching_pod_operator import WatchingPodManager, WatchingPodOperator

LINES = ["2026-11-24T07:25:12.000000001Z Reading", "2026-11-24T07:25:13.000000001Z Stored 12 launches"]


CREATING = ("Pending", {"waiting": {"reason": "ContainerCreating"}})
RUNNING = ("Running", {"running": {"startedAt": "2026-11-24T07:25:11Z"}})


def waiting(reason: str, message: str) -> tuple[str, dict[str, Any]]:
    return ("Pending", {"waiting": {"reason": reason, "message": message}})


def container_status(state: dict[str, Any]) -> dict[str, Any]:
    return {"name": "base", "image": "", "imageID": "", "ready": False, "restartCount": 0, "state": state}


def terminated(exit_code: int) -> dict[str, Any]:
    return container_status({"terminated": {"exitCode": exit_code}})


class Kubernetes:
    """One pod, whose phase never becomes more than Running: the kubelet's next report would come a second later."""

    def __init__(self, server: HTTPServer, exit_code: int, *states: tuple[str, dict[str, Any]]) -> None:
        self.pod: dict[str, Any] = {}
        self.states = iter(states or [CREATING, RUNNING])
        now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        terminated = {"exitCode": exit_code, "finishedAt": now, "message": "Stored nothing."}
        self.end = ("Running", {"terminated": terminated})
        self.at_its_end: dict[str, Any] = {}  # what the pod's status has then besides
        self.when_logging: Callable[[], object] = int
        self.watched = 0
        self.is_deleted = self.forbids_watching = self.garbles_events = False
        for path, answer in {
            "/api/v1/namespaces/tasks/pods": self.many,
            "/api/v1/namespaces/tasks/pods/step": self.one,
            "/api/v1/namespaces/tasks/pods/step/log": self.log,
            "/api/v1/namespaces/tasks/events": lambda _: self.json({"items": []}),
        }.items():
            server.expect_request(path).respond_with_handler(answer)

    def next_state(self) -> None:
        phase, state = next(self.states, self.end)
        status = container_status(state)
        self.pod["status"] = {"phase": phase, "containerStatuses": [status]}
        if "terminated" in state:
            self.pod["status"] |= self.at_its_end

    def json(self, body: object) -> Response:
        return Response(json.dumps(body), content_type="application/json")

    def many(self, request: Request) -> Response:
        if request.method == "POST":
            self.pod = json.loads(request.data)
            self.pod["metadata"]["name"] = "step"
            self.next_state()
            return self.json(self.pod)
        if request.args.get("watch"):
            assert request.args["fieldSelector"] == "metadata.name=step"
            return Response(status=403) if self.forbids_watching else Response(self.events())
        return self.json({"items": [self.pod] if self.pod else []})

    def events(self) -> Iterator[str]:
        self.watched += 1
        if self.garbles_events:
            yield '{"type": "ADDED", "object": {"metadata"\n'
            return
        yield json.dumps({"type": "ADDED", "object": self.pod}) + "\n"
        self.next_state()
        yield json.dumps({"type": "MODIFIED", "object": self.pod}) + "\n"

    def log(self, _request: Request) -> Response:
        state = self.pod["status"]["containerStatuses"][0]["state"]
        self.is_followed = "terminated" not in state
        self.when_logging()
        return Response("\n".join(LINES) + "\n")

    def one(self, request: Request) -> Response:
        if request.method == "PATCH":
            self.pod["metadata"]["labels"] |= json.loads(request.data)["metadata"]["labels"]
        if request.method == "DELETE":
            self.is_deleted = True
            self.pod["metadata"]["deletionTimestamp"] = "2026-11-24T07:25:14Z"
        return self.json(self.pod)


class TaskInstance:
    dag_id, task_id, map_index, try_number = "download_rocket_launches", "step", -1, 1

    def xcom_push(self, key: str, value: object) -> None:
        pass


CONTEXT = {"ti": TaskInstance(), "run_id": "manual", "dag": None}


def client_of(server: HTTPServer) -> CoreV1Api:
    return CoreV1Api(ApiClient(Configuration(host=server.url_for("/").rstrip("/"))))


def operator_for(server: HTTPServer, **arguments: object) -> WatchingPodOperator:
    operator = WatchingPodOperator(
        task_id="step",
        name="step",
        namespace="tasks",
        image="rocket-launches/step:1",
        random_name_suffix=False,
        kubernetes_conn_id=None,
        on_finish_action="delete_active_pod",
        skip_on_exit_code=99,
        fail_on_exit_code=(78,),
        log_pod_spec_on_failure=False,
        **arguments,
    )
    operator.client = client_of(server)
    operator.hook = SimpleNamespace(is_in_cluster=True)  # whatever this machine's kubeconfig says
    return operator


def execute(server: HTTPServer) -> list[str]:
    """Run the operator as a task would, and return the lines of the pod that it logs."""
    lines: list[str] = []

    def keep(_container: str, line: str) -> str:
        lines.append(line.strip())
        return line

    operator_for(server, log_formatter=keep).execute(CONTEXT)
    return lines


@pytest.fixture
def never_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    def sleep(*_: object) -> NoReturn:
        raise AssertionError("the operator waits by asking now and then")

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(asyncio, "sleep", sleep)


@pytest.mark.usefixtures("never_sleeps")
def test_it_hears_of_every_change(httpserver: HTTPServer) -> None:
    cluster = Kubernetes(httpserver, 0)
    assert execute(httpserver) == ["Reading", "Stored 12 launches"]
    assert not cluster.is_followed
    assert cluster.watched == 3, "for its start, its end, and when its log has ended"
    assert cluster.pod["metadata"]["labels"]["already_checked"] == "True", "a retry must not take it for its own"


@pytest.mark.usefixtures("never_sleeps")
@pytest.mark.parametrize(
    ("exit_code", "error", "words"),
    [
        (75, AirflowException, r"Stored nothing\."),
        (78, AirflowFailException, r"Stored nothing\."),
        (99, AirflowSkipException, "exit code 99"),
        (143, AirflowException, r"Stored nothing\."),
    ],
)
def test_how_the_container_ended_decides(
    httpserver: HTTPServer, exit_code: int, error: type[Exception], words: str
) -> None:
    Kubernetes(httpserver, exit_code)
    with pytest.raises(AirflowException, match=words) as failure:
        execute(httpserver)
    assert failure.type is error


# A pod that is stopped


def test_a_task_that_is_stopped_fails_and_is_tried_again(httpserver: HTTPServer) -> None:
    """What the scheduler's end, a drained node or an upgrade does to it: on_kill in the middle of execute."""
    cluster = Kubernetes(httpserver, 143)

    def stop(_container: str, line: str) -> str:
        operator.on_kill()
        return line

    operator = operator_for(httpserver, log_formatter=stop)
    with pytest.raises(AirflowException, match="was stopped") as failure:
        operator.execute(CONTEXT)
    assert failure.type is AirflowException
    assert cluster.is_deleted


@pytest.mark.usefixtures("never_sleeps")
@pytest.mark.parametrize(
    ("status", "why"),
    [
        ({"reason": "Evicted"}, "Evicted"),
        ({"reason": "DeadlineExceeded"}, "DeadlineExceeded"),
        ({"phase": "Succeeded", "reason": "Evicted"}, "Evicted"),
        (
            {"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}]},
            "Eviction",
        ),
        ({"startTime": "2026-11-24T07:25:10Z"}, "DeadlineExceeded"),  # by the clock, before the kubelet says so
    ],
    ids=[
        "evicted",
        "past its deadline",
        "evicted, and its phase says succeeded",
        "disrupted",
        "past its deadline soon",
    ],
)
def test_a_pod_that_is_stopped_is_no_success(httpserver: HTTPServer, status: dict[str, Any], why: str) -> None:
    """Its program exits with 0 on SIGTERM."""
    cluster = Kubernetes(httpserver, 0)
    cluster.at_its_end = status
    with pytest.raises(AirflowException, match=f"stopped before it was done: {why}"):
        operator_for(httpserver, active_deadline_seconds=60).execute(CONTEXT)


@pytest.mark.usefixtures("never_sleeps")
def test_a_pod_that_somebody_deletes_is_no_success(httpserver: HTTPServer) -> None:
    cluster = Kubernetes(httpserver, 0)
    cluster.when_logging = lambda: cluster.pod["metadata"].update(deletionTimestamp="2026-11-24T07:25:14Z")
    with pytest.raises(AirflowException, match="stopped before it was done: it was deleted"):
        execute(httpserver)


# A pod that does not start

MISSING = 'secret "database-step" not found'


@pytest.mark.usefixtures("never_sleeps")
@pytest.mark.parametrize(
    ("reason", "message", "error"),
    [
        ("CreateContainerConfigError", MISSING, AirflowFailException),
        ("InvalidImageName", 'couldn\'t parse image name "Step:1"', AirflowFailException),
        ("ErrImagePull", 'failed to pull "step:1": not found', PodLaunchFailedException),
    ],
)
def test_a_pod_that_cannot_start_says_why_at_once(
    httpserver: HTTPServer, reason: str, message: str, error: type[Exception]
) -> None:
    cluster = Kubernetes(httpserver, 0, CREATING, *[waiting(reason, message)] * 9)
    with pytest.raises(AirflowException) as failure:
        execute(httpserver)
    assert failure.type is error
    assert str(failure.value).splitlines()[-1] == message, "in the kubelet's words"
    assert cluster.is_deleted


@pytest.fixture
def asking(monkeypatch: pytest.MonkeyPatch) -> list[Kubernetes]:
    """Let whoever asks now and then see the next state of the cluster that a test puts in here."""
    clusters: list[Kubernetes] = []

    async def sleep(_seconds: float) -> None:
        clusters[0].next_state()

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return clusters


def test_a_pod_that_cannot_start_may_show_it_late(httpserver: HTTPServer, asking: list[Kubernetes]) -> None:
    """An image that is pulled takes longer than the pod is watched."""
    cluster = Kubernetes(httpserver, 0, *[CREATING] * 3, waiting("CreateContainerConfigError", MISSING))
    cluster.forbids_watching = True
    asking.append(cluster)
    with pytest.raises(AirflowFailException, match=MISSING):
        execute(httpserver)


def test_a_kubelet_that_has_not_read_a_secret_yet_may_take_its_time(
    httpserver: HTTPServer, asking: list[Kubernetes]
) -> None:
    unread = waiting("CreateContainerConfigError", "failed to sync secret cache: timed out waiting for the condition")
    asking.append(Kubernetes(httpserver, 0, CREATING, unread, unread, RUNNING))
    assert execute(httpserver) == ["Reading", "Stored 12 launches"]


# Pods of other kinds


def pod_of(server: HTTPServer) -> V1Pod:
    pod: V1Pod = operator_for(server).build_pod_request_obj({}, dry_run=True)
    pod.metadata.name = "step"
    return pod


def test_a_pod_that_is_restarted_is_left_to_the_provider(httpserver: HTTPServer) -> None:
    cluster = Kubernetes(httpserver, 0)
    pod = pod_of(httpserver)
    pod.spec.restart_policy = "OnFailure"
    cluster.pod = ApiClient().sanitize_for_serialization(pod)
    cluster.pod["status"] = {"phase": "Running", "containerStatuses": [terminated(1)]}
    assert WatchingPodManager(client_of(httpserver)).read_pod(pod).status.phase == "Running"


def test_the_xcom_sidecar_is_not_waited_for(httpserver: HTTPServer) -> None:
    cluster = Kubernetes(httpserver, 0)
    pod = pod_of(httpserver)
    cluster.pod = ApiClient().sanitize_for_serialization(pod)
    sidecar = {**terminated(0), "name": "airflow-xcom-sidecar", "state": RUNNING[1]}
    cluster.pod["status"] = {"phase": "Running", "containerStatuses": [terminated(0), sidecar]}
    manager = WatchingPodManager(client_of(httpserver))
    assert manager.container_is_running(pod, "airflow-xcom-sidecar")
    assert cluster.watched == 0


# Where watching fails


@pytest.mark.parametrize("trouble", ["forbids_watching", "garbles_events"])
def test_where_it_cannot_watch_it_asks(httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch, trouble: str) -> None:
    cluster = Kubernetes(httpserver, 0)
    setattr(cluster, trouble, True)
    slept = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        assert len(slept) < 20, "it asks for ever"
        cluster.next_state()

    async def sleep_async(seconds: float) -> None:
        sleep(seconds)

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(asyncio, "sleep", sleep_async)
    assert execute(httpserver)[:2] == ["Reading", "Stored 12 launches"]
    assert slept
