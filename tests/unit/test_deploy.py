"""`k8s/deploy.py` where there is no cluster yet."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from k8s import deploy
from tests.conftest import ROOT

Start = Callable[..., "subprocess.Popen[str]"]
WAITS = "Another make up, deploy or down works on {}: waiting for its end.\n"


def program(cache: Path, name: str, script: str) -> Path:
    """Make a program that is found before the real one, where `make offline` puts its own."""
    path = cache / "rocket-launches" / "bin" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A file that is there once `kind` runs, which takes a minute."""
    program(tmp_path, "docker", "true")
    return program(tmp_path, "kind", 'touch "$0.runs"; exec sleep 60').with_suffix(".runs")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start `k8s/deploy.py` with a cache folder of its own, and no cluster that it could know."""
    nothing = {"XDG_CACHE_HOME": str(tmp_path), "KUBECONFIG": str(tmp_path / "none"), "KUBE_CONTEXT": ""}
    started = []

    def start(*arguments: str, **env: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "k8s/deploy.py", *arguments],
            cwd=ROOT,
            env=os.environ | nothing | env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline, f"no {path}"
        time.sleep(0.05)


def test_two_do_not_change_a_cluster_at_once(runs: Path, start: Start) -> None:
    first = start("down")
    wait_for(runs)
    runs.unlink()
    second = start("down")
    assert second.stdout
    assert second.stdout.readline() == WAITS.format("kind-rocket-launches")
    time.sleep(0.5)
    assert not runs.exists()
    # However the first one ends; what it had started may go on.
    first.kill()
    wait_for(runs)


def test_what_does_not_change_that_cluster_does_not_wait(tmp_path: Path, runs: Path, start: Start) -> None:
    start("down")
    wait_for(runs)
    other = start("down", KUBE_CONTEXT="arn:aws:eks:eu-west-1:1:cluster/other")
    assert "make down deletes its own kind cluster only" in other.communicate(timeout=20)[1]
    program(tmp_path, "kubectl", 'if [ "$1" = version ]; then echo v1.35.4; fi')
    assert start("values", "operator").communicate(timeout=20) == ("{}\n", "")


def test_a_charts_path_is_all_that_is_printed(tmp_path: Path, start: Start) -> None:
    """Helm takes it from there, so that a warning must go elsewhere."""
    program(tmp_path, "helm", "echo v4.3.1")
    (tmp_path / "airflow").mkdir()
    (tmp_path / "airflow" / "Chart.yaml").touch()
    printed, said = start("chart", "airflow", CHARTS_DIR=str(tmp_path)).communicate(timeout=20)
    assert printed == f"{tmp_path / 'airflow'}\n"
    assert "is used as it is" in said


def test_what_the_node_has_is_not_loaded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = {"IMAGE_FETCH": "rocket-launches/fetch:0123456789ab"}
    node = [f"docker.io/{ours['IMAGE_FETCH']}", f"docker.io/library/{deploy.STAND_IN_IMAGE}", deploy.IMAGES[0]]
    loaded = []

    def run(*command: str, **_: object) -> str:
        if command[0] == "kind":
            loaded.append(command[3])
        return "\n".join(node) if command[0] == "docker" and "ctr" in command else "there"

    monkeypatch.setattr(deploy, "run", run)
    monkeypatch.setattr(deploy, "image_references", lambda: ours)
    monkeypatch.setenv("STAND_INS", "yes")
    monkeypatch.delenv("MONITORING", raising=False)
    assert deploy.load_images() == ours
    assert loaded == list(deploy.IMAGES[1:])
