"""`make status`: how old the newest of everything is, and what is late."""

import argparse
import json
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from deploy.airflow import DAG, RUNS, Api, moment, utc
from deploy.charts import wanted
from deploy.postgres import in_postgres
from deploy.programs import AIRFLOW, TASKS, Failed, helm, kubectl, one_line, run
from deploy.settings import settings

ALERT = "ALERT"  # what a line begins with where somebody should act

# A failed step is tried four times more, after at most 10, 20, 40 and 80 minutes.
RETRIES = timedelta(minutes=150)

SHOWN_PODS = 12  # of each namespace, the newest: four runs

NIGHTLY = timedelta(hours=26)  # the nightly backup, with two hours to spare

OVERDUE = timedelta(minutes=5)  # the scheduler takes seconds

# By way of JSON, a column that an older database does not have yet is null.
HISTORY = """
    WITH good AS (
        SELECT max(requested_at) AS at FROM fetches WHERE error IS NULL
    ), failed AS (
        SELECT count(*) AS number, (array_agg(error ORDER BY id DESC))[1] AS newest
        FROM fetches, good
        WHERE error IS NOT NULL AND (good.at IS NULL OR requested_at > good.at)
    ), warned AS (
        SELECT count(*) AS number, (array_agg(warning ORDER BY id DESC))[1] AS newest
        FROM fetches AS f, jsonb_array_elements_text(to_jsonb(f) -> 'warnings') AS warning
        WHERE requested_at > now() - interval '24 hours'
    )
    SELECT json_build_object(
        'good', good.at, 'failed', failed.number, 'error', failed.newest,
        'warnings', warned.number, 'warning', warned.newest,
        'message', (SELECT max(greatest(posted_at, edited_at)) FROM notifications),
        'attempt', (SELECT max(attempted_at) FROM notifications)
    )
    FROM good, failed, warned
"""


def status(_arguments: argparse.Namespace) -> None:
    """Say how old the newest of everything is, then print the releases and pods. Raises Failed where one is late."""
    now = datetime.now(UTC)
    stored, airflow = answer_of(history), answer_of(lambda: airflow_state(now))
    lines = {
        "last good fetch": last_good_fetch(stored, airflow, now),
        "last message": last_message(stored, airflow, now),
        "newest backup": newest_backup(now),
        "next scheduled run": next_scheduled_run(airflow, now),
    }
    if stored.get("warnings"):
        lines["warnings"] = f"{stored['warnings']} in the last 24 hours, the newest: {one_line(stored['warning'])}"
    alerts = [name for name, line in lines.items() if line.startswith(ALERT)]
    for name, line in lines.items():
        red, reset = ("\033[31m", "\033[0m") if name in alerts and sys.stdout.isatty() else ("", "")
        print(f"{red}{name:<20}{line}{reset}")
    print(f"\n{helm('list', '--all-namespaces')}")
    releases = wanted(settings()).values()
    for namespace in dict.fromkeys((*(release.namespace for release in releases), TASKS)):
        pods = kubectl("get", "pods", "-n", namespace, "--sort-by=.metadata.creationTimestamp").splitlines()
        # Of the steps' pods, a day's are there.
        older = len(pods) - 1 - SHOWN_PODS
        print("\n".join([f"{namespace}:", *pods[:1], *pods[1:][-SHOWN_PODS:]]))
        print(f"… and {older} older ones\n" if older > 0 else "")
    if alerts:
        raise Failed(f"{ALERT}: {', '.join(alerts)}: the first lines of make status say more.")


def answer_of(question: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return an answer, or under 'failure' why there is none."""
    try:
        return question()
    except Failed as failure:
        return {"failure": f"{ALERT}: {one_line(str(failure))}"}


def history() -> dict[str, Any]:
    """Ask PostgreSQL what the steps have done."""
    asked = ("psql", "-XqAt", "-c", "SET statement_timeout = '30s'", "-c", HISTORY)
    return json.loads(run(*in_postgres(*asked)))  # type: ignore[no-any-return]


def airflow_state(now: datetime) -> dict[str, Any]:
    """Ask Airflow what it has planned, and what became of it."""
    due = f"run_type=scheduled&run_after_lt={now - RETRIES:%Y-%m-%dT%H:%M:%SZ}&order_by=-run_after&limit=2"
    ended = "task_id=notify_discord&state=success&state=skipped&state=failed&order_by=-run_after&limit=1"
    with Api() as call:
        return {
            "dag": call("GET", f"/api/v2/dags/{DAG}"),
            "scheduler": call("GET", "/api/v2/monitor/health")["scheduler"],
            "active": call("GET", f"{RUNS}?state=running&state=queued&order_by=run_after&limit=1")["dag_runs"],
            "due": call("GET", f"{RUNS}?{due}")["dag_runs"],
            "notified": call("GET", f"{RUNS}/~/taskInstances?{ended}")["task_instances"],
        }


def last_good_fetch(stored: dict[str, Any], airflow: dict[str, Any], now: datetime) -> str:
    """Say when the launches were last read, and what has failed since.

    It is late when two scheduled runs have not done it since, and the second one has had the time for its retries; that
    is longer than the hour in which a scheduled run may need no request. A scheduler that is dead makes no runs: then
    it is the run that was to come next, and another as long after that.
    """
    if "failure" in stored:
        return str(stored["failure"])
    line = ago(stored["good"], now) if stored["good"] else "none yet"
    if stored["failed"]:
        line += f"; {stored['failed']} failed since, the newest: {one_line(stored['error'])}"
    if "failure" in airflow or not airflow["dag"]["next_dagrun_run_after"]:
        return line
    scheduled = [moment(found["run_after"]) for found in airflow["due"]]
    if scheduled:
        following = moment(airflow["dag"]["next_dagrun_run_after"])
        scheduled += [following, following + (following - scheduled[0])]
    good = moment(stored["good"]) if stored["good"] else datetime.min.replace(tzinfo=UTC)
    missed = [time for time in scheduled if good < time < now - RETRIES]
    return f"{ALERT}: {line}" if len(missed) >= 2 else line


def last_message(stored: dict[str, Any], airflow: dict[str, Any], now: datetime) -> str:
    """Say when a message was last posted or edited.

    It is never late by its age: while no launch changes there is nothing to say, for days. What tells is if
    notify_discord had something to say and failed, all its retries included.
    """
    if "failure" in stored:
        return str(stored["failure"])
    line = ago(stored["message"], now) if stored["message"] else "none yet"
    if stored["attempt"]:
        line += f"; one that was sent {ago(stored['attempt'], now)} had no answer: it may be there or not"
    if any(task["state"] == "failed" for task in airflow.get("notified", [])):
        line = f"{ALERT}: {line}; notify_discord has failed: make logs TASK=notify_discord"
    return line


def newest_backup(now: datetime) -> str:
    """Say when the cluster's nightly backup was last made; where it makes none, the newest file here."""
    cronjob = ("get", "cronjob", "backup", "-n", AIRFLOW, "-o", "json", "--ignore-not-found")
    found = answer_of(lambda: json.loads(kubectl(*cronjob) or "{}"))
    if "failure" in found:
        return str(found["failure"])
    if found:
        last = found["status"].get("lastSuccessfulTime")
        line = ago(last, now) if last else "none yet"
        is_late = now - moment(last or found["metadata"]["creationTimestamp"]) > NIGHTLY
        return f"{ALERT}: {line}: kubectl describe cronjob backup -n {AIRFLOW}" if is_late else line
    names = [re.fullmatch(r"launches-(\d{8}T\d{6}Z)\.dump", path.name) for path in Path().iterdir()]
    newest = max((name[1] for name in names if name), default="")
    return f"{ago(newest, now)}: launches-{newest}.dump" if newest else "none: make backup writes one"


def next_scheduled_run(airflow: dict[str, Any], now: datetime) -> str:  # noqa: PLR0911  # a case each
    """Say when Airflow will run the DAG next, or what keeps it from that."""
    if "failure" in airflow:
        return str(airflow["failure"])
    dag, scheduler, active = airflow["dag"], airflow["scheduler"], airflow["active"]
    if scheduler["status"] != "healthy":
        last = scheduler["latest_scheduler_heartbeat"]
        return f"{ALERT}: the scheduler does not work; its last heartbeat was {ago(last, now) if last else 'never'}"
    if dag["is_stale"] or dag["has_import_errors"]:
        return f"{ALERT}: Airflow cannot load the DAG: the UI shows the import error"
    if not dag["next_dagrun_run_after"]:
        return "none: there is no SCHEDULE"
    if dag["is_paused"]:
        return f"{ALERT}: the DAG is paused: the switch beside its name in the UI unpauses it"
    due = moment(dag["next_dagrun_run_after"])
    if due > now:
        return f"in {span(due - now)} ({utc(due)})"
    line = f"due {ago(dag['next_dagrun_run_after'], now)}"
    if active:
        return f"{line}; waits for the end of the run {active[0]['dag_run_id']}"
    return f"{ALERT}: {line}, and no run has started" if now - due > OVERDUE else line


def ago(text: str, now: datetime) -> str:
    """Write how long ago a time in ISO 8601 is, and when it was."""
    return f"{span(now - moment(text))} ago ({utc(moment(text))})"


def span(length: timedelta) -> str:
    """Write a length of time in the largest unit of which it has two."""
    minutes = int(length.total_seconds() // 60)
    if minutes < 2 * 60:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 2 * 24 * 60 else f"{minutes // (24 * 60)} days"
