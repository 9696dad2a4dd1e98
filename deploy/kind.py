"""Our own kind cluster: how it is made, and how it gets its images."""

import contextlib
import time

from deploy.charts import wanted
from deploy.images import STAND_IN_IMAGE, STATSD_EXPORTER, build, is_there, names, references
from deploy.programs import CLUSTER, KIND, Failed, kubectl, run
from deploy.settings import settings

NODE = f"{CLUSTER}-control-plane"


def make_cluster() -> None:
    """Make the cluster, or start the one that is there. A half-made one is replaced, but never one that holds data."""
    if CLUSTER in run("kind", "get", "clusters").split():
        run("docker", "start", NODE, check=False, show=True)
        if KIND not in run("kubectl", "config", "get-contexts", "-o", "name").split():
            run("kind", "export", "kubeconfig", "--name", CLUSTER, check=False, show=True)
        deadline = time.monotonic() + 120
        while KIND in run("kubectl", "config", "get-contexts", "-o", "name").split() and time.monotonic() < deadline:
            with contextlib.suppress(Failed):
                # The storage class is the last thing that kind makes.
                if kubectl("get", "storageclass", "-o", "name", "--request-timeout=5s"):
                    return
                break
            time.sleep(2)
        volumes = "echo volumes:; ls -A /var/local-path-provisioner 2>/dev/null || :"
        if run("docker", "exec", NODE, "sh", "-c", volumes, check=False).split() != ["volumes:"]:
            raise Failed(
                f"The cluster does not answer, and there may be data in it: see docker logs {NODE}. "
                "make down deletes it with its data."
            )
        run("kind", "delete", "cluster", "--name", CLUSTER, show=True)
    run("kind", "create", "cluster", "--config", "k8s/kind.yaml", "--wait", "120s", show=True)


def load_images() -> dict[str, str]:
    """Build our images and load them into the node, and those of others that Docker has here."""
    for name in names():
        build(name)
    ours, chosen = references(), settings()
    sometimes = {"STAND_INS": STAND_IN_IMAGE, "MONITORING": STATSD_EXPORTER}
    others = [image for release in wanted(chosen).values() for image in release.images]
    others += [image for setting, image in sometimes.items() if chosen.get(setting)]
    there = run("docker", "exec", NODE, "ctr", "--namespace", "k8s.io", "images", "list", "--quiet").split()
    for image in [*ours.values(), *filter(is_there, others)]:
        if full_name(image) not in there:
            # kind cannot load every image that Docker has pulled (kubernetes-sigs/kind#3795): the node then pulls it.
            load = ("kind", "load", "docker-image", image, "--name", CLUSTER)
            run(*load, check=image in ours.values(), show=True)
    return ours


def full_name(image: str) -> str:
    """Return an image's name as the node has it: Docker leaves out docker.io and docker.io/library."""
    host, slash, _ = image.partition("/")
    return image if slash and "." in host else f"docker.io/{image}" if slash else f"docker.io/library/{image}"
