"""Bad days on the real cluster: what dies, comes back; nothing is lost, nothing is there twice.

What Airflow is not needed for is tried with a pod of the step by itself, of the same specification.
"""

import contextlib
import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from kubernetes.client import ApiException, CoreV1Api
from kubernetes.config import new_client_from_config

from deploy.airflow import DAG, Api
from deploy.images import STAND_IN_IMAGE
from deploy.kind import NODE
from deploy.programs import AIRFLOW, CONTEXT, TASKS, Failed, kubectl, run
from deploy.settings import secret, write_secret
from tests.e2e.cluster import ROOT, ids, log, make, messages, pods, query, runs, served, stand_in, stored, until

FETCH, NOTIFY = "fetch_and_store_data", "notify_discord"
THROTTLED = {"status": 429, "headers": {"Retry-After": "30"}}  # keeps fetch waiting in the middle of its work
RUNS = f"/api/v2/dags/{DAG}/dagRuns"

pytestmark = pytest.mark.usefixtures("cluster")


# A step by itself


def bare_pod(step: str, command: list[str] | None = None, **env: str) -> str:
    """Start a step's pod without Airflow, with what is different in its environment; return its name."""
    newest = pods(step)[-1]
    spec = newest["spec"]
    [container] = spec["containers"]
    container |= {"command": command} if command else {}
    kept = [variable for variable in container.get("env", []) if variable["name"] not in env]
    container["env"] = kept + [{"name": name, "value": value} for name, value in env.items()]
    del spec["nodeName"]
    body = {"apiVersion": "v1", "kind": "Pod", "spec": spec}
    # These open the network policies.
    labels = {name: value for name, value in newest["metadata"]["labels"].items() if name in ("egress", "objects")}
    metadata = {"generateName": "bare-", "namespace": TASKS, "labels": labels}
    return kubectl("create", "-o", "name", "-f", "-", stdin=json.dumps(body | {"metadata": metadata})).strip()


def end_of(pod: str, seconds: float = 120) -> tuple[int, str]:
    """Wait for a pod's end; return its exit code and its last line."""

    def code() -> str:
        state = "{.status.containerStatuses[0].state.terminated.exitCode}"
        return kubectl("get", pod, "-n", TASKS, "-o", f"jsonpath={state}")

    found = until(code, seconds, f"{pod} has not ended")
    return int(found), (kubectl("logs", pod, "-n", TASKS).splitlines() or [""])[-1]


def superuser(statement: str, database: str = "launches") -> None:
    """What only an administrator can do to PostgreSQL."""
    psql = ("psql", "-X", "-v", "ON_ERROR_STOP=1", database, "-c", statement)
    kubectl("exec", "-n", AIRFLOW, "postgres-1", "-c", "postgres", "--", *psql)


TABLES = """
    SELECT (SELECT json_agg(r) FROM (SELECT id, launch_id, name, net, image_url FROM rocket_launches ORDER BY id) r)
               launches,
           (SELECT json_agg(c) FROM (SELECT launch_id, field, old_value, new_value FROM launch_changes ORDER BY id) c)
               changes,
           (SELECT json_agg(n) FROM (SELECT launch_id, kind, attempt, message_id FROM notifications ORDER BY id) n)
               notifications
"""


def tables() -> list[Any]:
    """Return what the steps have written, but for when."""
    return query(TABLES)


def database_is_back() -> None:
    kubectl("wait", "cluster/postgres", "-n", AIRFLOW, "--for=condition=Ready", "--timeout=3m")


# Runs of the DAG


def trigger(call: Api) -> str:
    """Start a run and return its id."""
    run_id: str = call("POST", RUNS, {"logical_date": None})["dag_run_id"]
    return run_id


def state(call: Api, run_id: str, task: str = "") -> str | None:
    path = f"{RUNS}/{run_id}" + (f"/taskInstances/{task}" if task else "")
    found: str | None = call("GET", path)["state"]
    return found


def retry_now(call: Api, run_id: str, task: str) -> None:
    """Do at once what Airflow would do some minutes later."""
    body = {
        "dry_run": False,
        "dag_run_id": run_id,
        "task_ids": [task],
        "only_failed": False,
        "include_downstream": True,
    }
    call("POST", f"/api/v2/dags/{DAG}/clearTaskInstances", body)


def wait_through_retries(call: Api, run_id: str, seconds: float) -> None:
    """Wait for a green end; what Airflow would try again some minutes later, it tries at once."""

    def is_green() -> bool:
        if state(call, run_id, FETCH) == "up_for_retry":
            retry_now(call, run_id, FETCH)
        return state(call, run_id) == "success"

    until(is_green, seconds, f"{run_id} is not green: {call('GET', f'{RUNS}/{run_id}')}")


def hold_fetch(call: Api) -> str:
    """Start a run and return when its fetch waits in the middle of its work, as a throttled one does."""
    stand_in("launch-library", orders={"faults": [THROTTLED]})
    before = {pod["metadata"]["name"] for pod in pods(FETCH)}
    run_id = trigger(call)

    def waits() -> bool:
        new = [pod for pod in pods(FETCH) if pod["metadata"]["name"] not in before]
        return bool(new) and new[-1]["status"]["phase"] == "Running" and "Throttled" in log(FETCH)

    until(waits, 120, "fetch does not wait")
    return run_id


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Leave no order to the stand-ins, and nothing that a run would meet."""
    yield
    for name in ("launch-library", "discord"):
        stand_in(name, orders={"faults": []})


def turn() -> None:
    """Let the Launch Library say something else than it did."""
    scenario = stand_in("launch-library")["scenario"]
    stand_in("launch-library", orders={"scenario": "slipped" if scenario == "upcoming" else "upcoming"})


def slip() -> None:
    """Let the next launch slip by 75 minutes, or come back: a message of that is due."""
    turn()
    assert end_of(bare_pod(FETCH))[0] == 0


# The database


def test_postgresql_dies_while_fetch_writes() -> None:
    turn()
    before = tables()
    # Somebody's locks stop fetch in the middle of its statement.
    lock = "BEGIN; SELECT FROM rocket_launches FOR UPDATE; SELECT pg_sleep(20); ROLLBACK;"
    with ThreadPoolExecutor() as pool:
        pool.submit(make, "psql", stdin=lock)
        time.sleep(3)
        pod = bare_pod(FETCH)
        until(lambda: query("SELECT FROM pg_locks WHERE NOT granted"), 30, "fetch is not blocked")
        kubectl("delete", "pod", "postgres-1", "-n", AIRFLOW, "--grace-period=0", "--force")
        code, last = end_of(pod)
    assert (code, "the next try starts from the beginning" in last) == (75, True), last
    database_is_back()
    assert tables() == before
    assert end_of(bare_pod(FETCH))[0] == 0
    assert stored() == served()
    assert end_of(bare_pod(NOTIFY))[0] == 0  # it tells of the slip, so that no later run does


def test_postgresql_is_not_there_when_a_step_starts() -> None:
    before = tables()
    kubectl("delete", "pod", "postgres-1", "-n", AIRFLOW, "--grace-period=0", "--force")
    started = [bare_pod(step) for step in ("initialize_schema", FETCH)]
    assert [end_of(pod)[0] for pod in started] == [0, 0]
    assert "Waiting for PostgreSQL" in "".join(kubectl("logs", pod, "-n", TASKS) for pod in started)
    database_is_back()
    assert tables() == before


def test_postgresql_does_not_come() -> None:
    code, last = end_of(bare_pod(FETCH, PGHOST="192.0.2.1", DATABASE_WAIT_SECONDS="5"))
    assert code == 75
    assert "PostgreSQL did not answer within 5 s" in last


def test_a_standby_is_read_only() -> None:
    slip()
    before, posted = tables(), messages()
    kubectl("patch", "cluster", "postgres", "-n", AIRFLOW, "--type=merge", "-p", '{"spec": {"instances": 2}}')
    try:
        ready = "{.status.readyInstances}"
        until(
            lambda: kubectl("get", "cluster", "postgres", "-n", AIRFLOW, "-o", f"jsonpath={ready}") == "2",
            240,
            "no standby",
        )
        for step in ("initialize_schema", FETCH, NOTIFY):
            code, last = end_of(bare_pod(step, PGHOST=f"postgres-ro.{AIRFLOW}.svc"))
            if step != "initialize_schema":  # which finds the schema as it should be, and has nothing to write
                assert (code, "read-only" in last) == (75, True), last
    finally:
        kubectl("patch", "cluster", "postgres", "-n", AIRFLOW, "--type=merge", "-p", '{"spec": {"instances": 1}}')
    assert (tables(), messages()) == (before, posted)
    assert end_of(bare_pod(NOTIFY))[0] == 0


def test_a_connection_limit_is_reached() -> None:
    before = tables()
    superuser("ALTER ROLE launch_fetch CONNECTION LIMIT 0")
    try:
        code, last = end_of(bare_pod(FETCH, DATABASE_WAIT_SECONDS="3"))
        assert (code, "too many connections" in last) == (75, True), last
    finally:
        superuser("ALTER ROLE launch_fetch CONNECTION LIMIT -1")
    assert end_of(bare_pod(FETCH))[0] == 0
    assert tables() == before


# Airflow


def test_the_scheduler_dies_while_a_task_runs() -> None:
    before = tables()
    with Api() as call:
        run_id = hold_fetch(call)
        # All at once and without a chance to say goodbye: its processes, among them the task's worker.
        run("docker", "exec", NODE, "pkill", "-9", "-f", "dumb-init .* airflow scheduler")
        assert end_of(f"pod/{pods(FETCH)[-1]['metadata']['name']}")[0] == 0  # the step itself goes on
        # Airflow misses the worker's heartbeat after two minutes, and gives the task its next try.
        wait_through_retries(call, run_id, 600)
    assert "0 added, 0 changed" in log(FETCH)
    assert tables() == before


def test_api_server_and_dag_processor_die_while_a_task_runs() -> None:
    before = tables()
    with Api() as call:
        run_id = hold_fetch(call)
    for component in ("api-server", "dag-processor"):
        kubectl("delete", "pods", "-n", AIRFLOW, "-l", f"component={component}", "--grace-period=0", "--force")
    for workload in ("deployment/airflow-api-server", "deployment/airflow-dag-processor"):
        kubectl("rollout", "status", workload, "-n", AIRFLOW, "--timeout=3m")
    with Api() as call:
        until(lambda: state(call, run_id) == "success", 180, f"{run_id} is not green")
        instances = call("GET", f"{RUNS}/{run_id}/taskInstances")["task_instances"]
    assert {instance["try_number"] for instance in instances} == {1}
    assert tables() == before


def test_two_runs_at_once_queue() -> None:
    before = tables()
    with Api() as call:
        first, second = trigger(call), trigger(call)
        seen = set()
        deadline = time.monotonic() + 180
        while (states := (state(call, first), state(call, second))) != ("success", "success"):
            seen.add(states)
            assert time.monotonic() < deadline
            time.sleep(0.5)
    assert ("running", "running") not in seen
    assert ("running", "queued") in seen
    assert tables() == before


def test_a_run_that_is_marked_failed_is_stopped() -> None:
    before = tables()
    with Api() as call:
        run_id = hold_fetch(call)
        pod = pods(FETCH)[-1]["metadata"]["name"]
        call("PATCH", f"{RUNS}/{run_id}", {"state": "failed"})
        gone = ("get", "pod", pod, "-n", TASKS, "--ignore-not-found", "-o", "jsonpath={.status.phase}")
        until(lambda: kubectl(*gone) != "Running", 60, f"{pod} still runs")
    assert tables() == before


# A scheduler, a worker or a pod that is asked to end, as by a drained node or an upgrade


def tries(call: Api, run_id: str) -> dict[str, tuple[str, int]]:
    """Return each task's state and try number."""
    instances = call("GET", f"{RUNS}/{run_id}/taskInstances")["task_instances"]
    return {one["task_id"]: (one["state"], one["try_number"]) for one in instances}


def test_a_scheduler_that_is_stopped_waits_for_its_task() -> None:
    before = tables()
    with Api() as call:
        run_id = hold_fetch(call)
        pod = pods(FETCH)[-1]["metadata"]["name"]
        kubectl("delete", "pod", "airflow-scheduler-0", "-n", AIRFLOW, "--wait=false")
        until(lambda: state(call, run_id) == "success", 300, f"{run_id} is not green: {tries(call, run_id)}")
        assert tries(call, run_id)[FETCH] == ("success", 1)
    [newest] = [one for one in pods(FETCH) if one["metadata"]["name"] == pod]
    assert newest["status"]["phase"] == "Succeeded"
    assert "Stored 12 launches" in log(FETCH)
    assert tables() == before


def test_a_worker_that_is_stopped_fails_its_task_which_is_tried_again() -> None:
    """Without a grace period as long as the task: the signal reaches the process that watches the pod."""
    before = tables()
    with Api() as call:
        run_id = hold_fetch(call)
        run("docker", "exec", NODE, "pkill", "-TERM", "-f", "^airflow worker -- LocalExecutor: [0-9a-f]")
        until(lambda: tries(call, run_id)[FETCH][0] != "running", 60, "the task still runs")
        assert tries(call, run_id)[FETCH] == ("up_for_retry", 1)
        assert state(call, run_id, NOTIFY) is None
        stand_in("launch-library", orders={"faults": []})
        wait_through_retries(call, run_id, 300)
    assert tables() == before


def test_a_pod_that_is_stopped_fails_its_task_which_is_tried_again() -> None:
    before = tables()
    with Api() as call:
        run_id = hold_fetch(call)
        kubectl("delete", "pod", pods(FETCH)[-1]["metadata"]["name"], "-n", TASKS, "--wait=false")
        until(lambda: tries(call, run_id)[FETCH][0] != "running", 60, "the task still runs")
        assert tries(call, run_id)[FETCH] == ("up_for_retry", 1)
        stand_in("launch-library", orders={"faults": []})
        wait_through_retries(call, run_id, 300)
    assert tables() == before


def words_of(call: Api, run_id: str, task: str) -> list[str]:
    """Return the lines of a task's log as the UI shows them, with the words of the error at the end."""
    content = call("GET", f"{RUNS}/{run_id}/taskInstances/{task}/logs/1?full_content=true")["content"]
    errors = [error["exc_value"] for line in content for error in line.get("error_detail") or []]
    return [line["event"] for line in content] + "\n".join(errors).splitlines()


def test_a_pod_whose_secret_is_missing_says_so_at_once() -> None:
    there = secret(TASKS, "database-fetch")
    kubectl("delete", "secret", "database-fetch", "-n", TASKS)
    try:
        with Api() as call:
            run_id = trigger(call)
            until(lambda: state(call, run_id) == "failed", 60, f"{run_id} has not failed: {tries(call, run_id)}")
            assert tries(call, run_id)[FETCH] == ("failed", 1)
            assert words_of(call, run_id, FETCH)[-1] == 'secret "database-fetch" not found'
        code, said = make("logs", f"TASK={FETCH}")
        assert code == 0
        assert 'secret "database-fetch" not found' in said
    finally:
        write_secret(TASKS, "database-fetch", there)
    assert make("trigger")[0] == 0


def test_what_no_waiting_heals_fails_at_once_and_lets_the_next_run_begin() -> None:
    stand_in("launch-library", orders={"faults": [{"status": 401, "body": {"detail": "Invalid token."}}]})
    with Api() as call:
        first, second = trigger(call), trigger(call)
        until(lambda: state(call, second) == "success", 120, f"{second} waits: {tries(call, first)}")
        assert tries(call, first)[FETCH] == ("failed", 1)


# Weeks and months

EVERY_10_MINUTES = 6 * 24  # runs a day
DAY = 24 * 60  # minutes


def create(api: CoreV1Api, pod: dict[str, Any]) -> str:
    """Create a pod and return its name, also where another changes the quota at the same time."""
    try:
        name: str = api.create_namespaced_pod(TASKS, pod).metadata.name
        return name
    except ApiException as error:
        if error.status != 409:
            raise
        return create(api, pod)


def finished_pod(api: CoreV1Api, step: str, ended: datetime) -> None:
    """Make a step's pod that ended at a time; no node runs it."""
    labels = {"dag_id": DAG, "task_id": step, "try_number": "1", "airflow_version": "3.3.2"}
    nothing = {"cpu": "0", "memory": "0"}
    container = {
        "name": "base",
        "image": STAND_IN_IMAGE,
        "resources": {"requests": nothing, "limits": nothing},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    spec = {
        "schedulerName": "none",
        "restartPolicy": "Never",
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    metadata = {"generateName": "simulated-", "labels": labels | {"simulated": "yes"}}
    name = create(api, {"metadata": metadata, "spec": spec})
    end = {"terminated": {"exitCode": 0, "finishedAt": f"{ended:%Y-%m-%dT%H:%M:%SZ}"}}
    state = {"name": "base", "image": "", "imageID": "", "ready": False, "restartCount": 0, "state": end}
    status = {"status": {"phase": "Succeeded", "containerStatuses": [state]}}
    api.patch_namespaced_pod_status(name, TASKS, status)


def clean_up(minutes: int) -> None:
    """Run the hourly cleanup now, as if it kept pods for so many minutes."""
    job = ("create", "job", "cleanup", "--from=cronjob/pod-cleanup", "-n", AIRFLOW, "--dry-run=client", "-o", "json")
    manifest = kubectl(*job)
    assert f'"{DAY}"' in manifest
    kubectl("create", "-f", "-", stdin=manifest.replace(f'"{DAY}"', f'"{minutes}"'))
    kubectl("wait", "job/cleanup", "-n", AIRFLOW, "--for=condition=Complete", "--timeout=5m")
    kubectl("delete", "job", "cleanup", "-n", AIRFLOW)


def test_ten_days_of_a_run_every_ten_minutes() -> None:
    """Each pod has the end that it would have had; the cleanup of a day that is past is told how long ago that was."""
    api = CoreV1Api(new_client_from_config(context=CONTEXT))
    now = datetime.now(UTC)
    left = []
    # Its own run of this hour would find nine days' pods too old.
    suspend = ("patch", "cronjob", "pod-cleanup", "-n", AIRFLOW, "-p")
    kubectl(*suspend, '{"spec": {"suspend": true}}')
    try:
        for day in range(10):
            midnight = now - timedelta(days=9 - day)
            ends = [midnight - timedelta(minutes=10 * run) for run in range(EVERY_10_MINUTES)]
            with ThreadPoolExecutor(8) as pool:
                wanted = [(step, end) for end in ends for step in ("initialize_schema", FETCH, NOTIFY)]
                list(pool.map(lambda pod: finished_pod(api, *pod), wanted))
            clean_up((9 - day) * DAY + DAY)
            left.append(len(api.list_namespaced_pod(TASKS, label_selector="simulated=yes").items))
        print(f"Pods of the last day that are left after each of ten days: {left}")
        assert max(left) <= 3 * EVERY_10_MINUTES
        assert min(left) > 0.99 * 3 * EVERY_10_MINUTES  # … a day long they can be read
        assert make("trigger")[0] == 0
    finally:
        kubectl(*suspend, '{"spec": {"suspend": false}}')
        api.delete_collection_namespaced_pod(TASKS, label_selector="simulated=yes")


# The two services, once more through the real pods: status, body, the step's exit code

BAD_PAGES: dict[str, tuple[dict[str, Any], int]] = {
    "throttled": ({"status": 429, "body": {"detail": "Request was throttled. Expected available in 625 seconds."}}, 75),
    "throttled, as a page": ({"status": 429, "headers": {"Retry-After": "1800"}, "body": "<h1>Too many</h1>"}, 75),
    "5xx": ({"status": 500, "body": "<h1>Server Error (500)</h1>"}, 75),
    "away": ({"status": 503}, 75),
    "no answer": ({"status": 0}, 75),
    "HTML": ({"status": 200, "body": "<html><body>Welcome</body></html>"}, 65),
    "an empty object": ({"status": 200, "body": {}}, 65),
    "nothing": ({"status": 200, "body": None}, 65),
    "a list": ({"status": 200, "body": []}, 65),
    "no launch that can be read": ({"status": 200, "body": {"results": [1, {}]}}, 78),
    "half a page": ({"status": 200, "body": '{"results": [{"id": "'}, 65),
    "token refused": ({"status": 401, "body": {"detail": "Invalid token."}}, 78),
    "moved": ({"status": 301, "headers": {"Location": "/elsewhere"}}, 78),
    "not there": ({"status": 404, "body": {"detail": "Not found."}}, 78),
}


@pytest.mark.parametrize("answer", BAD_PAGES)
def test_a_bad_answer_of_the_launch_library(answer: str) -> None:
    before = tables()
    fault, wanted = BAD_PAGES[answer]
    stand_in("launch-library", orders={"faults": [fault]})
    code, last = end_of(bare_pod(FETCH))
    assert code == wanted, last
    assert last.partition(" ")[2].startswith("ERROR ")
    assert tables() == before


REFUSED = {"message": "Invalid Form Body", "code": 50035}
BAD_DISCORD: dict[str, tuple[dict[str, Any], int]] = {
    "limits the rate": ({"status": 429, "body": {"message": "Slow down", "retry_after": 1800.5, "global": False}}, 75),
    "limits the rate, as a page": ({"status": 429, "body": "<h1>error code: 1015</h1>"}, 75),
    "5xx": ({"status": 502, "body": "<h1>Bad gateway</h1>"}, 75),
    "no answer": ({"status": 0}, 75),
    "webhook deleted": ({"status": 404, "body": {"message": "Unknown Webhook", "code": 10015}}, 78),
    "token not valid": ({"status": 401, "body": {"message": "Invalid Webhook Token", "code": 50027}}, 78),
    "message refused": ({"status": 400, "body": REFUSED}, 65),
}


@pytest.mark.parametrize("answer", BAD_DISCORD)
def test_a_bad_answer_of_discord(answer: str) -> None:
    fault, wanted = BAD_DISCORD[answer]
    slip()
    before = len(messages())
    stand_in("discord", orders={"faults": [fault]})
    code, last = end_of(bare_pod(NOTIFY))
    assert code == wanted, last
    assert last.partition(" ")[2].startswith("ERROR ")
    assert end_of(bare_pod(NOTIFY))[0] == 0
    new = messages()[before:]
    # It is there once, and twice where the message arrived and its answer did not.
    assert len(new) == (2 if answer == "no answer" else 1)
    assert all(re.search(" (slipped|moved up) to ", message["body"]["content"]) for message in new)
    # Every announcement shows the time that is served.
    times = {name: int(datetime.fromisoformat(net).timestamp()) for name, net, _ in served().values()}
    announced = [message["body"] for message in messages() if "title" in message["body"]["embeds"][0]]
    assert announced
    for body in announced:
        name = body["embeds"][0]["title"].replace("\\", "")
        assert f"<t:{times[name]}:F>" in json.dumps(body)


def test_without_a_webhook_there_is_nothing_to_do() -> None:
    code, last = end_of(bare_pod(NOTIFY, DISCORD_WEBHOOK_URL=""))
    assert (code, "DISCORD_WEBHOOK_URL is not set" in last) == (99, True), last


# A backup


def test_a_database_that_is_gone_is_restored(tmp_path: Path) -> None:
    before = tables()
    code, output = make("backup")
    assert code == 0
    [name] = re.findall(r"launches-\w+\.dump", output)[:1]
    dump = (ROOT / name).rename(tmp_path / name)
    superuser("DROP DATABASE launches WITH (FORCE)", database="postgres")
    superuser("CREATE DATABASE launches OWNER rocket", database="postgres")
    assert make("rows")[0] != 0
    assert make("restore", f"FILE={dump}")[0] == 0
    assert tables() == before
    assert make("trigger")[0] == 0
    assert tables() == before
    # Half a backup is none.
    (tmp_path / "half.dump").write_bytes(dump.read_bytes()[: dump.stat().st_size // 2])
    assert make("restore", f"FILE={tmp_path}/half.dump")[0] != 0
    assert tables() == before


# A changed password


def test_a_changed_password_takes_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    before, old = tables(), secret(AIRFLOW, "database-init-schema")["password"]
    monkeypatch.setenv("POSTGRES_PASSWORD", "changed: it's @new/word")
    assert make("up")[0] == 0  # with a green run at its end
    assert tables() == before
    code, last = end_of(bare_pod("initialize_schema", PGPASSWORD=old))
    assert (code, "password authentication failed" in last) == (78, True), last


# The node


def airflow_answers() -> bool:
    with contextlib.suppress(Failed), Api() as call:
        return bool(call("GET", "/api/v2/monitor/health")["scheduler"]["status"] == "healthy")
    return False


def test_the_node_restarts_in_the_middle_of_a_run() -> None:
    before = ids()
    with Api() as call:
        run_id = hold_fetch(call)
        history = runs(call)
    run("docker", "restart", NODE)
    until(airflow_answers, 420, "Airflow does not come back")
    with Api() as call:
        wait_through_retries(call, run_id, 600)
        assert runs(call) == history
    # The stand-ins have begun anew, with other times.
    assert ids() == before
    assert stored() == served()
