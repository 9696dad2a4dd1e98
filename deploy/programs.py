"""How kubectl, helm and the other programs are found and run, and what is shown of it."""

import contextlib
import fcntl
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path

ROOT = Path(__file__).parents[1]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rocket-launches"

CLUSTER = "rocket-launches"
KIND = f"kind-{CLUSTER}"  # the context that kind makes for it
CONTEXT = os.environ.get("KUBE_CONTEXT") or KIND
# Namespaces.
AIRFLOW, TASKS, OPERATOR, S3, WEBSITE = "airflow", "rocket-launches", "cnpg-system", "s3", "website"
KAFKA, SEARCH = "kafka", "search"
RUN_SECONDS = 1800  # no program takes this long, not even a build of the images on a slow line

# The oldest version that will do, the arguments that print the version, and where to get the program.
PROGRAMS = {
    "docker": ((20, 10), ("version", "--format", "{{.Server.Version}}"), "https://docs.docker.com/engine/install"),
    "kind": ((0, 30), ("version",), "https://kind.sigs.k8s.io/docs/user/quick-start/#installation"),
    "helm": ((4, 0), ("version", "--short"), "https://helm.sh/docs/intro/install"),
    "kubectl": ((1, 34), ("version", "--client"), "https://kubernetes.io/docs/tasks/tools"),
}
# How the phase that is running prints a line below its name; None outside a phase.
BELOW: ContextVar[Callable[[str], None] | None] = ContextVar("BELOW", default=None)


class Failed(Exception):  # noqa: N818  # it says what failed
    """What went wrong and what to do."""


def run(*command: str, stdin: str | None = None, check: bool = True, show: bool | str = False, cwd: Path = ROOT) -> str:
    """Run a program and return what it prints. Raises Failed with the last of what it said.

    `show` prints the command first, so that people learn it; a string is the command that writes `stdin`.
    """
    if show:
        show_command(f"{show} | {shlex.join(command)}" if isinstance(show, str) else shlex.join(command))
    try:
        result = subprocess.run(
            command, input=stdin, capture_output=True, text=True, check=False, cwd=cwd, timeout=RUN_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"{' '.join(command[:5])} has not ended after {RUN_SECONDS} s.") from None
    if check and result.returncode:
        words = (result.stderr.strip() or result.stdout.strip())[-3000:]
        raise Failed(f"{' '.join(command[:5])} failed: {words}")
    return result.stdout


def kubectl(*arguments: str, stdin: str | None = None, check: bool = True, show: bool | str = False) -> str:
    """Run kubectl with the chosen context."""
    return run("kubectl", "--context", CONTEXT, *arguments, stdin=stdin, check=check, show=show)


def helm(*arguments: str, stdin: str | None = None, show: bool | str = False) -> str:
    """Run helm with the chosen context."""
    return run("helm", "--kube-context", CONTEXT, *arguments, stdin=stdin, show=show)


def check_programs(*names: str) -> None:
    """Check that these programs are there and new enough. Raises Failed, which says where to get those that are not."""
    missing = []
    for name in names:
        least, arguments, where = PROGRAMS[name]
        said = run(name, *arguments, check=False) if shutil.which(name) else ""
        found = re.search(r"(\d+)\.(\d+)", said)
        if not found or (int(found[1]), int(found[2])) < least:
            is_there = f"found {found[0]}" if found else "does not answer" if shutil.which(name) else "not found"
            missing.append(f"  {name} {least[0]}.{least[1]} or newer ({is_there}): {where}")
    if missing:
        raise Failed("Missing:\n" + "\n".join(missing))


@contextlib.contextmanager
def forward(namespace: str, target: str, port: int) -> Iterator[str]:
    """Forward a free port of this machine to a service's, and yield its address: so it needs no port of the node."""
    command = ("kubectl", "--context", CONTEXT, "port-forward", "-n", namespace, target, f":{port}")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            said = process.stdout.readline() if process.stdout else ""  # which port, kubectl says first
            if not (found := re.search(r":(\d+) ->", said)):
                raise Failed(f"{target} in {namespace} cannot be reached: make status shows what runs.")
            yield f"http://127.0.0.1:{found[1]}"
        finally:
            process.terminate()


@contextlib.contextmanager
def lock() -> Iterator[None]:
    """Let one process at a time change a cluster. However it ends, the kernel frees the lock."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{urllib.parse.quote(CONTEXT, safe='')}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"Another make up, deploy or down works on {CONTEXT}: waiting for its end.", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def phase(name: str, *namespaces: str) -> Iterator[None]:
    """Print a phase's name, what is said in it, and its seconds; if it fails, the state of its namespaces."""
    said: list[str] = []

    def below(line: str) -> None:
        print("" if said else "\n", f"  {line}", sep="", flush=True)
        said.append(line)

    def again() -> str:
        return f"{name:<10}" if said else ""

    print(f"{name:<10}", end="", flush=True)
    started = time.monotonic()
    token = BELOW.set(below)
    try:
        yield
    except Failed:
        print(f"{again()}failed after {time.monotonic() - started:.0f} s", flush=True)
        for namespace in namespaces:
            diagnose(namespace)
        raise
    finally:
        BELOW.reset(token)
    print(f"{again()}{time.monotonic() - started:5.0f} s", flush=True)


def say(sentence: str) -> None:
    """Print a sentence; in a phase, below the phase's name."""
    if below := BELOW.get():
        below(sentence)
    else:
        print(sentence, flush=True)


def show_command(command: str) -> None:
    """Print a command that is run; outside a phase to standard error, since another program may read the output."""
    below = BELOW.get()
    is_terminal = (sys.stdout if below else sys.stderr).isatty()
    line = f"\033[2m$ {command}\033[0m" if is_terminal else f"$ {command}"  # dim
    if below:
        below(line)
    else:
        print(f"  {line}", file=sys.stderr, flush=True)


def diagnose(namespace: str) -> None:
    """Print what to look at next: the pods, the last lines of those that are not ready, and events."""
    print(f"\n--- pods in {namespace}\n{kubectl('get', 'pods', '-n', namespace, '-o', 'wide', check=False)}")
    pods = json.loads(kubectl("get", "pods", "-n", namespace, "-o", "json", check=False) or '{"items": []}')
    for pod in pods["items"]:
        states = pod["status"].get("initContainerStatuses", []) + pod["status"].get("containerStatuses", [])
        if pod["status"]["phase"] != "Succeeded" and not (states and all(state["ready"] for state in states)):
            name = pod["metadata"]["name"]
            words = kubectl("logs", "-n", namespace, name, "--all-containers", "--tail=15", check=False)
            print(f"--- last lines of {name}\n{words}")
    events = kubectl("get", "events", "-n", namespace, "--sort-by=.lastTimestamp", check=False).splitlines()
    print("\n".join([f"--- events in {namespace}", *events[:1], *events[1:][-15:]]), flush=True)


def one_line(text: str) -> str:
    """Make a text from outside one line, at most 200 characters that a terminal only prints."""
    return "".join(character for character in " ".join(text.split()) if character.isprintable())[:200]
