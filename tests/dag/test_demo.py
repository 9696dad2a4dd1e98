"""The demo: the runner of pods with steps made here, and the whole program with the real ones."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk import DAG, TriggerRule
from kubernetes.client import models as k8s

from demo import __main__ as demo_program
from demo import message, pods, services
from deploy.settings import read_settings
from standins.discord import NO_ANSWER, Discord
from standins.launch_library import LaunchLibrary
from standins.server import Answer

ROOT = Path(__file__).parents[2]


def secret(variable: str, name: str, key: str, *, optional: bool = False) -> k8s.V1EnvVar:
    selector = k8s.V1SecretKeySelector(name=name, key=key, optional=optional)
    return k8s.V1EnvVar(name=variable, value_from=k8s.V1EnvVarSource(secret_key_ref=selector))


def every_key(name: str) -> k8s.V1EnvFromSource:
    return k8s.V1EnvFromSource(secret_ref=k8s.V1SecretEnvSource(name=name))


def container(*variables: k8s.V1EnvVar, env_from: k8s.V1EnvFromSource | None = None) -> k8s.V1Container:
    sources = [env_from] if env_from else None
    return k8s.V1Container(name="base", image="example/step:1", env=list(variables), env_from=sources)


@pytest.fixture
def namespace() -> pods.Namespace:
    return pods.Namespace(
        secrets={"database": {"PGPASSWORD": "s3cret", "PGHOST": "127.0.0.1"}, "settings": {"URL": "http://x/"}}
    )


# The kubelet's part.


def test_a_container_gets_what_its_references_lead_to(namespace: pods.Namespace) -> None:
    namespace.environment = {"NOW": "2025-05-03T19:15:02+00:00"}
    found = pods.environment(
        container(
            secret("URL", "settings", "URL"),
            k8s.V1EnvVar(name="PAGES", value="all"),
            k8s.V1EnvVar(name="PGHOST", value="another"),  # comes before the Secret's
            env_from=every_key("database"),
        ),
        namespace,
    )
    assert found == {
        "PGHOST": "another",
        "PGPASSWORD": "s3cret",
        "URL": "http://x/",
        "PAGES": "all",
        "NOW": "2025-05-03T19:15:02+00:00",
    }


def test_an_optional_reference_that_leads_nowhere_is_left_out(namespace: pods.Namespace) -> None:
    variables = [
        secret("NO_SECRET", "discord", "webhook-url", optional=True),
        secret("NO_KEY", "database", "token", optional=True),
    ]
    assert pods.environment(container(*variables), namespace) == {}


@pytest.mark.parametrize(("name", "key"), [("discord", "webhook-url"), ("database", "token")])
def test_a_required_reference_that_leads_nowhere_is_an_error(namespace: pods.Namespace, name: str, key: str) -> None:
    with pytest.raises(pods.PodError, match=f"VARIABLE: couldn't find key {key} in Secret {name}"):
        pods.environment(container(secret("VARIABLE", name, key)), namespace)


def test_a_whole_secret_that_is_not_there_is_an_error(namespace: pods.Namespace) -> None:
    with pytest.raises(pods.PodError, match='secret "database-fetch" not found'):
        pods.environment(container(env_from=every_key("database-fetch")), namespace)


def test_a_reference_that_the_demo_does_not_know_is_an_error(namespace: pods.Namespace) -> None:
    source = k8s.V1EnvVarSource(field_ref=k8s.V1ObjectFieldSelector(field_path="status.podIP"))
    with pytest.raises(pods.PodError, match="POD_IP"):
        pods.environment(container(k8s.V1EnvVar(name="POD_IP", value_from=source)), namespace)
    config_map = k8s.V1EnvFromSource(config_map_ref=k8s.V1ConfigMapEnvSource(name="library"))
    with pytest.raises(pods.PodError, match="Secrets only"):
        pods.environment(container(env_from=config_map), namespace)


# The scheduler's part, with two steps made of a line of Python each.


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(pods, "TASKS", tmp_path)
    return tmp_path


def make_dag(tasks: Path, code: str, **settings: object) -> DAG:
    for name, program in {"first_step": code, "second_step": "print('second')"}.items():
        (tasks / name).mkdir()
        (tasks / name / "__main__.py").write_text(program)
        (tasks / name / "Dockerfile").write_text(f'FROM scratch\nUSER 1\nENTRYPOINT ["python", "-m", "{name}"]\n')
    with DAG("made_here", schedule=None, params={"word": "hello"}) as dag:
        first = KubernetesPodOperator(task_id="first", image="example:5000/x/first-step:1", **settings)
        second = KubernetesPodOperator(task_id="second", image="x/second-step@sha256:12")
        first >> second
    return dag


def run(dag: DAG, namespace: pods.Namespace) -> tuple[list[pods.Step], list[str]]:
    lines: list[str] = []
    return list(pods.run(dag, namespace, lambda task_id, line: lines.append(f"{task_id}: {line}"))), lines


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("print('done')", [("first", "success", 0), ("second", "success", 0)]),
        ("raise SystemExit(99)", [("first", "skipped", 99), ("second", "skipped", None)]),
        ("raise SystemExit(75)", [("first", "failed", 75), ("second", "upstream_failed", None)]),
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
            [("first", "failed", 137), ("second", "upstream_failed", None)],
        ),
    ],
)
def test_the_exit_code_decides_the_state(
    tasks: Path, namespace: pods.Namespace, code: str, expected: list[tuple[str, str, int | None]]
) -> None:
    steps, _ = run(make_dag(tasks, code, skip_on_exit_code=99), namespace)
    assert [(step.task_id, step.state, step.exit_code) for step in steps] == expected


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("raise SystemExit(99)", [("first", "skipped"), ("second", "success")]),
        ("raise SystemExit(75)", [("first", "failed"), ("second", "upstream_failed")]),
    ],
)
def test_none_failed_runs_after_what_was_skipped(
    tasks: Path, namespace: pods.Namespace, code: str, expected: list[tuple[str, str]]
) -> None:
    dag = make_dag(tasks, code, skip_on_exit_code=99)
    dag.get_task("second").trigger_rule = TriggerRule.NONE_FAILED
    steps, _ = run(dag, namespace)
    assert [(step.task_id, step.state) for step in steps] == expected


@pytest.mark.parametrize("run_type", ["manual", "scheduled"])
def test_a_step_is_told_the_type_of_the_run(tasks: Path, namespace: pods.Namespace, run_type: str) -> None:
    dag = make_dag(tasks, "", cmds=["echo", "{{ dag_run.run_type.value }}"])
    lines: list[str] = []
    list(pods.run(dag, namespace, lambda _, line: lines.append(line), run_type))
    assert lines[0] == run_type


def test_a_step_gets_its_own_environment_and_nothing_of_ours(
    tasks: Path, namespace: pods.Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_OURS", "x")
    code = "import os, sys; print(sorted(set(os.environ) - {'LC_CTYPE', '__CF_USER_TEXT_ENCODING'}), *sys.argv[1:])"
    variables = [secret("PGHOST", "database", "PGHOST"), k8s.V1EnvVar(name="WORD", value="{{ params.word }}")]
    dag = make_dag(tasks, code, env_vars=variables, arguments=["{{ params.word }}"])
    for word in ("hello", "bye"):  # what is rendered for one run must not be there in the next
        dag.params["word"] = word
        _, lines = run(dag, namespace)
        assert lines == [f"first: ['PATH', 'PGHOST', 'WORD'] {word}", "second: second"]


def test_the_pods_own_command_comes_before_the_images(tasks: Path, namespace: pods.Namespace) -> None:
    _, lines = run(make_dag(tasks, "", cmds=["python", "-c", "print('mine')"]), namespace)
    assert lines[0] == "first: mine"


def test_a_pod_that_cannot_start_fails_and_says_why(tasks: Path, namespace: pods.Namespace) -> None:
    steps, lines = run(make_dag(tasks, "", env_vars=[secret("TOKEN", "nowhere", "key")]), namespace)
    assert [(step.state, step.exit_code) for step in steps] == [("failed", None), ("upstream_failed", None)]
    assert lines == ["first: TOKEN: couldn't find key key in Secret nowhere"]


def test_an_image_without_an_entry_point_fails_and_says_why(tasks: Path, namespace: pods.Namespace) -> None:
    dag = make_dag(tasks, "")
    (tasks / "first_step" / "Dockerfile").write_text("FROM scratch\n")
    steps, _ = run(dag, namespace)
    assert "ENTRYPOINT" in steps[0].reason


def test_a_failed_step_is_told_without_its_time(tasks: Path, namespace: pods.Namespace) -> None:
    code = "print('2026-11-24T07:20:05Z ERROR Nothing there: wait.'); raise SystemExit(75)"
    steps, _ = run(make_dag(tasks, code), namespace)
    assert steps[0].reason == "Nothing there: wait."


# channels.toml


def test_a_check_of_the_channels_runs_what_is_before_it_and_sends_nothing(
    tasks: Path, namespace: pods.Namespace, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("fetch", "notify"):
        (tasks / name).mkdir()
        (tasks / name / "__main__.py").write_text("import sys; print('run with', sys.argv[1:])")
        (tasks / name / "Dockerfile").write_text(f'ENTRYPOINT ["python", "-m", "{name}"]\n')
    with DAG("made_here", schedule=None) as dag:
        fetch = KubernetesPodOperator(task_id="fetch", image="x/fetch:1")
        notify_discord = KubernetesPodOperator(task_id="notify_discord", image="x/notify:1")
        fetch >> notify_discord
    stage: Any = SimpleNamespace(dag=dag, namespace=namespace)
    assert demo_program.check_channels(stage) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert [line for line in lines if line.startswith("run with")] == ["run with []", "run with ['--check']"]
    (tasks / "notify" / "__main__.py").write_text("raise SystemExit(78)")
    assert demo_program.check_channels(stage) == 1


@pytest.mark.parametrize(("check", "used"), [("", ""), ("yes", "the file's text")])
def test_the_demo_uses_channels_toml_only_to_check_it(monkeypatch: pytest.MonkeyPatch, check: str, used: str) -> None:
    monkeypatch.setenv("LAUNCH_LIBRARY_URL", "http://localhost/")  # so that no real service is asked
    monkeypatch.setenv("CHANNELS", "the file's text")
    monkeypatch.setenv("CHECK_CHANNELS", check)
    names = ("download_rocket_launches", "rebuild_rocket_launches", "crawl_launch_pages", "publish_launches")
    dags = dict.fromkeys(names)
    monkeypatch.setattr(pods, "load_dags", lambda *_: dags)
    with contextlib.ExitStack() as stack:
        stage = demo_program.set_up(stack, replay=False)
        assert stage.namespace.secrets["settings"]["CHANNELS"] == used


# The first line.


@pytest.fixture
def standins() -> Iterator[tuple[LaunchLibrary, Discord]]:
    with LaunchLibrary() as library, Discord() as discord:
        yield library, discord


@pytest.fixture
def real() -> Iterator[tuple[LaunchLibrary, Discord]]:
    """Two more, to be the real ones."""
    with LaunchLibrary() as library, Discord() as discord:
        yield library, discord


def settings_of(library: LaunchLibrary, discord: Discord) -> dict[str, str]:
    return {"LAUNCH_LIBRARY_URL": library.upcoming_url + "?mode=normal", "DISCORD_WEBHOOK_URL": discord.webhook_url}


def test_real_services_that_answer_are_used(
    standins: tuple[LaunchLibrary, Discord], real: tuple[LaunchLibrary, Discord]
) -> None:
    chosen = services.choose(settings_of(*real), *standins, replay=False)
    assert chosen.summary == (f"Launch Library: {real[0].upcoming_url}. Discord: the webhook of DISCORD_WEBHOOK_URL.")
    assert (chosen.upcoming_url, chosen.webhook_url) == (real[0].upcoming_url + "?mode=normal", real[1].webhook_url)
    assert (chosen.real_library, chosen.real_webhook) == (True, True)
    assert real[0].requests[0].path == "/2.3.0/api-throttle/"  # which does not count towards the limit


def test_the_token_is_tried_too(standins: tuple[LaunchLibrary, Discord], real: tuple[LaunchLibrary, Discord]) -> None:
    real[0].faults.append(Answer(401, {"detail": "Invalid token."}))
    settings = settings_of(*real) | {"LAUNCH_LIBRARY_TOKEN": "t0ken"}
    chosen = services.choose(settings, *standins, replay=False)
    assert real[0].requests[0].headers["Authorization"] == "Token t0ken"
    assert "Launch Library: a stand-in, as the real one answers 401." in chosen.summary
    assert chosen.token == "stand-in-key"


@pytest.mark.parametrize(
    ("settings", "sentences"),
    [
        ({}, ["as LAUNCH_LIBRARY_URL is not set.", "as DISCORD_WEBHOOK_URL is not set."]),
        ({"LAUNCH_LIBRARY_URL": "https://x.invalid/launches"}, ["names no version such as /2.3.0/"]),
        ({"LAUNCH_LIBRARY_URL": "http://127.0.0.1:1/2.3.0/x/"}, ["does not answer (ConnectionError)"]),
        ({"DISCORD_WEBHOOK_URL": "http://127.0.0.1:1/1/hush"}, ["must not look like news in a real channel"]),
    ],
)
def test_else_stand_ins_are_used_and_the_line_says_why(
    standins: tuple[LaunchLibrary, Discord], settings: dict[str, str], sentences: list[str]
) -> None:
    chosen = services.choose(settings, *standins, replay=False)
    assert chosen.upcoming_url == standins[0].upcoming_url + "?mode=detailed"
    assert chosen.webhook_url == standins[1].webhook_url
    assert (chosen.real_library, chosen.real_webhook) == (False, False)
    assert chosen.summary.count("a stand-in, ") == 2
    assert all(sentence in chosen.summary for sentence in sentences)
    assert "\n" not in chosen.summary
    assert "hush" not in chosen.summary


def test_a_replay_asks_no_real_service(
    standins: tuple[LaunchLibrary, Discord], real: tuple[LaunchLibrary, Discord]
) -> None:
    chosen = services.choose(settings_of(*real), *standins, replay=True)
    assert chosen.upcoming_url == standins[0].upcoming_url + "?mode=detailed"
    assert chosen.webhook_url == standins[1].webhook_url
    assert "which replays recorded pages" in chosen.summary
    assert real[0].requests == real[1].requests == []


@pytest.mark.parametrize("bad", ["deleted", "silent"])
def test_a_webhook_that_does_not_answer_is_not_shown(
    standins: tuple[LaunchLibrary, Discord], real: tuple[LaunchLibrary, Discord], bad: str
) -> None:
    if bad == "deleted":
        real[1].deleted = True
    else:
        real[1].faults.append(NO_ANSWER)
    chosen = services.choose(settings_of(*real), *standins, replay=False)
    assert chosen.webhook_url == standins[1].webhook_url
    assert ("answers 404" if bad == "deleted" else "does not answer (ConnectionError)") in chosen.summary
    assert "stand-in-token" not in chosen.summary


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISCORD_WEBHOOK_URL", "from the environment")
    (tmp_path / ".env").write_text(
        "# DISCORD=x\nDISCORD_WEBHOOK_URL=from the file\n\nLAUNCH_LIBRARY_URL = http://x/?a=b\n"
    )
    settings = read_settings(tmp_path / ".env")
    assert settings["DISCORD_WEBHOOK_URL"] == "from the environment"
    assert settings["LAUNCH_LIBRARY_URL"] == "http://x/?a=b"
    assert "# DISCORD" not in settings
    assert "DISCORD_WEBHOOK_URL" in read_settings(tmp_path / "no file")
    monkeypatch.setenv("DISCORD_WEBHOOK_URL", "")  # which is as if it were not there
    assert read_settings(tmp_path / ".env")["DISCORD_WEBHOOK_URL"] == "from the file"


# The message.


NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
UNIX = int(NOON.timestamp())


def local(hour: int) -> str:
    return f"{NOON.replace(hour=hour).astimezone():%H:%M %Z}"


def test_a_message_is_shown_as_its_reader_sees_it() -> None:
    fields = [{"name": "When", "value": f"<t:{UNIX + 7200}:F>\n<t:{UNIX + 7200}:R>"}]
    fields += [{"name": "Pad", "value": "[Pad \\[1\\]](https://maps.example.org/1)"}]
    embed = {"title": "H3 | \\*Kōnotori\\*", "fields": fields, "image": {"url": "https://x.example/a.jpg"}}
    first, second = ([{"name": "When", "value": f"<t:{UNIX + to}:R>"}, fields[1]] for to in (3600, 10800))
    versions = [
        message.Version(NOON.replace(hour=7), {"embeds": [embed | {"fields": first}], "flags": 4096}),
        message.Version(NOON.replace(hour=8), {"embeds": [embed | {"fields": second}], "flags": 4096}),
        message.Version(NOON, {"embeds": [embed], "flags": 4096}),
    ]
    top, *lines, _ = message.show(versions).splitlines()
    assert top.startswith(f"┌─ {local(7)}, silent ──")
    assert [line.removeprefix("│").strip() for line in lines if line != "│"] == [
        "H3 | *Kōnotori*",
        f"When:     Tuesday, 24 November 2026 {local(14)}",
        "in 2 hours",
        "Pad:      Pad [1] <https://maps.example.org/1>",
        "[image: https://x.example/a.jpg]",
        f"(edited at {local(12)}; it said before:)",
        "When:     in 7 hours",  # as it was when the message said so
        f"(edited at {local(8)}; it said before:)",
        "When:     in 6 hours",
    ]


def test_a_message_that_makes_a_sound_says_so_and_begins_with_its_first_line() -> None:
    shown = message.show([message.Version(NOON, {"content": "H3 flies", "embeds": [{"fields": []}]})])
    assert shown.splitlines()[0].startswith(f"┌─ {local(12)}, makes a sound ──")
    assert shown.splitlines()[1] == "│ H3 flies"


@pytest.mark.parametrize(
    ("seconds", "words"), [(-3600, "1 hour ago"), (59, "in 59 seconds"), (86400 * 3, "in 3 days"), (0, "0 seconds ago")]
)
def test_a_countdown_is_told_in_words(seconds: int, words: str) -> None:
    assert message.moment(UNIX + seconds, "R", NOON) == words


# The whole program.


def demo(program: str = "demo", **settings: str) -> "subprocess.Popen[str]":
    # An address without a version: whatever .env says, no real service is used.
    always = {"LAUNCH_LIBRARY_URL": "http://localhost/", "PAGES": ""}
    return subprocess.Popen(
        [sys.executable, "-m", program],
        cwd=ROOT,
        env=os.environ | always | settings | {"SITE": tempfile.mkdtemp(prefix="rocket-launches-test-site-")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # As a shell's background job finds it, with Ctrl-C ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # noqa: PLW1509  # no other thread forks here
    )


def output_of(process: "subprocess.Popen[str]") -> list[str]:
    output, _ = process.communicate(timeout=150)  # it crawls politely
    assert "Traceback" not in output
    return output.splitlines()


def test_the_demo_shows_the_hours_of_a_launch_then_table_changes_and_channel() -> None:
    process = demo()
    lines = output_of(process)
    assert process.returncode == 0, "\n".join(lines)
    assert lines[0].startswith("Launch Library: a stand-in, as ")
    ends = [line.split()[:5] for line in lines if line.startswith(("  initialize", "  fetch", "  notify"))]
    good = ["success", "exit", "code", "0"]
    assert ends == [
        *([task, *good] for _ in range(6) for task in ("initialize_schema", "fetch_and_store_data", "notify_discord")),
        ["initialize_schema", *good],
        ["fetch_and_store_data", *good],
        ["notify_discord", "skipped", "exit", "code", "99"],
        ["initialize_schema", *good],
    ]
    heading = lines.index("SELECT id, launch_id, name, net, image_url FROM rocket_launches;")
    assert [column.strip() for column in lines[heading + 2].split("|")] == [
        "id",
        "launch_id",
        "name",
        "net",
        "image_url",
    ]
    assert "(12 rows)" in lines
    changes = lines[lines.index("What changed") :]
    assert {"net", "status", "name", "image_url"} <= {cell.strip() for line in changes for cell in line.split(" | ")}


def test_the_demos_channel_has_each_kind_in_the_order_of_the_launchs_life() -> None:
    lines = output_of(demo())
    (start,) = (number for number, line in enumerate(lines) if line.startswith("The channel, without "))
    tops = [number for number, line in enumerate(lines) if line.startswith("┌")]
    assert tops[0] > start
    frames = [lines[top : lines.index("└" + "─" * message.WIDTH, top)] for top in tops]
    sounds = [frame[0].split(", ")[1].rstrip(" ─") for frame in frames]
    assert sounds == ["silent", *["makes a sound"] * 4, "silent"]
    assert all(frame[1].startswith("│ Falcon 9 Block 5 | Starlink Group 17-42") for frame in frames)
    words = ["", "launches in 55 min", "slipped to", "launches in 55 min", "is live", "was successful"]
    assert all(word in " ".join(frame[1:3]) for word, frame in zip(words, frames, strict=True))
    announced = frames[0]
    assert [line.split()[1] for line in announced if line.startswith("│ (edited at")] == ["(edited"] * 3
    statuses = [line.removeprefix("│ Status:   ") for line in announced if line.startswith("│ Status:")]
    assert statuses == ["Launch successful", "Go for launch", "To be confirmed", "Go for launch"]


def test_with_real_services_the_demo_runs_once(real: tuple[LaunchLibrary, Discord]) -> None:
    process = demo(**settings_of(*real), HEARTBEAT_URL=f"{real[1].url}/heartbeat")
    lines = output_of(process)
    assert process.returncode == 0, "\n".join(lines)
    assert "/heartbeat" not in [request.path for request in real[1].requests]
    assert sum("notify_discord" in line for line in lines) == 1
    assert len(real[1].messages) == sum(line.startswith("┌") and ", silent ─" in line for line in lines) == 2
    for posted in real[1].messages:
        assert f"│ {posted.body['embeds'][0]['title'].replace(chr(92), '')}" in lines
    assert not any("stand-in-token" in line for line in lines)


def test_a_failing_step_ends_the_demo_and_is_told_last(real: tuple[LaunchLibrary, Discord]) -> None:
    real[0].page = b"<html>"
    process = demo(**settings_of(*real))
    lines = output_of(process)
    assert process.returncode == 1
    assert lines[-1].startswith("fetch_and_store_data failed: ")
    assert any(line.split()[:2] == ["notify_discord", "upstream_failed"] for line in lines)


def launch(name: str, net: str) -> dict[str, Any]:
    return {
        "id": "8ffb4866-43c9-46c1-aaac-05bd37891b0a",
        "name": name,
        "net": net,
        "net_precision": {"id": 0, "name": "Second"},
        "status": {"id": 1, "name": "Go for Launch", "abbrev": "Go"},
        "last_updated": "2025-05-03T00:00:00Z",
        "image": None,
    }


def test_a_replay_runs_the_dag_for_each_page_in_order(tmp_path: Path) -> None:
    pages = {
        "20250503T191502Z": {},
        "20250503T192748Z": {"results": [launch("Vega | One", "2025-05-04T08:53:50Z")]},
        "20250504T033258Z": {"results": [launch("Vega | Two", "2025-05-04T09:53:50Z")]},
    }
    for name, page in reversed(pages.items()):
        (tmp_path / f"{name}.json").write_text(json.dumps(page))
    process = demo(PAGES=str(tmp_path))
    lines = output_of(process)
    assert process.returncode == 0, "\n".join(lines)
    assert "which replays recorded pages" in lines[0]
    runs = [line.partition(" s  ") for line in lines if line.startswith("2025")]
    assert [name.split()[0].replace("-", "").replace(":", "") for name, _, _ in runs] == list(pages)
    assert runs[0][2].startswith("fetch_and_store_data failed with 65: ")
    assert runs[1][2] == "seen   1, added   1, changed   0; posted 1, edited 0"
    assert runs[2][2] == "seen   1, added   0, changed   1; posted 1, edited 1"
    assert lines[lines.index("Totals") + 3 :] == [
        "Failed:   1; 1 fetch_and_store_data with 65",
        "Launches: 1",
        "Changes:  2; 1 name; 1 net",
        "Messages: 2 posted; edits: 1",
        "",
        "| kind | messages | launches | before NET, median | before NET, least |",
        "|---|---|---|---|---|",
        "| announced | 1 | 1 | 14 h 26 min | 14 h 26 min |",
        "| slipped | 1 | 1 | 6 h 21 min | 6 h 21 min |",
    ]


def test_a_replay_steps_by_ten_minutes_through_an_archive(tmp_path: Path) -> None:
    page = {"results": [launch("Vega | One", "2025-05-03T21:53:50Z")]}
    with tarfile.open(tmp_path / "pages.tar.xz", "w:xz") as archive:
        for name in ("20250503T192748Z.json", "20250503T210000Z.json"):
            member = tarfile.TarInfo(f"2025/{name}")
            member.size = len(json.dumps(page))
            archive.addfile(member, io.BytesIO(json.dumps(page).encode()))
    # The steps take nothing from our environment, in which this would end them.
    process = demo("demo.replay", PAGES=str(tmp_path / "pages.tar.xz"), PYTHONPATH="tasks", CHANNELS="no TOML")
    assert output_of(process) == [
        "| kind | messages | launches | before NET, median | before NET, least |",
        "|---|---|---|---|---|",
        "| announced | 1 | 1 | 2 h 26 min | 2 h 26 min |",
        "| reminder | 1 | 1 | 0 h 56 min | 0 h 56 min |",
        "",
        "16 runs; 14 requests, at most 6 in an hour; 2 messages posted, 0 edits",
    ]
    assert process.returncode == 0


@pytest.mark.parametrize("program", ["demo", "demo.replay"])
@pytest.mark.parametrize(
    ("name", "why"),
    [("there/is/none", "cannot be read"), ("", "has no *.json files"), ("monday.json", "cannot be read")],
)
def test_where_there_are_no_pages_the_replay_says_so(tmp_path: Path, program: str, name: str, why: str) -> None:
    if name == "monday.json":
        (tmp_path / name).write_text("{}")
    process = demo(program, PAGES=str(tmp_path / name), PYTHONPATH="tasks")
    (line,) = output_of(process)
    assert process.returncode == 2
    assert f"{tmp_path / name} {why}" in line


def test_a_page_whose_name_is_no_time_is_refused(tmp_path: Path) -> None:
    (tmp_path / "monday.json").write_text("{}")
    process = demo(PAGES=str(tmp_path))
    (line,) = output_of(process)
    assert (process.returncode, "monday.json does not say when" in line) == (2, True)


@pytest.mark.parametrize(("number", "at"), [(signal.SIGINT, "Airflow has"), (signal.SIGTERM, "    ")])
def test_the_demo_can_be_stopped_and_leaves_nothing_behind(number: signal.Signals, at: str) -> None:
    with tempfile.TemporaryDirectory(prefix="d") as folder:  # short, for the path of a Unix socket
        Path(folder).chmod(0o711)  # PostgreSQL may be another user
        process = demo(TMPDIR=folder)
        assert process.stdout
        for line in process.stdout:
            if line.startswith(at):
                break
        process.send_signal(number)
        assert output_of(process)[-1].startswith("Stopped: ")
        assert process.returncode == 130
        assert list(Path(folder).iterdir()) == []
