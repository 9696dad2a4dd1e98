"""What the end-to-end tests do: run `make` as a person does, order the stand-ins about, see what is there."""

import itertools
import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deploy.airflow import DAG, Api
from deploy.pods import deployed_image, pod, wait_for
from deploy.programs import AIRFLOW, S3, TASKS, kubectl

ROOT = Path(__file__).parents[2]
STEPS = ("initialize_schema", "fetch_and_store_data", "notify_discord")
STAND_INS = {"STAND_INS": "yes"}
UPCOMING = "/2.3.0/launches/upcoming/"
NUMBERS = itertools.count(1)


def show(text: str) -> None:
    print(text, end="", flush=True)  # noqa: T201  # for the person who watches


def make(*arguments: str, cwd: Path = ROOT, stdin: str = "", seconds: float = 1500) -> tuple[int, str]:
    """Run `make` as a person does, show what it prints as it comes, and return its exit code and output."""
    show(f"\n$ make {' '.join(arguments)}\n")
    with subprocess.Popen(
        ["make", "--no-print-directory", *arguments],
        cwd=cwd,
        env={name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "WITH")} | STAND_INS,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdin
        assert process.stdout
        timer = threading.Timer(seconds, os.killpg, (process.pid, signal.SIGKILL))
        timer.start()
        try:
            process.stdin.write(stdin)
            process.stdin.close()
            output = ""
            for line in process.stdout:
                if not stdin:
                    show(line)
                output += line
            return process.wait(), output
        finally:
            timer.cancel()
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGINT)


def documented(after: str) -> list[str]:
    """Return the commands of the first console block after some words in docs/operating.md, without the prompt."""
    text = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8").partition(after)[2]
    block = text.partition("```console\n")[2].partition("```")[0].replace("\\\n", "")
    return [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ")]


def until(what: Callable[[], Any], seconds: float, sentence: str) -> Any:  # noqa: ANN401  # whatever it finds
    """Ask again every second until there is an answer."""
    deadline = time.monotonic() + seconds
    while not (answer := what()):
        assert time.monotonic() < deadline, sentence
        time.sleep(1)
    return answer


# The stand-ins


def stand_in(name: str, path: str = "/control", orders: dict[str, Any] | None = None) -> Any:  # noqa: ANN401  # any JSON
    """Ask a stand-in, or order something, from inside of its pod."""
    stdin = json.dumps(orders) if orders else ""
    # By its length (JSON is ASCII here), so that nothing waits for kubectl exec to pass on the end of the input.
    program = (
        f"import sys, urllib.request as u; body = sys.stdin.buffer.read({len(stdin)});"
        # As the steps call it: its launches link to pages of its own.
        f"print(u.urlopen(u.Request('http://localhost:8000{path}', body or None, {{'Host': '{name}.stand-ins'}},"
        " method='PUT' if body else 'GET'), timeout=30).read().decode())"
    )
    return json.loads(
        kubectl("exec", "-i", "-n", "stand-ins", f"deployment/{name}", "--", "python", "-c", program, stdin=stdin)
    )


def served() -> dict[str, tuple[str, str, str | None]]:
    """Return the launches that the Launch Library has now: name, time and image, by id."""
    launches = stand_in("launch-library", f"{UPCOMING}?limit=100")["results"]
    return {one["id"]: (one["name"], one["net"], (one["image"] or {}).get("image_url")) for one in launches}


# What is there


def query(statement: str) -> list[Any]:
    """Return the rows of a statement, by `make psql`."""
    code, output = make("psql", stdin=f"\\pset tuples_only\n\\pset format unaligned\n{wrapped(statement)}")
    assert code == 0
    return json.loads(output.splitlines()[-1])  # type: ignore[no-any-return]


def wrapped(statement: str) -> str:
    return f"SELECT coalesce(json_agg(row_to_json(found)), '[]')::jsonb FROM ({statement}) found;\n"


def stored() -> dict[str, tuple[str, str, str | None]]:
    """Return what the promised query gives, in the shape of `served`."""
    rows = query(
        "SELECT launch_id, name, image_url, to_char(net AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS net "
        "FROM (SELECT id, launch_id, name, net, image_url FROM rocket_launches) promised"
    )
    return {row["launch_id"]: (row["name"], row["net"], row["image_url"]) for row in rows}


def ids() -> dict[str, int]:
    return {row["launch_id"]: row["id"] for row in query("SELECT id, launch_id FROM rocket_launches")}


def messages() -> list[dict[str, Any]]:
    return stand_in("discord")["messages"]  # type: ignore[no-any-return]


def pods(task: str) -> list[dict[str, Any]]:
    """Return a task's pods, the newest last."""
    selector = f"dag_id={DAG},task_id={task}"
    found = kubectl("get", "pods", "-n", TASKS, "-l", selector, "--sort-by=.metadata.creationTimestamp", "-o", "json")
    return json.loads(found)["items"]  # type: ignore[no-any-return]


def log(task: str) -> str:
    """Return what a task's newest pod printed, without the times."""
    text = kubectl("logs", "-n", TASKS, pods(task)[-1]["metadata"]["name"])
    return re.sub(r"^\S+Z ", "", text, flags=re.MULTILINE).strip()


def newest_log(dag: str, which: int = -1) -> str:
    """Return what the only task of a DAG printed, in its newest run if no other is named."""
    found = kubectl(
        *("get", "pods", "-n", TASKS, "-l", f"dag_id={dag}", "--sort-by=.metadata.creationTimestamp", "-o", "name")
    )
    return kubectl("logs", "-n", TASKS, found.split()[which])


def ended(call: Api, dag: str, count: int) -> list[str]:
    """Wait until so many runs of a DAG are there and have ended; return their states."""

    def states() -> list[str]:
        found = call("GET", f"/api/v2/dags/{dag}/dagRuns?order_by=id")["dag_runs"]
        runs = [run["state"] for run in found]
        return runs if len(runs) >= count and {*runs} <= {"success", "failed"} else []

    return until(states, 180, f"a run of {dag} has not ended")  # type: ignore[no-any-return]


def run_pod(step: str, program: str, *arguments: str, login: str, label: str) -> str:
    """Run a program in a pod of a step's image, with a login and a label `egress`; return what it prints."""
    container = {"command": ["python", "-c", program, *arguments]}
    secrets: list[dict[str, object]] = [{"name": login}]
    name = f"{step}-{next(NUMBERS)}"  # one that is deleted stays for a while
    image = deployed_image(f"IMAGE_{step.upper()}")
    manifest = pod(name, image, container, secrets=secrets, labels={"egress": label}, seconds=120)
    kubectl("create", "-f", "-", stdin=json.dumps(manifest))
    try:
        code = wait_for(name, 120)
        said = kubectl("logs", name, "-n", TASKS)
        assert code == 0, said
        return said
    finally:
        kubectl("delete", "pod", name, "-n", TASKS, "--wait=false")


def runs(call: Api) -> list[str]:
    """Return the ids of all runs, the newest last."""
    return [found["dag_run_id"] for found in call("GET", f"/api/v2/dags/{DAG}/dagRuns?order_by=id")["dag_runs"]]


def secrets() -> dict[str, str]:
    """Return each Secret's values, but for Helm's, which are a release's history."""
    found: dict[str, str] = {}
    for namespace in (AIRFLOW, TASKS, S3):
        for item in json.loads(kubectl("get", "secrets", "-n", namespace, "-o", "json"))["items"]:
            if item["type"] != "helm.sh/release.v1":
                found[f"{namespace}/{item['metadata']['name']}"] = json.dumps(item["data"], sort_keys=True)
    return found
