"""What the task images add to the base that they share."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from bench.measure import ROOT, CannotMeasure, Measure

TASKS = ("init_schema", "fetch", "notify")
MB = 1_000_000


def docker(*arguments: str, stdin: str | None = None) -> str:
    """Run docker and return what it prints."""
    done = subprocess.run(["docker", *arguments], input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotMeasure(f"docker {' '.join(arguments[:2])} failed: {done.stderr.strip()[-300:]}")
    return done.stdout.strip()


def size(image: str) -> float:
    """Return an image's size in MB."""
    return int(docker("image", "inspect", "--format", "{{.Size}}", image)) / MB


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
    subprocess.run([ROOT / "k8s" / "images", "build", "tasks"], capture_output=True, check=False)
    lines = subprocess.run([ROOT / "k8s" / "images"], capture_output=True, text=True, check=True).stdout.split()
    images = dict(line.split("=", 1) for line in lines)
    ours = [images[f"IMAGE_{task.upper()}"] for task in TASKS]
    base = re.findall(r"^FROM (\S+)$", Path(ROOT / "tasks" / "fetch" / "Dockerfile").read_text(), re.MULTILINE)[-1]
    plain = docker(
        "build", "--quiet", "-", stdin=f"FROM {base}\nRUN pip install --no-cache-dir requests psycopg2-binary\n"
    )
    against = f"requests and psycopg2: {size(plain) - size(base):.0f} MB"
    for task, image in zip(TASKS, ours, strict=True):
        yield Measure(f"what the image of {task} adds", against, "≤ 25 MB", [size(image) - size(base)], unit=" MB")
    alone = sum(size(image) - size(base) for image in ours)
    added = together(base, *ours) - together(base)
    yield Measure("… all three on a node", f"each by itself: {alone:.0f} MB", "shared", [added], unit=" MB")
