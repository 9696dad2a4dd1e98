"""The programs that do the work, such as kubectl and helm: how they are found and run, and what a person sees of it."""

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
from typing import TextIO

ROOT = Path(__file__).parents[1]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rocket-launches"

CLUSTER = "rocket-launches"
KIND = f"kind-{CLUSTER}"  # the context that kind makes for it
CONTEXT = os.environ.get("KUBE_CONTEXT") or KIND
AIRFLOW, TASKS, OPERATOR = "airflow", "rocket-launches", "cnpg-system"  # namespaces
RUN_SECONDS = 1800  # no program takes as long, not even the images' build on a slow line

# In which version at least, what says it, and how to get it.
PROGRAMS = {
    "docker": ((20, 10), ("version", "--format", "{{.Server.Version}}"), "https://docs.docker.com/engine/install"),
    "kind": ((0, 30), ("version",), "https://kind.sigs.k8s.io/docs/user/quick-start/#installation"),
    "helm": ((4, 0), ("version", "--short"), "https://helm.sh/docs/intro/install"),
    "kubectl": ((1, 34), ("version", "--client"), "https://kubernetes.io/docs/tasks/tools"),
}
# How the phase that is running prints a line below its name; None outside of a phase.
BELOW: ContextVar[Callable[[str], None] | None] = ContextVar("BELOW", default=None)


class Failed(Exception):  # noqa: N818  # it says what failed
    """What went wrong and what to do."""


def run(*command: str, stdin: str | None = None, check: bool = True, show: bool | str = False, cwd: Path = ROOT) -> str:
    """Run a program and return what it prints. Raises Failed with its last words.

    `show` prints the command first, for a person to learn it; a string is the command that writes `stdin`.
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
    """Run kubectl on the cluster that is meant."""
    return run("kubectl", "--context", CONTEXT, *arguments, stdin=stdin, check=check, show=show)


def helm(*arguments: str, stdin: str | None = None, show: bool | str = False) -> str:
    """Run helm on the cluster that is meant."""
    return run("helm", "--kube-context", CONTEXT, *arguments, stdin=stdin, show=show)


def check_programs(*names: str) -> None:
    """Find programs in a version that will do. Raises Failed with how to get what is missing."""
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
def lock() -> Iterator[None]:
    """Change a cluster one at a time. However the holder ends, the kernel frees the lock."""
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
    """Show a phase, what is said in it, and its seconds; if it fails, show the state of what it was about."""
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
    """Print a sentence, in a phase below its name."""
    if below := BELOW.get():
        below(sentence)
    else:
        print(sentence, flush=True)


def show_command(command: str) -> None:
    """Print a command that is run; outside of a phase to standard error, as the output may be for another program."""
    below = BELOW.get()
    command = dim(f"$ {command}", sys.stdout if below else sys.stderr)
    if below:
        below(command)
    else:
        print(f"  {command}", file=sys.stderr, flush=True)


def dim(text: str, stream: TextIO) -> str:
    """Return a text that stands back on a terminal."""
    return f"\033[2m{text}\033[0m" if stream.isatty() else text


def diagnose(namespace: str) -> None:
    """Print what a person would look at next: pods, their last words where they are not well, events."""
    print(f"\n--- pods in {namespace}\n{kubectl('get', 'pods', '-n', namespace, '-o', 'wide', check=False)}")
    pods = json.loads(kubectl("get", "pods", "-n", namespace, "-o", "json", check=False) or '{"items": []}')
    for pod in pods["items"]:
        states = pod["status"].get("initContainerStatuses", []) + pod["status"].get("containerStatuses", [])
        if pod["status"]["phase"] != "Succeeded" and not (states and all(state["ready"] for state in states)):
            name = pod["metadata"]["name"]
            words = kubectl("logs", "-n", namespace, name, "--all-containers", "--tail=15", check=False)
            print(f"--- last words of {name}\n{words}")
    events = kubectl("get", "events", "-n", namespace, "--sort-by=.lastTimestamp", check=False).splitlines()
    print("\n".join([f"--- events in {namespace}", *events[:1], *events[1:][-15:]]), flush=True)


def one_line(text: str) -> str:
    """Make other people's text one line of no more than 200 characters that does nothing to a terminal."""
    return "".join(character for character in " ".join(text.split()) if character.isprintable())[:200]
