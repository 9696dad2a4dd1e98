"""Helm by hand: the commands as docs/operating.md has them, from nothing to a green run."""

from collections.abc import Iterator

import pytest

from deploy.charts import RELEASES
from deploy.images import STAND_IN_IMAGE
from deploy.manifests import deploy_stand_ins
from deploy.programs import AIRFLOW, CLUSTER, WEBSITE, Failed, kubectl, run
from tests.e2e.cluster import documented, make, messages, secrets, served, show, stored

COMMANDS = documented("## With Helm yourself")


def bash(command: str) -> str:
    """Run a line as a person does, in a shell."""
    show(f"\n$ {command}\n")
    return run("bash", "-o", "pipefail", "-c", command)


@pytest.fixture(scope="module", autouse=True)
def by_hand(programs: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:  # noqa: ARG001  # PATH
    """Begin and end without a cluster."""
    assert make("down")[0] == 0
    with pytest.MonkeyPatch.context() as patch:
        # The user's own stays as it is: `kind create` makes its cluster the current one.
        patch.setenv("KUBECONFIG", str(tmp_path_factory.mktemp("by-hand") / "kubeconfig"))
        patch.setenv("STAND_INS", "yes")
        yield
        make("down")


def test_from_nothing_to_a_green_run() -> None:
    for command in COMMANDS:
        if command.startswith("make trigger"):
            deploy_stand_ins()
        output = bash(command)
        if command.startswith("kind create"):
            # Where no registry is reachable, Docker has them; elsewhere the cluster pulls them by itself.
            for image in (*(image for release in RELEASES.values() for image in release.images), STAND_IN_IMAGE):
                run("kind", "load", "docker-image", image, "--name", CLUSTER, check=False)
        if command.endswith("deploy secrets"):
            assert output == ""
    kubectl("rollout", "status", "deployment/website", "-n", WEBSITE, "--timeout=2m")
    assert stored() == served()
    assert len(messages()) == 2


def test_the_secrets_are_kept() -> None:
    before = secrets()
    bash(next(command for command in COMMANDS if command.endswith("deploy secrets")))
    assert secrets() == before


def test_a_values_file_alone_changes_nothing() -> None:
    """It was every pod with the chart's own image, without the DAG."""
    pods = kubectl("get", "pods", "-n", AIRFLOW, "-o", "name")
    with pytest.raises(Failed, match="deploy values airflow"):
        bash('helm upgrade airflow "$(python3 -m deploy chart airflow)" -n airflow --values helm/airflow.yaml')
    assert kubectl("get", "pods", "-n", AIRFLOW, "-o", "name") == pods
