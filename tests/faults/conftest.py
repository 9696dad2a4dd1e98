"""What the fault tests need: a seed for what is random, and for some a cluster, with the stand-ins, from nothing."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.e2e.cluster import ROOT, make, show
from tests.e2e.conftest import programs, pytest_runtest_makereport

__all__ = ["programs", "pytest_runtest_makereport"]

# Where `make up` is killed, and after how many seconds: in the middle of what the phase does.
INTERRUPTED = {"cluster": 8, "images": 2, "operator": 2, "database": 5, "airflow": 10}


@pytest.fixture(scope="session")
def seed() -> str:
    """What is random comes from it: `make faults SEED=…` does the same again."""
    return os.environ.get("SEED") or str(random.SystemRandom().randrange(10**6))


@pytest.fixture
def rng(seed: str, request: pytest.FixtureRequest) -> random.Random:
    """The test's own, so that it does the same alone as after others."""
    name = request.node.name
    print(f"\n{name}: SEED={seed}")
    return random.Random(f"{seed} {name}")


@pytest.fixture(scope="session")
def cluster(programs: None) -> Iterator[None]:  # noqa: ARG001  # a fixture is its argument's name
    """Make a new cluster by a `make up` that is killed in every phase, and delete it afterwards.

    KEEP_CLUSTER=yes takes the one that is there, for whoever works on a test.
    """
    if os.environ.get("KEEP_CLUSTER"):
        yield
        return
    assert make("down")[0] == 0
    for phase, seconds in INTERRUPTED.items():
        kill_up_in(phase, seconds)
    assert make("up")[0] == 0
    yield
    make("down")


def kill_up_in(phase: str, seconds: float) -> None:
    """Start `make up`, and kill it and all that it runs some seconds after the beginning of a phase."""
    show(f"\n$ make up, killed {seconds} s after the beginning of: {phase}\n")
    command = ["make", "--no-print-directory", "up"]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"STAND_INS": "yes"},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout
        seen = ""
        while f"\n{phase} " not in f"\n{seen}":
            character = process.stdout.read(1)
            assert character, f"make up has ended before {phase}: {seen}"
            seen += character
        time.sleep(seconds)
        assert process.poll() is None, f"{phase} takes less than {seconds} s"
        os.killpg(process.pid, signal.SIGKILL)
