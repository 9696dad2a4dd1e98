"""`make demo`: the DAG's steps as local processes on a real PostgreSQL, and what comes of them.

`PAGES=FOLDER` replays a folder of recorded pages instead, one run of the DAG each. `CHECK_CHANNELS=yes` runs the DAG
once, with notify_discord only saying what it would send to the channels in channels.toml.
"""

import contextlib
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import requests

from demo import message, pods, services
from deploy.programs import Failed
from deploy.settings import read_settings, steps_settings
from standins.discord import Discord
from standins.launch_library import LaunchLibrary
from standins.postgres import ROLES, Postgres

TABLE = "SELECT id, launch_id, name, net, image_url FROM rocket_launches;"
CHANGES = """
    SELECT name, field, old_value, new_value, date_trunc('second', seen_at) AS seen_at
    FROM launch_changes JOIN rocket_launches USING (launch_id) ORDER BY launch_changes.id;
"""
PAGE = "SELECT seen, added, changed FROM fetches WHERE url LIKE '%/upcoming/%' ORDER BY id DESC LIMIT 1"
# What the stand-in for the Launch Library says in each run.
RUNS = {
    "Run 1": "upcoming",
    "Run 2: the nearest launch has slipped, another has a new name, a third a new image": "slipped",
    "Run 3: nothing has changed": "slipped",
}


@dataclass
class Stage:
    """What a run needs and leaves behind."""

    dag: Any  # airflow.sdk.DAG
    namespace: pods.Namespace
    postgres: Postgres
    library: LaunchLibrary
    discord: Discord
    services: services.Services

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        with contextlib.closing(self.postgres.superuser()) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()


def main() -> int:
    """Run the demo or the replay; return 0, 1 if a step failed, 2 if there is nothing to run, 130 or 141 if stopped."""
    for stop in (signal.SIGINT, signal.SIGTERM):  # a shell's background job would ignore the first
        signal.signal(stop, signal.default_int_handler)
    folder = os.environ.get("PAGES", "")
    pages = sorted(Path(folder).glob("*.json")) if folder else []
    if folder and not pages:
        print(f"PAGES={folder} is no folder with *.json files: give one with recorded pages.", file=sys.stderr)
        return 2
    try:
        with contextlib.ExitStack() as stack:
            stage = set_up(stack, replay=bool(pages))
            if os.environ.get("CHECK_CHANNELS"):
                return check_channels(stage)
            return replay(stage, pages) if pages else show(stage)
    except (pods.PodError, Failed) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped: the steps and PostgreSQL have ended, the temporary files are gone.")
        return 130
    except BrokenPipeError:  # whoever read this has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def set_up(stack: contextlib.ExitStack, *, replay: bool) -> Stage:
    """Start what the steps need, and load the DAG."""
    library, discord = stack.enter_context(LaunchLibrary()), stack.enter_context(Discord())
    settings = read_settings()
    chosen = services.choose(settings, library, discord, replay=replay)
    print(chosen.summary, flush=True)
    started = time.monotonic()
    postgres = stack.enter_context(Postgres())
    ready = time.monotonic()
    print(f"PostgreSQL has started ({ready - started:.1f} s).", flush=True)
    dag = pods.load_dag(stack.enter_context(tempfile.TemporaryDirectory(prefix="rocket-launches-airflow-")))
    print(f"Airflow has loaded the DAG {dag.dag_id} ({time.monotonic() - ready:.1f} s).", flush=True)
    settings |= {
        "LAUNCH_LIBRARY_URL": chosen.upcoming_url,
        "LAUNCH_LIBRARY_TOKEN": chosen.token,
        "DISCORD_WEBHOOK_URL": chosen.webhook_url,
        # The demo has one channel; a check sends nothing.
        "CHANNELS": settings["CHANNELS"] if os.environ.get("CHECK_CHANNELS") else "",
        # Never the one of .env: a demo that runs must not hide that the deployment does not.
        "HEARTBEAT_URL": "",
    }
    namespace = pods.Namespace(
        secrets={
            "settings": steps_settings(settings),
            **{f"database-{step.replace('_', '-')}": postgres.env(role) for step, role in ROLES.items()},
        },
    )
    return Stage(dag, namespace, postgres, library, discord, chosen)


def show(stage: Stage) -> int:
    """Run the DAG, three times if the launches are the stand-in's, and show what comes of it."""
    for title, scenario in ({"Run": "upcoming"} if stage.services.real_library else RUNS).items():
        stage.library.scenario = scenario
        if not run(stage, title):
            return 1
    heading(TABLE)
    print(stage.postgres.psql(TABLE), end="")
    heading("What changed")
    print(stage.postgres.psql(CHANGES), end="")
    heading("The message")
    for shown in messages(stage):
        print(shown)
    return 0


def check_channels(stage: Stage) -> int:
    """Run the DAG up to notify_discord, and let that say what it would send."""
    stage.dag.get_task("notify_discord").arguments = ["--check"]
    return 0 if run(stage, "What each channel would be sent") else 1


def run(stage: Stage, title: str) -> bool:
    """Run the DAG once, and show it; return whether no step failed."""
    heading(title)
    failed = None
    for step in pods.run(stage.dag, stage.namespace, lambda _task_id, line: print(f"    {dim(line)}", flush=True)):
        code = "not run" if step.exit_code is None else f"exit code {step.exit_code}"
        print(f"  {step.task_id:<22}{step.state:<17}{code:<14}{step.seconds:4.1f} s", flush=True)
        failed = failed or (step if step.state == "failed" else None)
    if failed:
        print(f"\n{failed.task_id} failed: {failed.reason}")
    return not failed


def messages(stage: Stage) -> Iterator[str]:
    """Yield the messages as they are read in the channel."""
    if not stage.services.real_webhook:
        yield from (message.show(posted.body, posted.history) for posted in stage.discord.messages)
        return
    address, _, query = stage.services.webhook_url.partition("?")
    for (message_id,) in stage.query("SELECT message_id FROM notifications WHERE message_id IS NOT NULL"):
        try:
            answer = requests.get(f"{address}/messages/{message_id}", query, timeout=services.PROBE_SECONDS)
            yield message.show(answer.json(), [])
        except requests.RequestException as error:  # its own text has the address in it, which is a secret
            yield f"Discord does not give message {message_id} back ({type(error).__name__}): look into the channel."


def replay(stage: Stage, pages: list[Path]) -> int:
    """Run the DAG once for each recorded page, a line each, and show the totals; return 1 if every run failed."""
    heading(f"{len(pages)} pages of {pages[0].parent}")
    failures: Counter[str] = Counter()
    seconds = []
    before = (0, 0)
    width = max(len(page.name) for page in pages)
    for page in pages:
        stage.library.page = page.read_bytes()
        stage.namespace.environment = recorded_at(page)
        started = time.monotonic()
        steps = list(pods.run(stage.dag, stage.namespace, lambda *_: None))
        seconds.append(time.monotonic() - started)
        if failed := next((step for step in steps if step.state == "failed"), None):
            failures[f"{failed.task_id} with {failed.exit_code}"] += 1
            result = f"{failed.task_id} failed with {failed.exit_code}: {failed.reason}"
        else:
            (numbers,) = stage.query(PAGE)
            posted, edited = (now - then for now, then in zip(sent(stage.discord), before, strict=True))
            result = "seen {:3}, added {:3}, changed {:3}; ".format(*numbers)
            result += f"posted {posted}, edited {edited}" if posted or edited else steps[-1].state
        before = sent(stage.discord)
        print(f"{page.name:<{width}}{seconds[-1]:5.2f} s  {result}", flush=True)

    heading("Totals")
    print(f"Runs:     {len(pages)}, each {sum(seconds) / len(pages):.2f} s, at most {max(seconds):.2f} s")
    print(f"Failed:   {failures.total()}" + "".join(f"; {n} {what}" for what, n in failures.items()))
    if failures.total() == len(pages):
        return 1
    ((launches,),) = stage.query("SELECT count(*) FROM rocket_launches")
    changes = stage.query("SELECT field, count(*) FROM launch_changes GROUP BY field ORDER BY count(*) DESC, field")
    posted, edited = sent(stage.discord)
    print(f"Launches: {launches}")
    print(f"Changes:  {sum(n for _, n in changes)}" + "".join(f"; {n} {field}" for field, n in changes))
    print(f"Messages: {posted} posted; edits: {edited}")
    return 0


def recorded_at(page: Path) -> dict[str, str]:
    """Return `NOW` for a page that has its time in its name, such as 20250503T191502Z.json."""
    try:
        time_ = datetime.strptime(page.stem, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return {}
    return {"NOW": time_.isoformat()}


def sent(discord: Discord) -> tuple[int, int]:
    """Return how many messages were posted, and how many times one was edited."""
    return len(discord.messages), sum(posted.edits for posted in discord.messages)


def heading(text: str) -> None:
    """Print a heading."""
    print(f"\n{text}\n{'-' * len(text)}", flush=True)


def dim(text: str) -> str:
    """Return a text that stands back, where that can be seen."""
    return f"\x1b[2m{text}\x1b[0m" if sys.stdout.isatty() else text


if __name__ == "__main__":
    sys.exit(main())
