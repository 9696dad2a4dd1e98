"""From nothing to a green run on a real cluster and back, as a person does it; one test after the other."""

import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from email.message import Message
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from deploy.airflow import DAG, REBUILD, Api
from deploy.charts import LOCAL_SITE
from deploy.images import STAND_IN_IMAGE, references
from deploy.programs import AIRFLOW, CLUSTER, S3, TASKS, Failed, kubectl, run
from deploy.settings import secret
from tests.conftest import BROWSER_OPTIONS
from tests.e2e.cluster import (
    ROOT,
    STEPS,
    ids,
    log,
    make,
    messages,
    pods,
    query,
    runs,
    secrets,
    served,
    stand_in,
    stored,
    until,
)
from tests.e2e.conftest import ARTIFACTS

pytestmark = pytest.mark.usefixtures("programs")

UI = f"http://localhost:8080/dags/{DAG}"


def test_from_nothing_to_a_green_run() -> None:
    assert make("down")[0] == 0
    code, output = make("up")
    assert code == 0
    phases = [line.split()[0] for line in output.splitlines() if re.search(r" \d+ s$", line)]
    assert phases == ["cluster", "images", "secrets", "operator", "database", "objects", "airflow", "first"]
    # The generated login, once, and no other secret.
    assert output.count(secret(AIRFLOW, "airflow-admin")["password"]) == 1
    for namespace, name in (path.split("/") for path in secrets() if path != f"{AIRFLOW}/airflow-admin"):
        for key, value in secret(namespace, name).items():
            assert len(value) < 16 or value not in output, f"{name}: {key}"


def test_the_first_run_stored_what_was_served_and_announced_what_is_near() -> None:
    assert stored() == served()
    images = {name: image for name, _, image in served().values()}
    announced = {message["body"]["embeds"][0]["title"].replace("\\", ""): message for message in messages()}
    # The nearest, and the one on hold that is nearer.
    assert announced.keys() == {"Falcon 9 Block 5 | Starlink Group 17-42", "Vega-C | ΣYNDEO-7"}
    for name, message in announced.items():
        assert message["body"]["embeds"][0].get("image", {}).get("url") == images[name]
        assert message["history"] == []
    assert "WARNING" not in log("notify_discord")  # as a heartbeat that failed would be
    code, output = make("rows")
    assert code == 0
    for launch_id, (name, _, _) in served().items():
        assert re.search(rf"\| {launch_id} \| {re.escape(name)} ", output)


CRAWL = "crawl_launch_pages"
# What the stand-in's scenario "slipped" changes.
STARLINK, RENAMED, REPICTURED = (
    "69ed6add-8025-51fc-839e-faa6ebf832ef",
    "46c3db31-e40f-59dc-b69d-2b6759fc74e4",
    "67357eed-b757-528c-8ceb-33cba2e6658a",
)


def test_the_crawl_follows_the_fetch_and_keeps_what_launches_link_to() -> None:
    runs_of_crawl = f"/api/v2/dags/{CRAWL}/dagRuns"
    with Api() as call:
        until(lambda: call("GET", runs_of_crawl)["dag_runs"], 60, "the asset has started no run")
        [first, *_] = call("GET", f"{runs_of_crawl}?order_by=id")["dag_runs"]
        assert first["run_type"] == "asset_triggered"
        path = f"{runs_of_crawl}/{first['dag_run_id']}"
        until(lambda: call("GET", path)["state"] == "success", 180, "the crawl has not ended well")
    said = kubectl("logs", "-n", TASKS, "-l", f"task_id={CRAWL}", "--tail=-1")
    assert "Crawled 4 new" in said
    kept = query(
        "SELECT DISTINCT kind, object_key, sha256 FROM launch_links WHERE object_key IS NOT NULL ORDER BY kind"
    )
    assert [row["kind"] for row in kept] == ["image", "image", "info", "patch"]
    assert all(row["object_key"] == f"crawled/{row['sha256'][:2]}/{row['sha256']}" for row in kept)
    code, output = make("links")
    assert code == 0
    assert "image/jpeg, 1280 x 800" in output


@pytest.fixture(scope="module")
def page(chromium: str) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=BROWSER_OPTIONS)
        page = browser.new_page(viewport={"width": 1440, "height": 720})
        page.set_default_timeout(30_000)
        expect.set_options(timeout=30_000)  # two cores may be busy
        yield page
        browser.close()


def reader(page: Page, **how: Any) -> tuple[Page, list[str]]:  # noqa: ANN401  # of Playwright
    """Return a page of somebody who is not logged in anywhere, and what goes wrong there."""
    assert page.context.browser
    other, problems = page.context.browser.new_context(**how).new_page(), []
    other.on("console", lambda message: problems.append(message.text))
    other.on("pageerror", lambda error: problems.append(str(error)))
    elsewhere = re.compile(rf"(?!{LOCAL_SITE}/)")
    other.on("request", lambda request: problems.append(request.url) if elsewhere.match(request.url) else None)
    return other, problems


def read(path: str, method: str = "GET", **headers: str) -> tuple[int, str, Message]:
    """Ask the published site; return the status, the text and the headers."""
    request = urllib.request.Request(f"{LOCAL_SITE}/{path}", method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode(errors="replace"), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace"), error.headers


def test_the_site_is_there_for_everybody(page: Page) -> None:
    # The crawl's pictures come with the run that follows it.
    until(lambda: "pictures/" in read("")[1], 180, "the site has no picture")
    for name, size, scheme in (("site", (1280, 900), "light"), ("site-phone-dark", (390, 844), "dark")):
        viewport = {"width": size[0], "height": size[1]}
        other, problems = reader(page, viewport=viewport, color_scheme=scheme, timezone_id="Asia/Tokyo")
        other.goto(LOCAL_SITE)
        other.screenshot(path=ARTIFACTS / f"{name}.png")
        assert other.inner_text(".hero time").endswith("GMT+9")
        before = other.inner_text(".countdown")
        expect(other.locator(".countdown")).not_to_have_text(before)
        assert other.evaluate("document.querySelector('.hero img').naturalWidth") == 1280
        other.get_by_label("Provider").select_option("SpaceX")
        assert other.url == f"{LOCAL_SITE}/?provider=SpaceX"
        shown = other.locator(".row:visible").all_inner_texts()
        assert shown
        assert all("SpaceX" in text for text in shown)
        other.goto(f"{LOCAL_SITE}/statistics.html")
        assert not problems
        other.context.close()


def test_the_site_can_only_be_read_and_is_all_that_can(page: Page) -> None:
    status, _, headers = read("")
    assert status == 200
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["Cache-Control"] == "public, max-age=60"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert not [name for name in headers if name.lower().startswith(("x-amz", "server", "via"))]
    assert read("", **{"If-None-Match": headers["ETag"]})[0] == 304
    assert read("", **{"Accept-Encoding": "gzip"})[2]["Content-Encoding"] == "gzip"
    assert read("launches.ics")[2]["Content-Type"] == "text/calendar; charset=utf-8"
    [answer, *_] = query("SELECT object_key FROM fetches")
    for path in (answer["object_key"], f"../{answer['object_key']}", f"%2e%2e/{answer['object_key']}", "nowhere"):
        assert read(path)[:2] == (404, "There is no such page."), path
    for order in ("list-type=2", "acl", "policy", "versions", "prefix=launch-library/"):
        assert read(f"?{order}")[1] == read("")[1], order
    for method in ("PUT", "POST", "DELETE"):
        assert read("index.html", method)[0] == 405
    assert page


def test_a_person_runs_it_in_the_browser_after_a_launch_has_slipped(page: Page) -> None:
    before, numbers = stored(), ids()
    stand_in("launch-library", orders={"scenario": "slipped"})

    page.goto(UI)
    admin = secret(AIRFLOW, "airflow-admin")
    page.locator("input[name=username]").fill(admin["username"])
    page.locator("input[name=password]").fill(admin["password"])
    page.locator("input[type=submit]").click()
    page.get_by_test_id("trigger-dag-button").click()
    dialog = page.get_by_role("dialog").filter(has_text="Run Parameters")
    dialog.get_by_role("combobox").first.click()
    page.get_by_role("option", name="all").click()
    expect(dialog.get_by_text("Pages to read")).to_be_visible()
    page.screenshot(path=ARTIFACTS / "trigger.png")
    dialog.get_by_test_id("trigger-dag-submit").click()
    page.wait_for_url("**/runs/*")
    run_id = page.url.partition("/runs/")[2].partition("?")[0]

    for step in STEPS:
        row = page.get_by_role("row").filter(has=page.get_by_role("link", name=step))
        expect(row.get_by_text("Success")).to_be_visible(timeout=120_000)
    page.reload()  # or the picture may show the run as it was a second ago
    expect(page.get_by_test_id("task-state-badge").first).to_be_visible()
    expect(page.get_by_text("Running")).to_have_count(0)
    page.screenshot(path=ARTIFACTS / "grid.png")

    for step in STEPS:
        page.goto(f"{UI}/runs/{run_id}/tasks/{step}")
        for line in log(step).splitlines():
            expect(page.get_by_test_id("virtualized-list").get_by_text(line).first).to_be_visible()
        page.screenshot(path=ARTIFACTS / f"log-{step}.png")

    assert "0 added, 3 changed, 9 unchanged" in log("fetch_and_store_data")
    # The other DAG, in the UI: its first run was started by the asset.
    page.goto(UI.replace(DAG, f"{CRAWL}/runs"))
    expect(page.get_by_text("Success").first).to_be_visible()
    page.screenshot(path=ARTIFACTS / "crawl.png")
    assert stored() == served() != before
    assert ids() == numbers
    *announced, slipped = messages()
    [edited] = [message for message in announced if message["history"]]
    assert len(edited["history"]) == 1
    assert edited["body"] != edited["history"][0]
    assert "Starlink Group 17-42 slipped to" in slipped["body"]["content"]


def test_the_site_follows(page: Page) -> None:
    slipped = f"launch/{STARLINK}.html"
    until(lambda: "+1 h 15 min" in read(slipped)[1], 120, "the site does not show the slip")
    other, problems = reader(page, viewport={"width": 1100, "height": 1000})
    other.goto(f"{LOCAL_SITE}/{slipped}")
    expect(other.locator("svg .slip")).to_have_text(["+1 h 15 min"])
    other.screenshot(path=ARTIFACTS / "site-launch.png")
    until(lambda: "slipped to" in read("")[1], 60, "the first page does not tell of the slip")
    other.goto(LOCAL_SITE)
    expect(other.locator("#changed + .told")).to_contain_text("slipped to")
    assert not problems
    other.context.close()
    [event] = [one for one in read("launches.ics")[1].split("BEGIN:VEVENT") if f"UID:{STARLINK}" in one]
    assert "SEQUENCE:1" in event
    # What has not changed stays as it was.
    same = next(iter(stored().keys() - {STARLINK, RENAMED, REPICTURED}))
    written = [parsedate_to_datetime(read(path)[2]["Last-Modified"]) for path in (f"launch/{same}.html", slipped)]
    assert written[0] < written[1]


def test_a_person_makes_the_lost_tables_again_in_the_browser(page: Page) -> None:
    tables = {
        "launches": "SELECT launch_id, name, net, net_precision, status, image_url, object_key, position, "
        "first_seen_at, last_seen_at FROM rocket_launches ORDER BY launch_id",
        "changes": "SELECT launch_id, field, old_value, new_value, seen_at FROM launch_changes ORDER BY 1, 2, 5",
        "requests": "SELECT requested_at, status, object_key, sha256, seen, added, changed FROM fetches ORDER BY 1",
    }
    before = {name: query(statement) for name, statement in tables.items()}
    # Each answer that a row names is in the server's volume.
    found = kubectl("exec", "-n", S3, "deployment/s3", "--", "find", "/mnt/data/launches/launch-library", "-type", "f")
    kept = {path.removeprefix("/mnt/data/launches/") for path in found.split()}
    assert kept == {row["object_key"] for row in before["requests"]}
    assert {row["object_key"] for row in before["launches"]} <= kept
    assert query("SELECT count(details) FROM rocket_launches") == [{"count": 0}]

    lose = "TRUNCATE rocket_launches, launch_changes, fetches, notifications"
    assert make("psql", stdin=f"CREATE TABLE kept AS TABLE notifications; {lose};\n")[0] == 0
    assert query(tables["launches"]) == []
    page.goto(f"http://localhost:8080/dags/{REBUILD}")
    page.get_by_test_id("trigger-dag-button").click()
    dialog = page.get_by_role("dialog").filter(has_text="Run Parameters")
    expect(dialog.get_by_text("Dry run")).to_be_visible()
    page.screenshot(path=ARTIFACTS / "rebuild.png")
    dialog.get_by_test_id("trigger-dag-submit").click()
    page.wait_for_url("**/runs/*")
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name="rebuild_from_store"))
    expect(row.get_by_text("Success")).to_be_visible(timeout=120_000)
    page.screenshot(path=ARTIFACTS / "rebuilt.png")
    assert {name: query(statement) for name, statement in tables.items()} == before
    back = "INSERT INTO notifications OVERRIDING SYSTEM VALUE TABLE kept; DROP TABLE kept"
    assert make("psql", stdin=f"{back};\n")[0] == 0
    # By the same reading, nothing differs.
    code, output = make("rebuild", "DRY_RUN=yes")
    assert code == 0
    assert "launches 0 new, 0 other, 0 gone; changes 0 new, 0 gone; requests 0 new, 0 other, 0 gone" in output
    code, output = make("check-store")
    assert code == 0
    assert f"All {len(kept)} objects are there" in output


def test_each_pod_was_confined_and_ran_its_own_image() -> None:
    images = references()
    for step, name in zip(STEPS, ("IMAGE_INIT_SCHEMA", "IMAGE_FETCH", "IMAGE_NOTIFY"), strict=True):
        pod = pods(step)[-1]
        [container] = pod["spec"]["containers"]
        assert container["image"] == images[name]
        assert pod["status"]["containerStatuses"][0]["image"].endswith(images[name])
        assert pod["spec"]["securityContext"]["runAsUser"] == 65532
        assert pod["spec"]["securityContext"]["runAsNonRoot"]
    with pytest.raises(Failed, match="violates PodSecurity"):
        kubectl("run", "root", "-n", TASKS, "--image", STAND_IN_IMAGE, "--privileged")


def test_a_second_run_of_the_same_page_changes_nothing() -> None:
    before, posted = (stored(), ids()), messages()
    code, output = make("trigger")
    assert code == 0
    assert re.findall(r"^ +(\w+) +(\w+)", output, re.MULTILINE) == [
        ("initialize_schema", "success"),
        ("fetch_and_store_data", "success"),
        ("notify_discord", "skipped"),
    ]
    assert (stored(), ids()) == before
    assert messages() == posted


def test_a_failing_api_shows_in_the_log_and_a_retry_succeeds(page: Page) -> None:
    stand_in("launch-library", orders={"faults": [{"status": 500, "body": "Server Error"}] * 20})
    code, output = make("trigger")
    assert code != 0
    assert re.search(r"fetch_and_store_data +up_for_retry", output)
    last = log("fetch_and_store_data").splitlines()[-1]
    assert "500" in last
    assert last in make("logs", "TASK=fetch_and_store_data")[1]
    with Api() as call:
        run_id = runs(call)[-1]
        page.goto(f"{UI}/runs/{run_id}/tasks/fetch_and_store_data?try_number=1")
        expect(page.get_by_test_id("virtualized-list").get_by_text(last).first).to_be_visible()
        page.screenshot(path=ARTIFACTS / "log-failed.png")

        stand_in("launch-library", orders={"faults": []})
        body = {"dry_run": False, "dag_run_id": run_id, "task_ids": ["fetch_and_store_data"], "only_failed": False}
        call("POST", f"/api/v2/dags/{DAG}/clearTaskInstances", body)
        run_url = f"/api/v2/dags/{DAG}/dagRuns/{run_id}"
        until(lambda: call("GET", run_url)["state"] == "success", 120, f"{run_id} has not ended after its retry")
    assert "0 added, 0 changed, 12 unchanged" in log("fetch_and_store_data")


def test_a_changed_task_is_deployed_and_everything_is_kept(tmp_path: Path) -> None:
    kept = secrets(), stored(), ids(), messages()
    with Api() as call:
        before = runs(call)
    checkout = tmp_path / "checkout"
    ignored = shutil.ignore_patterns(".git", ".*_cache", ".venv", ".hypothesis", "__pycache__", "artifacts")
    shutil.copytree(ROOT, checkout, ignore=ignored)
    source = checkout / "tasks" / "fetch" / "__main__.py"
    source.write_text(source.read_text(encoding="utf-8").replace('"Stored %d', '"Now stored %d'), encoding="utf-8")

    code, output = make("up", cwd=checkout)
    assert code == 0
    assert secret(AIRFLOW, "airflow-admin")["password"] not in output
    assert "INFO Now stored 12 launches: 0 added, 0 changed" in log("fetch_and_store_data")
    assert (secrets(), stored(), ids(), messages()) == kept
    with Api() as call:
        assert runs(call)[:-1] == before


def test_status_tells_what_is_there() -> None:
    code, output = make("status")
    assert code == 0
    assert "ALERT" not in output
    first = output.splitlines()[:4]
    ago = r"\d+ min ago \(20\d\d-\d\d-\d\d \d\d:\d\d UTC\)"
    assert re.fullmatch(f"last good fetch     {ago}", first[0])
    assert re.fullmatch(f"last message        {ago}", first[1])
    assert re.fullmatch(r"newest backup       (none: make backup writes one|.* ago .*\.dump)", first[2])
    assert first[3] == "next scheduled run  none: there is no SCHEDULE"
    for name in ("airflow-scheduler-0", "postgres-1", "operator-cloudnative-pg"):
        assert name in output
    # What PostgreSQL cannot tell is an alert; all else is shown as before.
    make("psql", stdin="ALTER TABLE fetches RENAME TO elsewhere;")
    try:
        code, output = make("status")
    finally:
        make("psql", stdin="ALTER TABLE elsewhere RENAME TO fetches;")
    assert code != 0
    assert "ALERT: last good fetch, last message: the first lines of make status say more." in output
    assert 'relation "fetches" does not exist' in output
    assert output.count("none: there is no SCHEDULE") == output.count("airflow-scheduler-0") == 1


def test_old_pods_are_deleted_every_hour() -> None:
    job = ("create", "job", "cleanup", "--from=cronjob/pod-cleanup", "-n", AIRFLOW)
    kubectl(*job)
    kubectl("wait", "job/cleanup", "-n", AIRFLOW, "--for=condition=Complete", "--timeout=2m")
    assert all(map(pods, STEPS))  # the oldest has been there for minutes, and may stay for a day
    # A day later: at once.
    kubectl("delete", "job", "cleanup", "-n", AIRFLOW)
    manifest = kubectl(*job, "--dry-run=client", "-o", "json")
    assert '"1440"' in manifest
    kubectl("create", "-f", "-", stdin=manifest.replace('"1440"', '"0"'))
    kubectl("wait", "job/cleanup", "-n", AIRFLOW, "--for=condition=Complete", "--timeout=2m")
    assert not any(map(pods, STEPS))


def test_the_history_of_the_runs_is_cut_at_night() -> None:
    job = ("create", "job", "night", "--from=cronjob/airflow-database-cleanup", "-n", AIRFLOW)
    kubectl(*job)
    kubectl("wait", "job/night", "-n", AIRFLOW, "--for=condition=Complete", "--timeout=3m")
    with Api() as call:
        assert runs(call)
    # Ninety days later: now. Every table that grows with the runs is cut.
    kubectl("delete", "job", "night", "-n", AIRFLOW)
    manifest = kubectl(*job, "--dry-run=client", "-o", "json")
    assert "-90 days" in manifest
    kubectl("create", "-f", "-", stdin=manifest.replace("-90 days", "-0 days"))
    kubectl("wait", "job/night", "-n", AIRFLOW, "--for=condition=Complete", "--timeout=3m")
    tables = ("dag_run", "task_instance", "task_instance_history", "xcom")  # task_state_store goes with its run
    counts = " UNION ALL ".join(f"SELECT count(*) FROM {table}" for table in (*tables, "rendered_task_instance_fields"))
    psql = ("psql", "-X", "-A", "-t", "airflow", "-c", counts)
    kept, *others = kubectl("exec", "-n", AIRFLOW, "postgres-1", "-c", "postgres", "--", *psql).split()
    # The last run of each of the three DAGs with a schedule or an asset, by which Airflow knows the next.
    assert int(kept) <= 3
    assert set(others) == {"0"}


def test_down_leaves_nothing() -> None:
    assert make("down")[0] == 0
    assert CLUSTER not in run("kind", "get", "clusters").split()
    label = f"label=io.x-k8s.kind.cluster={CLUSTER}"
    assert run("docker", "ps", "-aq", "--filter", label) == ""
    if not run("docker", "ps", "-aq", "--filter", "network=kind"):  # another kind cluster keeps the network
        assert "kind" not in run("docker", "network", "ls", "--format", "{{.Name}}").split()
