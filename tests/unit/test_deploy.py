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

from tests.conftest import ROOT

Start = Callable[..., "subprocess.Popen[str]"]
WAITS = "Another make up, deploy or down works on {}: waiting for its end.\n"


@pytest.fixture
def kind(tmp_path: Path) -> Path:
    """A `kind` that takes a minute, where `make offline` puts the real one; a file beside it says that it runs."""
    folder = tmp_path / "rocket-launches" / "bin"
    folder.mkdir(parents=True)
    for name, script in {"kind": 'touch "$0.runs"; exec sleep 60', "docker": "true"}.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        (folder / name).chmod(0o755)
    return folder / "kind"


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
            stderr=subprocess.STDOUT,
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


def test_two_do_not_change_a_cluster_at_once(kind: Path, start: Start) -> None:
    runs = kind.with_suffix(".runs")
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


def test_another_cluster_does_not_wait(kind: Path, start: Start) -> None:
    start("down")
    wait_for(kind.with_suffix(".runs"))
    other = start("down", KUBE_CONTEXT="arn:aws:eks:eu-west-1:1:cluster/other")
    assert "make down deletes its own kind cluster only" in other.communicate(timeout=20)[0]
