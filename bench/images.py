"""What the task images add to the base that they share."""

import re
import subprocess
from collections.abc import Iterator

from bench.measure import ROOT, Measure
from deploy.images import build, references, steps
from deploy.programs import check_programs, run

MB = 1_000_000


def size(image: str) -> float:
    """Return an image's size in MB."""
    return int(run("docker", "image", "inspect", "--format", "{{.Size}}", image)) / MB


def together(*images: str) -> float:
    """Return the size in MB of what a node has to hold for some images: a layer that they share is there once."""
    with subprocess.Popen(["docker", "save", *images], stdout=subprocess.PIPE) as process:
        assert process.stdout
        total = 0
        while chunk := process.stdout.read(1 << 20):
            total += len(chunk)
    return total / MB


def measures(_rounds: int) -> Iterator[Measure]:
    """Measure the images as they are; their sizes do not vary."""
    check_programs("docker")
    for step in steps():
        build(step)
    variables = references()
    ours = {name.removeprefix("IMAGE_").lower(): image for name, image in variables.items() if name != "IMAGE_AIRFLOW"}
    base = re.findall(r"^FROM (\S+)$", (ROOT / "tasks" / "fetch" / "Dockerfile").read_text(), re.MULTILINE)[-1]
    dockerfile = f"FROM {base}\nRUN pip install --no-cache-dir requests psycopg2-binary\n"
    plain = run("docker", "build", "--quiet", "-", stdin=dockerfile).strip()
    against = f"requests and psycopg2: {size(plain) - size(base):.0f} MB"
    for task, image in ours.items():
        yield Measure(f"what the image of {task} adds", against, "≤ 25 MB", [size(image) - size(base)], unit=" MB")
    alone = sum(size(image) - size(base) for image in ours.values())
    added = together(base, *ours.values()) - together(base)
    yield Measure("… all of them on a node", f"each by itself: {alone:.0f} MB", "shared", [added], unit=" MB")
