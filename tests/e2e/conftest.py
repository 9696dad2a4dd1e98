"""The real cluster: what it takes to run these tests, and what is kept of a failure."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.charts import check_charts
from deploy.programs import CACHE, CONTEXT, Failed
from tests.e2e.cluster import make

ARTIFACTS = Path(__file__).parents[2] / "artifacts" / "e2e"


@pytest.fixture(scope="session")
def programs() -> None:
    """Find what `make offline` compiled, and skip where something is missing."""
    os.environ["PATH"] = f"{CACHE / 'bin'}{os.pathsep}{os.environ['PATH']}"
    missing = [name for name in ("docker", "kind", "helm", "kubectl", "make") if not shutil.which(name)]
    if missing or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        pytest.skip(f"not found: {', '.join(missing)}" if missing else "Docker does not answer")
    try:
        check_charts()
    except Failed as failure:
        pytest.skip(str(failure))
    shutil.rmtree(ARTIFACTS, ignore_errors=True)
    ARTIFACTS.mkdir(parents=True)


@pytest.fixture(scope="session")
def parts(programs: None) -> Iterator[str]:  # noqa: ARG001  # a fixture is its argument's name
    """A cluster from nothing, with the parts that WITH names; what was printed. KEEP_CLUSTER=yes takes one."""
    if os.environ.get("KEEP_CLUSTER"):
        yield ""
        return
    assert make("down")[0] == 0
    code, output = make("up", f"WITH={os.environ['WITH']}")
    assert code == 0
    yield output
    make("down")


def only_with(part: str, what: str) -> None:
    """Skip what needs a part that is there only if somebody wants it."""
    if part not in os.environ.get("WITH", "").split():
        pytest.skip(f"only with {what}: make e2e WITH={part}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:  # a failure: keep what a person would look at
    report = yield
    if report.failed and ARTIFACTS.exists():  # type: ignore[attr-defined]
        # Words of an error are no names.
        for namespace in re.findall(r"^namespace/(\S+)$", kubectl("get", "namespaces", "-o", "name"), re.MULTILINE):
            parts = [kubectl("get", "events", "-n", namespace, "--sort-by=.lastTimestamp")]
            parts.append(kubectl("describe", "pods,jobs,persistentvolumeclaims,quota", "-n", namespace))
            for pod in re.findall(r"^pod/\S+$", kubectl("get", "pods", "-n", namespace, "-o", "name"), re.MULTILINE):
                parts += [f"--- {pod}", kubectl("logs", pod, "-n", namespace, "--all-containers", "--prefix")]
            (ARTIFACTS / f"{item.name}-{namespace}.txt").write_text("\n".join(parts), encoding="utf-8")
    return report


def kubectl(*arguments: str) -> str:
    """Return what kubectl prints, errors too."""
    command = ["timeout", "60", "kubectl", "--context", CONTEXT, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stdout + result.stderr
