"""`make deploy` on a cluster that is none of ours: it has no port for the UI, and its nodes pull from a registry."""

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.charts import RELEASES
from deploy.images import STAND_IN_IMAGE
from deploy.programs import AIRFLOW, OPERATOR, S3, TASKS, kubectl, run
from tests.e2e.cluster import ROOT, STEPS, documented, ids, make, messages, pods, served, stored, until

ELSEWHERE = "elsewhere"
CONTEXT = f"kind-{ELSEWHERE}"
OWN_REGISTRY = f"{ELSEWHERE}-registry"
REGISTRY = "localhost:5001"
REGISTRY_IMAGE = "registry:3.0.0"
# The registry's only user, as `htpasswd -nbB pilot countdown` writes it.
USER, PASSWORD = "pilot", "countdown"
HTPASSWD = "pilot:$2y$05$KZAiFu1JoK5ZHgZ1Rr2Pmu8hHyby5fxIUnX2hj4d7gH.qS2EY5rDO"
# As kind's own documentation has it: where the nodes find the registry.
KIND = """
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
nodes: [{ role: control-plane, image: IMAGE }]
containerdConfigPatches:
  - |-
    [plugins."io.containerd.cri.v1.images".registry]
      config_path = "/etc/containerd/certs.d"
"""
IMAGE_REGISTRY = f"{REGISTRY}/team"


def forget() -> None:
    """Remove the cluster and its registry, where there are any."""
    run("kind", "delete", "cluster", "--name", ELSEWHERE, check=False)
    run("docker", "rm", "--force", "--volumes", OWN_REGISTRY, check=False)


@pytest.fixture(scope="module", autouse=True)
def elsewhere(programs: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:  # noqa: ARG001  # PATH
    """Make a registry that wants a login, and a cluster; forget both afterwards."""
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "htpasswd").write_text(HTPASSWD + "\n", encoding="utf-8")
    # Docker looks for BuildKit there, if it is no package's.
    plugins = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "cli-plugins"
    if plugins.is_dir():
        (folder / "cli-plugins").symlink_to(plugins)
    node_image = re.search(r"kindest/node:\S+", (ROOT / "k8s" / "kind.yaml").read_text(encoding="utf-8"))
    assert node_image
    with pytest.MonkeyPatch.context() as patch:
        # The user's own files stay as they are.
        patch.setenv("KUBECONFIG", str(folder / "kubeconfig"))
        patch.setenv("DOCKER_CONFIG", str(folder))
        patch.setenv("KUBE_CONTEXT", CONTEXT)
        patch.setattr("deploy.programs.CONTEXT", CONTEXT)
        forget()  # what a run that was killed has left
        try:
            config = KIND.replace("IMAGE", node_image[0])
            run("kind", "create", "cluster", "--name", ELSEWHERE, "--config", "-", "--wait", "120s", stdin=config)
            authentication = {"": "htpasswd", "_HTPASSWD_REALM": "test", "_HTPASSWD_PATH": "/htpasswd"}
            run(
                *("docker", "run", "--detach", "--name", OWN_REGISTRY, "--network", "kind"),
                *("--publish", "127.0.0.1:5001:5000"),
                *(f"--env=REGISTRY_AUTH{key}={value}" for key, value in authentication.items()),
                *("--volume", f"{folder}/htpasswd:/htpasswd:ro", REGISTRY_IMAGE),
            )
            hosts = f"/etc/containerd/certs.d/{REGISTRY}"
            command = f"mkdir -p {hosts} && cat >{hosts}/hosts.toml"
            node = f"{ELSEWHERE}-control-plane"
            run("docker", "exec", "-i", node, "sh", "-c", command, stdin=f'[host."http://{OWN_REGISTRY}:5000"]\n')
            # Two cores are few for what production asks for.
            kubectl("scale", "deployment/coredns", "-n", "kube-system", "--replicas=1")
            # Where no registry is reachable, Docker has them; elsewhere the cluster pulls them by itself.
            for image in (*(image for release in RELEASES.values() for image in release.images), STAND_IN_IMAGE):
                run("kind", "load", "docker-image", image, "--name", ELSEWHERE, check=False)
            yield
        finally:
            forget()
            if not run("docker", "ps", "-aq", "--filter", "network=kind"):
                run("docker", "network", "rm", "kind", check=False)


def test_deploy_as_documented() -> None:
    login = ("docker", "login", REGISTRY, "--username", USER, "--password-stdin")
    until(lambda: not subprocess.run(login, input=PASSWORD, text=True, check=False).returncode, 30, "no registry")
    # A registry that wants a login: the namespaces, and in each the Secret.
    for command in documented("need a login to the registry"):
        given = command.replace("registry.example.org", REGISTRY).replace("USER", USER).replace("PASSWORD", PASSWORD)
        run("bash", "-c", given.replace("CONTEXT", CONTEXT))

    code, output = make("deploy", f"KUBE_CONTEXT={CONTEXT}", f"IMAGE_REGISTRY={IMAGE_REGISTRY}")
    assert code == 0
    assert f"kubectl --context {CONTEXT} port-forward -n {AIRFLOW} service/airflow-api-server 8080" in output
    assert stored() == served()
    assert len(messages()) == 2


def test_the_images_came_from_the_registry() -> None:
    for step in STEPS:
        [status] = pods(step)[-1]["status"]["containerStatuses"]
        assert status["image"].startswith(f"{IMAGE_REGISTRY}/rocket-launches/")
    scheduler = json.loads(kubectl("get", "pod", "airflow-scheduler-0", "-n", AIRFLOW, "-o", "json"))
    assert scheduler["spec"]["containers"][0]["image"].startswith(f"{IMAGE_REGISTRY}/rocket-launches/airflow:")


def test_production_has_three_instances_and_no_node_port() -> None:
    cluster = json.loads(kubectl("get", "cluster", "postgres", "-n", AIRFLOW, "-o", "json"))
    assert cluster["status"]["readyInstances"] == 3
    assert (
        kubectl("get", "service", "-n", AIRFLOW, "-o", "jsonpath={.items[*].spec.type}").split().count("NodePort") == 0
    )
    assert "postgres-primary" in kubectl("get", "poddisruptionbudgets", "-n", AIRFLOW, "-o", "name")


def test_again_it_upgrades_and_keeps_everything() -> None:
    before, numbers = stored(), ids()
    started = time.monotonic()
    assert make("deploy", f"KUBE_CONTEXT={CONTEXT}", f"IMAGE_REGISTRY={IMAGE_REGISTRY}")[0] == 0
    assert time.monotonic() - started < 300
    assert (stored(), ids()) == (before, numbers)
    assert len(messages()) == 2


def test_the_nightly_backup_can_be_restored() -> None:
    before = stored()
    run("kubectl", "--context", CONTEXT, "create", "job", "backup-now", "--from=cronjob/backup", "-n", AIRFLOW)
    kubectl("wait", "job/backup-now", "-n", AIRFLOW, "--for=condition=Complete", "--timeout=2m")
    [name] = re.findall(r"launches-\w+\.dump", kubectl("logs", "job/backup-now", "-n", AIRFLOW))
    assert (
        make("psql", stdin="DELETE FROM launch_changes; DELETE FROM notifications; DELETE FROM rocket_launches;")[0]
        == 0
    )
    assert stored() == {}
    assert make("restore", f"FILE={name}")[0] == 0
    assert stored() == before
    # The grants are back, too, and the launch's message is known.
    assert make("trigger")[0] == 0
    assert len(messages()) == 2


def test_uninstall_as_documented() -> None:
    for command in documented("## Uninstall"):
        run("bash", "-c", command.replace("CONTEXT", CONTEXT))
    left = kubectl("get", "namespaces", "-o", "name")
    for namespace in (AIRFLOW, TASKS, OPERATOR, S3):
        assert f"namespace/{namespace}\n" not in left
    assert "cnpg.io" not in kubectl("get", "crd", "-o", "name")
