"""The operator against an HTTP server that answers as Kubernetes does, and where nothing happens unless it is watched.

Whoever asks now and then, as the provider does, sleeps in between, which is an error here. So a newer provider that no
longer calls what is overridden fails these tests, where a user would only find it slow.
"""

import asyncio
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowSkipException
from kubernetes.client import ApiClient, Configuration, CoreV1Api
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from watching_pod_operator import WatchingPodOperator

LINES = ["2026-11-24T07:25:12.000000001Z Reading", "2026-11-24T07:25:13.000000001Z Stored 12 launches"]


class Kubernetes:
    """One pod, whose phase never becomes more than Running: the kubelet's next report would come a second later."""

    def __init__(self, server: HTTPServer, exit_code: int) -> None:
        self.pod: dict[str, Any] = {}
        self.states = iter(
            [
                ("Pending", {"waiting": {"reason": "ContainerCreating"}}),
                ("Running", {"running": {"startedAt": "2026-11-24T07:25:11Z"}}),
            ]
        )
        now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        terminated = {"exitCode": exit_code, "finishedAt": now, "message": "Stored nothing."}
        self.end = ("Running", {"terminated": terminated})
        self.watched = 0
        self.forbids_watching = False
        for path, answer in {
            "/api/v1/namespaces/tasks/pods": self.many,
            "/api/v1/namespaces/tasks/pods/step": self.one,
            "/api/v1/namespaces/tasks/pods/step/log": self.log,
            "/api/v1/namespaces/tasks/events": lambda _: self.json({"items": []}),
        }.items():
            server.expect_request(path).respond_with_handler(answer)

    def next_state(self) -> None:
        phase, state = next(self.states, self.end)
        status = {"name": "base", "image": "", "imageID": "", "ready": False, "restartCount": 0, "state": state}
        self.pod["status"] = {"phase": phase, "containerStatuses": [status]}

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
        yield json.dumps({"type": "ADDED", "object": self.pod}) + "\n"
        self.next_state()
        yield json.dumps({"type": "MODIFIED", "object": self.pod}) + "\n"

    def log(self, _request: Request) -> Response:
        state = self.pod["status"]["containerStatuses"][0]["state"]
        self.is_followed = "terminated" not in state
        return Response("\n".join(LINES) + "\n")

    def one(self, request: Request) -> Response:
        if request.method == "PATCH":
            self.pod["metadata"]["labels"] |= json.loads(request.data)["metadata"]["labels"]
        return self.json(self.pod)


class TaskInstance:
    dag_id, task_id, map_index, try_number = "download_rocket_launches", "step", -1, 1

    def xcom_push(self, key: str, value: object) -> None:
        pass


def execute(server: HTTPServer) -> list[str]:
    """Run the operator as a task would, and return the lines of the pod that it logs."""
    lines: list[str] = []

    def keep(_container: str, line: str) -> str:
        lines.append(line.strip())
        return line

    operator = WatchingPodOperator(
        task_id="step",
        name="step",
        namespace="tasks",
        image="rocket-launches/step:1",
        random_name_suffix=False,
        kubernetes_conn_id=None,
        on_finish_action="delete_active_pod",
        skip_on_exit_code=99,
        log_pod_spec_on_failure=False,
        log_formatter=keep,
    )
    operator.client = CoreV1Api(ApiClient(Configuration(host=server.url_for("/").rstrip("/"))))
    operator.hook = SimpleNamespace(is_in_cluster=True)  # whatever this machine's kubeconfig says
    operator.execute({"ti": TaskInstance(), "run_id": "manual", "dag": None})
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
    [(75, AirflowException, r"Stored nothing\."), (99, AirflowSkipException, "exit code 99")],
)
def test_how_the_container_ended_decides(
    httpserver: HTTPServer, exit_code: int, error: type[Exception], words: str
) -> None:
    Kubernetes(httpserver, exit_code)
    with pytest.raises(error, match=words):
        execute(httpserver)


def test_where_it_may_not_watch_it_asks(httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Kubernetes(httpserver, 0)
    cluster.forbids_watching = True
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
