"""`make status`, `make logs` and others on a cluster whose kubectl, helm and Airflow API are stand-ins.

PostgreSQL is real. What Airflow's API answers was taken from Airflow 3.3.2, cut to what is used.
"""

import argparse
import base64
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from deploy import channels, pods, search
from deploy.airflow import DAG as DAG_ID
from deploy.airflow import trigger_and_wait
from deploy.programs import TASKS as TASKS_NAMESPACE
from deploy.programs import Failed, phase
from tests.conftest import ROOT, Database

DAG = f"/api/v2/dags/{DAG_ID}"
TASKS = ("initialize_schema", "fetch_and_store_data", "notify_discord")
NOW = datetime.now(UTC)  # each test sets it, see cluster()
# Stands in for kubectl and helm: answers as told, runs what `exec` is given, and forwards to a port that is there.
PROGRAM = f"""#!{sys.executable} -IS
import json, os, sys, time
told = json.loads(open(os.environ["TOLD"]).read())
arguments = " ".join(sys.argv[1:])
if " exec " in arguments and told["environment"]:
    os.execvpe("env", sys.argv[sys.argv.index("--") + 1:], os.environ | told["environment"])
if " port-forward " in arguments and told["port"]:
    print(f"Forwarding from 127.0.0.1:{{told['port']}} -> 8080", flush=True)
    time.sleep(60)
for words, answer in told["answers"].items():
    if words in arguments:
        print(answer, end="")
        sys.exit()
for words, error in told["errors"].items():
    if words in arguments:
        sys.exit(error)
sys.exit("error: no answer to " + arguments)
"""


def iso(**before: float) -> str:
    return f"{NOW - timedelta(**before):%Y-%m-%dT%H:%M:%SZ}"


def shown(**before: float) -> str:
    return f"{NOW - timedelta(**before):%Y-%m-%d %H:%M} UTC"


class Airflow:
    """Airflow's API: one run at a time; ours succeeds when it is looked at, manual__other at the third look."""

    def __init__(self) -> None:
        self.dag: dict[str, Any] = {
            "dag_id": DAG_ID,
            "is_paused": False,
            "is_stale": False,
            "has_import_errors": False,
            "next_dagrun_run_after": None,
        }
        self.scheduler: dict[str, str | None] = {"status": "healthy", "latest_scheduler_heartbeat": iso(seconds=3)}
        self.runs: list[dict[str, Any]] = []
        self.looks_at_other = 0

    def schedule(self, *runs_ago: float, next_in: float) -> None:
        """Let scheduled runs have been due these hours ago, and the next one be due in some."""
        self.dag["next_dagrun_run_after"] = iso(hours=-next_in)
        for hours in runs_ago:
            self.add(f"scheduled__{iso(hours=hours)}", "success", run_type="scheduled", run_after=iso(hours=hours))

    def add(self, run_id: str, state: str, *, tasks: dict[str, str] | None = None, **facts: str) -> dict[str, Any]:
        states = dict.fromkeys(TASKS, "success")
        run = {"dag_run_id": run_id, "run_type": "manual", "state": state, "run_after": iso(), **facts}
        self.runs.append(run | {"tasks": states | (tasks or {})})
        return self.runs[-1]

    def serve(self, server: HTTPServer) -> None:
        server.expect_request("/auth/token", method="POST").respond_with_json({"access_token": "token"}, 201)
        headers = {"Authorization": "Bearer token"}
        answers: dict[str | re.Pattern[str], Callable[[Request], object]] = {
            "/api/v2/monitor/health": lambda _: {"scheduler": self.scheduler},
            DAG: lambda _: self.dag,
            f"{DAG}/dagRuns": self.list_or_start_runs,
            re.compile(f"{DAG}/dagRuns/[^/]+$"): self.look_at_run_or_end_it,
            re.compile(f"{DAG}/dagRuns/[^/]+/taskInstances"): self.list_tasks,
        }
        for path, answer in answers.items():
            server.expect_request(path, headers=headers).respond_with_handler(as_json(answer))

    def list_or_start_runs(self, request: Request) -> dict[str, Any]:
        if request.method == "POST":
            return self.add("manual__ours", "queued")
        return {"dag_runs": self.found(self.runs, request)}

    def look_at_run_or_end_it(self, request: Request) -> dict[str, Any]:
        [run] = [run for run in self.runs if request.path.endswith(run["dag_run_id"])]
        if request.method == "PATCH":
            run["state"] = json.loads(request.data)["state"]
        elif run["state"] == "running":
            run["state"] = "success"
        elif not any(other["state"] == "running" for other in self.runs):
            run["state"] = "running"
            return run | {"state": "queued"}  # which it was a moment ago
        return run

    def list_tasks(self, request: Request) -> dict[str, Any]:
        tasks = [
            {
                "task_id": task,
                "state": state,
                "duration": 1.5,
                "start_date": None if state == "none" else iso(seconds=60 - TASKS.index(task)),
                "end_date": iso(minutes=20),
                "run_after": run["run_after"],
            }
            for run in self.runs
            if f"/{run['dag_run_id']}/" in request.path or "/~/" in request.path
            for task, state in reversed(run["tasks"].items())  # the API has an order of its own
        ]
        if "/manual__other/" in request.path:
            self.looks_at_other += 1
            if self.looks_at_other == 3:
                self.runs[0]["state"] = "success"
        return {"task_instances": self.found(tasks, request)}

    @staticmethod
    def found(rows: list[dict[str, Any]], request: Request) -> list[dict[str, Any]]:
        """Filter, sort and cut as the API does."""
        wanted = request.args.to_dict(flat=False)
        for name in wanted.keys() & {"state", "run_type", "task_id"}:
            rows = [row for row in rows if row[name] in wanted[name]]
        if "run_after_lt" in wanted:
            rows = [row for row in rows if row["run_after"] < wanted["run_after_lt"][0]]
        if "order_by" in wanted:
            rows = sorted(rows, key=lambda row: row["run_after"], reverse=wanted["order_by"][0].startswith("-"))
        return rows[: int(request.args.get("limit", 50))]


def as_json(answer: Callable[[Request], object]) -> Callable[[Request], Response]:
    return lambda request: Response(json.dumps(answer(request)), mimetype="application/json")


def a_secret(**values: str) -> str:
    return json.dumps({"data": {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}})


class Cluster:
    """What the commands find; `run` runs one of them in an empty folder."""

    def __init__(self, folder: Path, database: Database, port: int) -> None:
        self.folder, self.database, self.airflow = folder / "here", database, Airflow()
        self.folder.mkdir()
        server = database.server
        environment = {"PGHOST": str(server._data), "PGPORT": str(server.port), "PGUSER": "postgres"}
        environment["PATH"] = f"{server._server.bin_path}{os.pathsep}{os.environ['PATH']}"
        self.told: dict[str, Any] = {
            "port": port,
            "environment": environment,
            "answers": {
                "get secret airflow-admin": a_secret(username="admin", password="invented"),
                "get secret database-init-schema": a_secret(username="rocket", dbname=database.name),
                "get pods -n airflow -l cnpg.io/cluster": "pod/postgres-1\n",
                "get cronjob backup": "",
                "list --all-namespaces": "NAME NAMESPACE\nairflow airflow\n",
                **{
                    f"get pods -n {namespace}": f"the pods of {namespace}\n"
                    for namespace in ("airflow", "cnpg-system", "s3")
                },
                f"get pods -n {TASKS_NAMESPACE}": f"the pods of {TASKS_NAMESPACE}\n",
            },
            "errors": {},
        }
        programs = folder / "bin"
        programs.mkdir()
        for name in ("kubectl", "helm"):
            (programs / name).write_text(PROGRAM)
            (programs / name).chmod(0o700)
        self.environment = {
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "XDG_CACHE_HOME": str(folder),  # or the real programs there would come first
            "PYTHONPATH": str(ROOT),
            "TOLD": str(folder / "told.json"),
        }

    def tell(self) -> None:
        Path(self.environment["TOLD"]).write_text(json.dumps(self.told))

    def run(self, *arguments: str) -> tuple[int, str, str]:
        self.tell()
        done = subprocess.run(
            [sys.executable, "-m", "deploy", *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    def status(self) -> dict[str, str]:
        """Return the first lines by their names, and see that all else fits them."""
        code, output, error = self.run("status")
        first, _, rest = output.partition("\n\n")
        lines = {line[:20].rstrip(): line[20:] for line in first.splitlines()}
        names = ["last good fetch", "last message", "newest backup", "next scheduled run"]
        assert list(lines)[:4] == names
        alerts = [name for name, line in lines.items() if line.startswith("ALERT: ")]
        assert code == bool(alerts)
        assert error == (f"\nALERT: {', '.join(alerts)}: the first lines of make status say more.\n" if alerts else "")
        assert "ALERT" not in rest
        assert "airflow airflow\n" in rest
        for namespace in ("cnpg-system", "airflow", "s3", TASKS_NAMESPACE):
            assert f"\n{namespace}:\nthe pods of {namespace}\n" in rest
        return lines

    def fetched(self, *, error: str | None = None, **before: float) -> None:
        statement = "INSERT INTO fetches (requested_at, url, status, error) VALUES (%s, 'https://api', 200, %s)"
        self.database.query(statement, iso(**before), error)

    def notified(self, **times: str) -> None:
        self.database.query(
            "INSERT INTO rocket_launches (launch_id, name, details) VALUES ('a', 'A', '{}') ON CONFLICT DO NOTHING"
        )
        self.database.query(
            "INSERT INTO notifications (launch_id, channel, kind, facts, attempted_at, posted_at, edited_at) "
            "VALUES ('a', (SELECT count(*) FROM notifications), 'announced', '{}', %s, %s, %s)",
            *(times.get(name) for name in ("attempted_at", "posted_at", "edited_at")),
        )


@pytest.fixture
def cluster(tmp_path: Path, database: Database, httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setattr(sys.modules[__name__], "NOW", datetime.now(UTC))
    made = Cluster(tmp_path, database, httpserver.port)
    made.airflow.serve(httpserver)
    return made


# make status


def test_all_is_well(cluster: Cluster) -> None:
    cluster.fetched(minutes=12)
    cluster.fetched(hours=30)
    cluster.notified(posted_at=iso(days=3), edited_at=iso(hours=5))
    cluster.notified(posted_at=iso(days=4))
    (cluster.folder / f"launches-{NOW - timedelta(days=3):%Y%m%dT%H%M%SZ}.dump").touch()
    (cluster.folder / f"launches-{NOW - timedelta(days=9):%Y%m%dT%H%M%SZ}.dump").touch()
    cluster.airflow.schedule(26, 2, 1, next_in=0.8)
    lines = cluster.status()
    assert re.fullmatch(rf"in 4\d min \({shown(hours=-0.8)}\)", lines.pop("next scheduled run"))
    assert lines == {
        "last good fetch": f"12 min ago ({shown(minutes=12)})",
        "last message": f"5 h ago ({shown(hours=5)})",
        "newest backup": f"3 days ago ({shown(days=3)}): launches-{NOW - timedelta(days=3):%Y%m%dT%H%M%SZ}.dump",
    }


def test_nothing_is_there_yet_and_nothing_is_scheduled(cluster: Cluster) -> None:
    assert cluster.status() == {
        "last good fetch": "none yet",
        "last message": "none yet",
        "newest backup": "none: make backup writes one",
        "next scheduled run": "none: there is no SCHEDULE",
    }


def test_without_a_schedule_nothing_is_late(cluster: Cluster) -> None:
    cluster.fetched(days=40)
    cluster.notified(posted_at=iso(days=40))
    cluster.airflow.schedule(900, 899, next_in=1)
    cluster.airflow.dag["next_dagrun_run_after"] = None  # there was one
    lines = cluster.status()
    assert lines["last good fetch"] == f"40 days ago ({shown(days=40)})"
    assert lines["last message"] == f"40 days ago ({shown(days=40)})"


@pytest.mark.parametrize(
    ("runs_ago", "fetched_ago", "is_late"),
    [
        # Every hour: two runs, and two and a half hours for the second one's retries.
        ((5, 4, 3, 2, 1, 0.1), 3.9, False),
        ((5, 4, 3, 2, 1, 0.1), 4.9, True),
        # The second run may still be in its retries.
        ((4, 3, 2.4, 1), 3.2, False),
        ((4, 3, 2.6, 1), 3.2, True),
        # Every ten minutes, of which most make no request.
        ([n / 6 for n in range(30, 0, -1)], 1.1, False),
        ([n / 6 for n in range(30, 0, -1)], 2.5, False),
        ([n / 6 for n in range(30, 0, -1)], 2.9, True),
        # On weekdays only: on Monday the fetch of Friday is three days old, and only Monday's run has failed.
        ((144, 120, 96, 72 + 5, 5), 72 + 4.9, False),
        ((144, 120, 96, 72 + 29, 29, 5), 72 + 28.9, True),
        # One run.
        ((20,), 21, False),
    ],
)
def test_a_fetch_is_late_after_two_scheduled_runs(
    cluster: Cluster, runs_ago: tuple[float, ...], fetched_ago: float, *, is_late: bool
) -> None:
    cluster.fetched(hours=fetched_ago)
    cluster.airflow.schedule(*runs_ago, next_in=0.5)
    assert cluster.status()["last good fetch"].startswith("ALERT: ") == is_late


def test_without_any_good_fetch_it_is_late_too(cluster: Cluster) -> None:
    cluster.airflow.schedule(4, 3, next_in=0.5)
    assert cluster.status()["last good fetch"] == "ALERT: none yet"


@pytest.mark.parametrize(("hours", "is_late"), [(4.4, False), (4.7, True)])
def test_a_fetch_is_late_where_a_dead_scheduler_makes_no_runs(cluster: Cluster, hours: float, *, is_late: bool) -> None:
    cluster.airflow.scheduler["status"] = "unhealthy"
    cluster.airflow.schedule(hours + 1, hours, next_in=1 - hours)
    cluster.fetched(hours=hours - 0.01)
    assert cluster.status()["last good fetch"].startswith("ALERT: ") == is_late


def test_failed_fetches_are_counted_and_the_newest_is_told_in_one_harmless_line(cluster: Cluster) -> None:
    cluster.fetched(hours=5, error="before the good one")
    cluster.fetched(hours=3)
    cluster.fetched(hours=2, error="older")
    cluster.fetched(hours=1, error="The answer is\nno page:\t\x1b[31mnext scheduled run  in 3 min\u202e" + 300 * "x")
    line = cluster.status()["last good fetch"]
    told = "The answer is no page: [31mnext scheduled run in 3 min"
    assert line == f"3 h ago ({shown(hours=3)}); 2 failed since, the newest: {told.ljust(200, 'x')}"


def test_a_message_without_an_answer_is_told(cluster: Cluster) -> None:
    cluster.notified(posted_at=iso(hours=9))
    cluster.notified(attempted_at=iso(minutes=30))
    line = cluster.status()["last message"]
    assert line.startswith(f"9 h ago ({shown(hours=9)}); one that was sent 30 min ago ({shown(minutes=30)}) had no ans")


@pytest.mark.parametrize(
    ("newest", "is_late"), [("failed", True), ("up_for_retry", False), ("skipped", False), ("upstream_failed", False)]
)
def test_messages_are_late_when_the_last_could_not_be_sent(cluster: Cluster, newest: str, *, is_late: bool) -> None:
    cluster.airflow.add("manual__1", "failed", run_after=iso(hours=9), tasks={"notify_discord": "failed"})
    cluster.airflow.add("manual__2", "success", run_after=iso(hours=8))
    cluster.airflow.add("manual__3", "failed", run_after=iso(hours=7), tasks={"notify_discord": newest})
    line = cluster.status()["last message"]
    assert line == (
        "ALERT: none yet; notify_discord has failed: make logs TASK=notify_discord" if is_late else "none yet"
    )


@pytest.mark.parametrize(
    ("made", "last", "line"),
    [
        ({"days": 9}, {"hours": 25}, "25 h ago ("),
        ({"days": 9}, {"hours": 27}, "ALERT: 27 h ago ("),
        ({"hours": 25}, None, "none yet"),
        ({"hours": 27}, None, "ALERT: none yet: kubectl describe cronjob backup -n airflow"),
    ],
)
def test_the_nightly_backup(cluster: Cluster, made: dict[str, float], last: dict[str, float] | None, line: str) -> None:
    (cluster.folder / f"launches-{NOW:%Y%m%dT%H%M%SZ}.dump").touch()  # one by hand does not stand in for it
    status = {"lastSuccessfulTime": iso(**last)} if last else {}
    job = {"metadata": {"creationTimestamp": iso(**made)}, "status": status}
    cluster.told["answers"]["get cronjob backup"] = json.dumps(job)
    assert cluster.status()["newest backup"].startswith(line)


@pytest.mark.parametrize(
    ("dag", "line"),
    [
        ({"is_paused": True}, "ALERT: the DAG is paused"),
        ({"is_paused": True, "next_dagrun_run_after": None}, "none: there is no SCHEDULE"),
        ({"is_stale": True}, "ALERT: Airflow cannot load the DAG"),
        ({"has_import_errors": True, "next_dagrun_run_after": None}, "ALERT: Airflow cannot load the DAG"),
    ],
)
def test_what_keeps_the_dag_from_its_next_run(cluster: Cluster, dag: dict[str, Any], line: str) -> None:
    cluster.airflow.schedule(next_in=0.5)
    cluster.airflow.dag |= dag
    assert cluster.status()["next scheduled run"].startswith(line)


@pytest.mark.parametrize(("minutes", "line"), [(3, "due 3 min ago ("), (7, "ALERT: due 7 min ago (")])
def test_the_next_run_is_overdue(cluster: Cluster, minutes: int, line: str) -> None:
    cluster.airflow.schedule(next_in=-minutes / 60)
    assert cluster.status()["next scheduled run"].startswith(line)


@pytest.mark.parametrize("state", ["running", "queued"])
def test_the_next_scheduled_run_waits_for_one_that_has_not_ended(cluster: Cluster, state: str) -> None:
    cluster.airflow.schedule(next_in=-1)
    cluster.airflow.add("manual__other", state)
    line = cluster.status()["next scheduled run"]
    assert line == f"due 60 min ago ({shown(hours=1)}); waits for the end of the run manual__other"


def test_a_dead_scheduler_is_seen_with_and_without_a_schedule(cluster: Cluster) -> None:
    cluster.airflow.scheduler |= {"status": "unhealthy", "latest_scheduler_heartbeat": iso(hours=3)}
    told = f"ALERT: the scheduler does not work; its last heartbeat was 3 h ago ({shown(hours=3)})"
    assert cluster.status()["next scheduled run"] == told
    cluster.airflow.scheduler["latest_scheduler_heartbeat"] = None
    cluster.airflow.schedule(next_in=1)
    assert cluster.status()["next scheduled run"].endswith("its last heartbeat was never")


def test_warnings_of_the_last_day_are_counted(cluster: Cluster) -> None:
    cluster.database.query("ALTER TABLE fetches ADD COLUMN IF NOT EXISTS warnings text[] NOT NULL DEFAULT '{}'")
    assert "warnings" not in cluster.status()
    for hours, warnings in ((25, ["too old"]), (20, ["one", "two"]), (2, ["3 launches\ncannot be read"]), (1, [])):
        cluster.fetched(hours=hours)
        cluster.database.query("UPDATE fetches SET warnings = %s WHERE id = (SELECT max(id) FROM fetches)", warnings)
    assert cluster.status()["warnings"] == "3 in the last 24 hours, the newest: 3 launches cannot be read"


def test_a_database_without_warnings_has_none(cluster: Cluster) -> None:
    cluster.database.query("ALTER TABLE fetches DROP COLUMN IF EXISTS warnings")
    cluster.fetched(hours=3)
    lines = cluster.status()
    assert lines["last good fetch"] == f"3 h ago ({shown(hours=3)})"
    assert "warnings" not in lines


def test_postgresql_does_not_answer(cluster: Cluster) -> None:
    cluster.told["environment"] = {}
    cluster.told["errors"][" exec "] = 'error: unable to upgrade connection: container not found ("postgres")'
    lines = cluster.status()
    assert lines["last good fetch"].startswith("ALERT: ")
    assert lines["last good fetch"].endswith('container not found ("postgres")')
    assert lines["last message"] == lines["last good fetch"]
    assert lines["next scheduled run"] == "none: there is no SCHEDULE"


def test_postgresql_has_no_primary(cluster: Cluster) -> None:
    cluster.told["answers"]["get pods -n airflow -l cnpg.io/cluster"] = ""
    assert cluster.status()["last message"].startswith("ALERT: PostgreSQL is not there")


def test_the_tables_are_not_there(cluster: Cluster) -> None:
    cluster.database.query("ALTER TABLE fetches RENAME TO elsewhere")
    assert 'relation "fetches" does not exist' in cluster.status()["last good fetch"]


def test_airflow_does_not_answer(cluster: Cluster) -> None:
    cluster.told["port"] = None
    cluster.fetched(days=3)
    lines = cluster.status()
    assert lines["last good fetch"] == f"3 days ago ({shown(days=3)})"
    assert lines["next scheduled run"].startswith("ALERT: Airflow's API server cannot be reached")


def test_airflow_answers_with_an_error(cluster: Cluster, httpserver: HTTPServer) -> None:
    httpserver.clear()
    httpserver.expect_request("/auth/token").respond_with_data('{"detail": "Invalid credentials"}', 401)
    assert cluster.status()["next scheduled run"].endswith(
        'POST /auth/token with 401: {"detail": "Invalid credentials"}'
    )


def test_the_cluster_does_not_answer_about_backups(cluster: Cluster) -> None:
    del cluster.told["answers"]["get cronjob backup"]
    cluster.told["errors"]["get cronjob backup"] = "Error from server (Forbidden): cronjobs.batch is forbidden"
    assert "Forbidden" in cluster.status()["newest backup"]


def test_on_a_terminal_what_is_late_is_red(cluster: Cluster) -> None:
    cluster.airflow.schedule(4, 3, next_in=0.5)
    cluster.tell()
    terminal, other_end = pty.openpty()
    program = [sys.executable, "-m", "deploy", "status"]
    done = subprocess.run(
        program, cwd=cluster.folder, env=cluster.environment, stdout=other_end, stderr=subprocess.PIPE, check=False
    )
    os.close(other_end)
    output = os.read(terminal, 4096).decode()
    os.close(terminal)
    assert done.returncode == 1
    assert output.startswith("\x1b[31mlast good fetch     ALERT: none yet\x1b[0m\r\nlast message        none yet\r\n")
    assert output.count("\x1b") == 2


# make logs

TASK = "fetch_and_store_data"
POD = "fetch-and-store-data-abc"
EVENTS = "LAST SEEN  TYPE  REASON  OBJECT  MESSAGE\n"


def pod(name: str, minutes_ago: float, phase: str = "Succeeded", **state: dict[str, str]) -> dict[str, Any]:
    status = {"phase": phase, "containerStatuses": [{"name": "base", "state": state}]}
    return {"metadata": {"name": name, "creationTimestamp": iso(minutes=minutes_ago)}, "status": status}


def event(name: str, minutes_ago: float) -> dict[str, Any]:
    return {"involvedObject": {"name": name}, "metadata": {"creationTimestamp": iso(minutes=minutes_ago)}}


def pods_and_events(cluster: Cluster, pods: list[dict[str, Any]], events: list[dict[str, Any]]) -> dict[str, str]:
    """Tell which pods of the task there are and of which the cluster has events; return the answers, to add logs."""
    answers = {
        "get events -n rocket-launches --field-selector involvedObject.kind=Pod": json.dumps({"items": events}),
        f"get pods -n rocket-launches -l dag_id={DAG_ID},task_id={TASK} ": json.dumps({"items": pods}),
        f"get pods -n rocket-launches -l dag_id={DAG_ID} ": json.dumps({"items": pods}),
    }
    cluster.told["answers"] = answers
    return answers


def test_the_log_of_the_newest_pod(cluster: Cluster) -> None:
    events = [event(f"{POD}0", 20), event(f"{POD}2", 5)]  # one that is gone, but older
    answers = pods_and_events(cluster, [pod(f"{POD}1", 9), pod(f"{POD}2", 5)], events)
    answers |= {f"logs -n rocket-launches {POD}{number} ": f"line {number}\n" for number in (1, 2)}
    assert cluster.run("logs", TASK) == (0, f"--- pod/{POD}2\nline 2\n", "")
    assert cluster.run("logs") == (0, f"--- pod/{POD}1\nline 1\n--- pod/{POD}2\nline 2\n", "")


def test_a_pod_that_cannot_start_says_why(cluster: Cluster) -> None:
    waiting = {"reason": "CreateContainerConfigError", "message": 'secret "database-fetch" not found'}
    answers = pods_and_events(cluster, [pod(POD, 1, "Pending", waiting=waiting)], [event(POD, 1)])
    answers[f"get events -n rocket-launches --field-selector involvedObject.name={POD} "] = f"{EVENTS}1s  Failed\n"
    error = f'Error from server (BadRequest): container "base" in pod "{POD}" is waiting to start'
    cluster.told["errors"][f"logs -n rocket-launches {POD} "] = error
    code, output, _ = cluster.run("logs", TASK)
    assert code == 0
    first, second, *rest = output.splitlines()
    assert first == f"--- pod/{POD}"
    assert second.endswith(error)
    assert rest == [
        "There is no log.",
        "The pod is pending",
        'Container base is waiting: CreateContainerConfigError: secret "database-fetch" not found',
        *EVENTS.splitlines(),
        "1s  Failed",
    ]


def test_a_pod_that_was_evicted_says_so_without_a_log_or_events(cluster: Cluster) -> None:
    evicted = pod(POD, 90, "Failed")
    evicted["status"] |= {"reason": "Evicted", "message": "The node was low on resource: memory."}
    answers = pods_and_events(cluster, [evicted], [])
    answers |= {f"logs -n rocket-launches {POD} ": "", f"--field-selector involvedObject.name={POD} ": ""}
    assert cluster.run("logs", TASK)[1].splitlines()[1:] == [
        "There is no log.",
        "The pod is failed: Evicted: The node was low on resource: memory.",
        "It has no events, or none from the last hour.",
    ]


def test_a_newer_pod_that_is_gone_is_told_with_its_events(cluster: Cluster) -> None:
    events = [event(f"{POD}0", 70), event(f"{POD}1", 9), event(f"{POD}2", 5), event("notify-discord-xyz", 1)]
    answers = pods_and_events(cluster, [pod(f"{POD}1", 9)], events)
    answers |= {
        f"logs -n rocket-launches {POD}1 ": "the older run's line\n",
        f"--field-selector involvedObject.name={POD}2 ": f"{EVENTS}5m  Failed\n",
    }
    code, output, _ = cluster.run("logs", TASK)
    assert code == 0
    assert output.splitlines() == [
        f"--- pod/{POD}1",
        "the older run's line",
        f"--- pod/{POD}2 is gone: Airflow deletes a pod that does not start, or is stopped. Its events:",
        *EVENTS.splitlines(),
        "5m  Failed",
        "Airflow's log of the task, in the UI, has its last words.",
    ]
    # … also where it was the first.
    answers |= pods_and_events(cluster, [], events) | {k: v for k, v in answers.items() if "involvedObject.name" in k}
    cluster.told["answers"] = answers
    assert f"--- pod/{POD}2 is gone" in cluster.run("logs", TASK)[1]


def test_without_a_pod_and_its_events_it_says_where_to_look(cluster: Cluster) -> None:
    pods_and_events(cluster, [], [event("notify-discord-xyz", 1)])
    code, output, error = cluster.run("logs", TASK)
    assert (code, output) == (1, "")
    assert f"No pod of {TASK} is there" in error
    assert "Airflow's log of the task" in error


# make check-channels

CHECKS = "INFO launches would be sent: Falcon 9 | Starlink\n"


def check(cluster: Cluster, **status: object) -> tuple[int, str, str]:
    variables = [{"name": "IMAGE_FETCH", "value": "fetch:1"}, {"name": "IMAGE_NOTIFY", "value": "notify:1"}]
    containers = [{"name": "git-sync"}, {"name": "dag-processor", "env": variables}]
    cluster.told["answers"] = {
        "get deployment airflow-dag-processor": json.dumps(
            {"spec": {"template": {"spec": {"containers": containers}}}}
        ),
        "delete pod check-channels": "",
        "create -f -": "",
        "get pod check-channels": json.dumps({"status": status}),
        "logs check-channels": CHECKS,
    }
    return cluster.run("check-channels")


@pytest.mark.parametrize("code", [0, 78, 99])
def test_check_channels_prints_the_log_and_returns_the_steps_exit_code(cluster: Cluster, code: int) -> None:
    states = [{"state": {"terminated": {"exitCode": code}}}]
    assert check(cluster, phase="Succeeded", containerStatuses=states) == (code, CHECKS, "")


def test_check_channels_says_why_the_pod_did_not_run(cluster: Cluster) -> None:
    waiting = {"reason": "CreateContainerConfigError", "message": 'secret "database-notify" not found'}
    states = [{"state": {"waiting": waiting}}]
    code, _, error = check(cluster, phase="Failed", reason="DeadlineExceeded", containerStatuses=states)
    told = 'DeadlineExceeded: CreateContainerConfigError: secret "database-notify" not found.'
    assert (code, error) == (1, f"\nThe pod check-channels did not run to its end: {told}\n")


def test_check_channels_needs_airflow(cluster: Cluster) -> None:
    cluster.told["answers"]["get deployment airflow-dag-processor"] = ""
    code, _, error = cluster.run("check-channels")
    assert (code, error) == (1, "\nAirflow is not there: make up deploys it, make status shows what is.\n")


def test_check_channels_leaves_no_pod_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[tuple[str, ...]] = []

    def kubectl(*command: str, stdin: str = "") -> str:
        done.append(command)
        if command[0] == "create":
            [container] = json.loads(stdin)["spec"]["containers"]
            assert (container["image"], container["args"]) == ("notify:1", ["--check"])
        if command[0] == "logs":
            raise Failed("no log")
        return json.dumps(
            {"status": {"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"exitCode": 75}}}]}}
        )

    monkeypatch.setattr(pods, "kubectl", kubectl)
    monkeypatch.setattr(channels, "deployed_image", lambda _variable: "notify:1")
    with pytest.raises(Failed, match="no log"):
        channels.check_channels(argparse.Namespace())
    assert [command[0] for command in done] == ["delete", "create", "get", "logs", "delete"]


# make search

HOSTILE = """falcon '"; exit 1 # $HOME $(SEARCH_PASSWORD) `id` \\ $$ -- 5%"""


def test_make_gives_the_words_as_they_were_typed(tmp_path: Path) -> None:
    """No shell reads them, and not make, which would take $(…) for an order of its own."""
    program = tmp_path / "python"
    names = ("Q", "PROVIDER", "SINCE", "STATUS")
    program.write_text(
        f"#!{sys.executable}\nimport json, os\nprint(json.dumps([os.environ[name] for name in {names}]))\n"
    )
    program.chmod(0o755)
    typed = [HOSTILE, "$(shell touch mine)", "", "it's"]
    words = [f"{name}={value}" for name, value in zip(names, typed, strict=True)]
    command = ["make", "--no-print-directory", "search", f"PYTHON={program}"]
    for arguments, environment in ((words, {}), ([], dict(zip(names, typed, strict=True)))):
        said = subprocess.run(
            [*command, *arguments], cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=True
        )
        assert json.loads(said.stdout) == typed
    assert not (ROOT / "mine").exists()


@pytest.mark.parametrize(
    ("secrets", "login"), [("search-reader\nsecret/search-index", "search-reader"), ("search-index", "search-index")]
)
def test_search_asks_in_a_pod_as_the_reader(monkeypatch: pytest.MonkeyPatch, secrets: str, login: str) -> None:
    done: list[tuple[str, ...]] = []
    made: list[dict[str, Any]] = []

    def kubectl(*command: str, stdin: str = "") -> str:
        if command[:2] == ("get", "secret"):
            return f"secret/{secrets}\n"
        done.append(command)
        if stdin:
            made.append(json.loads(stdin))
        states = [{"state": {"terminated": {"exitCode": 75}}}]
        return json.dumps({"status": {"phase": "Failed", "containerStatuses": states}})

    monkeypatch.setattr(pods, "kubectl", kubectl)
    monkeypatch.setattr(search, "deployed_image", lambda variable: f"{variable}:1")
    for name, value in {"Q": HOSTILE, "PROVIDER": "-x", "SINCE": "2026-11-24", "STATUS": ""}.items():
        monkeypatch.setenv(name, value)
    assert search.search(argparse.Namespace()) == 75
    assert [command[0] for command in done] == ["delete", "create", "get", "logs", "delete"]
    assert made[0]["metadata"]["labels"]["egress"] == "search"
    [container] = made[0]["spec"]["containers"]
    assert (container["image"], container["command"]) == ("IMAGE_INDEX:1", ["python", "-m", "index.search"])
    assert container["envFrom"] == [{"secretRef": {"name": login}}]
    # A dollar of Kubernetes' own is two.
    assert [word.replace("$$", "$") for word in container["args"]] == [
        *("--provider=-x", "--since=2026-11-24", "--", HOSTILE)
    ]
    assert "$(" not in " ".join(container["args"]).replace("$$", "")
    for name in ("Q", "PROVIDER", "SINCE"):
        monkeypatch.setenv(name, "")
    search.search(argparse.Namespace())
    assert made[1]["spec"]["containers"][0]["args"] == []


def test_search_says_what_is_missing(cluster: Cluster) -> None:
    cluster.told["answers"] = {"get secret": ""}
    code, _, error = cluster.run("search")
    assert (code, error.startswith("\nThere is no index: make up WITH=search brings a server")) == (1, True)


# make trigger


def shown_states(output: str) -> list[str]:
    return [line.split()[1] for line in output.splitlines() if line.startswith("  ")]


def test_trigger_runs_the_dag(cluster: Cluster) -> None:
    code, output, error = cluster.run("trigger")
    assert (code, error) == (0, "")
    assert shown_states(output) == ["success"] * 3
    assert [line.split()[0] for line in output.splitlines()] == list(TASKS)


def test_trigger_ends_a_run_that_waits_for_its_next_try_and_says_so(cluster: Cluster) -> None:
    tasks = {"fetch_and_store_data": "up_for_retry", "notify_discord": "none"}
    other = cluster.airflow.add("manual__other", "running", tasks=tasks)
    code, output, _ = cluster.run("trigger")
    assert code == 0
    assert other["state"] == "failed"
    assert output.splitlines()[0] == (
        "The run manual__other is marked failed to make room: "
        f"fetch_and_store_data was up_for_retry since {shown(minutes=20)}."
    )
    assert shown_states(output) == ["success"] * 3


def test_trigger_waits_for_a_run_that_is_at_work_and_says_so_once(cluster: Cluster) -> None:
    tasks = {"fetch_and_store_data": "running", "notify_discord": "none"}
    other = cluster.airflow.add("manual__other", "running", tasks=tasks)
    code, output, _ = cluster.run("trigger")
    assert code == 0
    assert other["state"] == "success"  # it came to its own end
    assert output.splitlines()[0] == "Waiting for the run manual__other: fetch_and_store_data is running."
    assert len(output.splitlines()) == 4


def test_the_first_run_of_make_up_says_it_on_a_line_of_its_own(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    cluster.tell()
    cluster.airflow.add("manual__other", "running", tasks={"notify_discord": "up_for_retry"})
    with phase("first run"):
        states = trigger_and_wait()
    assert states == dict.fromkeys(TASKS, ("success", 1.5)) | {"": "success"}
    first, second, third = capsys.readouterr().out.splitlines()
    assert first == "first run "
    assert second.startswith("  The run manual__other is marked failed to make room: notify_discord was up_for_retry")
    assert re.fullmatch(r"first run +\d s", third)


def test_status_shows_the_newest_pods_of_the_day(cluster: Cluster) -> None:
    lines = ["NAME", *(f"pod-{number}" for number in range(20))]
    cluster.told["answers"][f"get pods -n {TASKS_NAMESPACE}"] = "\n".join(lines)
    _, output, _ = cluster.run("status")
    assert f"{TASKS_NAMESPACE}:\nNAME\npod-8\n" in output
    assert "pod-19\n… and 8 older ones\n" in output
