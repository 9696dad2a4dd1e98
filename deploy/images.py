"""The images of this project: their names and tags, what goes into them, how they are built and pushed.

An image's tag is a hash of the files that go into it, so the same tag is always the same image.
"""

import argparse
import hashlib
import os
import re
import time
from pathlib import Path

from deploy.programs import ROOT, Failed, check_programs, run

# Images of others that are needed only with a setting.
STAND_IN_IMAGE = "python:3.13-slim-trixie"  # the base of the steps' images, so it is at hand
STATSD_EXPORTER = "quay.io/prometheus/statsd-exporter:v0.30.0"  # what Airflow's chart adds with MONITORING
AIRFLOW_IMAGE = "airflow"  # Airflow with the DAG; every other name is that of a step


def steps() -> list[str]:
    """Return the steps: the folders in tasks/ that have a Dockerfile."""
    return sorted(path.parent.name for path in ROOT.glob("tasks/*/Dockerfile"))


def names() -> list[str]:
    """Return the names of all our images."""
    return [*steps(), AIRFLOW_IMAGE]


def context(name: str) -> str:
    """Return the build context of an image, a folder."""
    return "dags" if name == AIRFLOW_IMAGE else "tasks"


def dockerfile(name: str) -> str:
    """Return where an image's Dockerfile is."""
    return "dags/Dockerfile" if name == AIRFLOW_IMAGE else f"tasks/{name}/Dockerfile"


def files(name: str) -> list[Path]:
    """Return the files that go into an image; no others change its tag. Raises Failed if a part is missing."""
    parts = [".dockerignore", "*.py", f"{name}/Dockerfile", f"{name}/requirements.txt", f"{name}/**/*.py"]
    parts += [f"{name}/{folder}/*" for folder in ("templates", "static") if (ROOT / "tasks" / name / folder).is_dir()]
    if name == AIRFLOW_IMAGE:
        parts = [".dockerignore", "Dockerfile", "requirements.txt", ".airflowignore", "*.py"]
    found = []
    for part in parts:
        paths = [path for path in (ROOT / context(name)).glob(part) if path.is_file()]
        if not paths:
            raise Failed(f"{ROOT / context(name) / part} is missing: the image {name} is made of it.")
        found += [path for path in paths if "__pycache__" not in path.parts]
    return found


def reference(name: str) -> str:
    """Return an image's name and tag, with IMAGE_REGISTRY in front if that is set."""
    hashes = {path.relative_to(ROOT / context(name)).as_posix(): digest(path.read_bytes()) for path in files(name)}
    tag = digest("".join(f"{hashes[path]}  {path}\n" for path in sorted(hashes)).encode())[:12]
    registry = os.environ.get("IMAGE_REGISTRY")
    return f"{f'{registry}/' if registry else ''}rocket-launches/{name.replace('_', '-')}:{tag}"


def digest(content: bytes) -> str:
    """Return the SHA-256 of some bytes."""
    return hashlib.sha256(content).hexdigest()


def references() -> dict[str, str]:
    """Return our images by the names of the environment variables that the DAG reads."""
    return {f"IMAGE_{name.upper()}": reference(name) for name in names()}


def is_there(image: str) -> bool:
    """Return whether this machine's Docker has an image."""
    return bool(run("docker", "images", "--quiet", image, check=False))


def build(name: str) -> str:
    """Build an image, unless it is there; return a line about it."""
    image, started, outcome = reference(name), time.monotonic(), "there"
    if not is_there(image):
        pull_base(name)
        run("docker", "build", "--tag", image, "--file", dockerfile(name), context(name), show=True)
        outcome = f"built in {time.monotonic() - started:.0f} s"
    size = int(run("docker", "image", "inspect", "--format", "{{.Size}}", image))
    return f"{image}, {size // 1_000_000} MB, {outcome}"


def pull_base(name: str) -> None:
    """Pull the base image of an image, unless it is there."""
    [base, *_] = re.findall(r"^FROM (\S+)", (ROOT / dockerfile(name)).read_text(encoding="utf-8"), re.MULTILINE)
    if not is_there(base):
        try:
            run("docker", "pull", base, show=True)
        except Failed as failure:
            raise Failed(
                f"{failure}\n"
                f"{base} cannot be pulled. Where no registry is reachable, build a stand-in: k8s/offline/build"
            ) from None


def push(name: str) -> None:
    """Push an image to IMAGE_REGISTRY."""
    if not os.environ.get("IMAGE_REGISTRY"):
        raise Failed("IMAGE_REGISTRY is not set: say where the images go, such as registry.example.org/me")
    run("docker", "push", "--quiet", reference(name), show=True)


def images(arguments: argparse.Namespace) -> None:
    """Print the images' names and tags as lines for an environment file; build those that are missing; push them."""
    if not arguments.action:
        for variable, image in references().items():
            print(f"{variable}={image}")
        return
    check_programs("docker")
    for name in steps() if arguments.only else names():
        if arguments.action == "build":
            print(build(name), flush=True)
        else:
            push(name)
