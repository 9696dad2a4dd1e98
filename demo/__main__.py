"""`make demo`: the DAG's steps as local processes on a real PostgreSQL, through the hours of one launch.

The site that it publishes is left in the folder `site`, or in SITE; `SERVE=yes` serves it, too.

`PAGES=…` replays a folder or an archive of recorded pages instead, one run of the DAG each. `CHECK_CHANNELS=yes` runs
the DAG once, with notify_discord only saying what it would send to the channels in channels.toml.
"""

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import requests

from demo import message, pods, services
from demo.recorded import TOLD, Message, NoPages, Page, recorded_pages, table
from demo.serve import serving
from deploy.postgres import LINKS
from deploy.programs import ROOT, Failed
from deploy.settings import read_settings, steps_settings
from standins.discord import Discord
from standins.launch_library import LaunchLibrary
from standins.postgres import OWNER, ROLES, Postgres

TABLE = "SELECT id, launch_id, name, net, image_url FROM rocket_launches;"
CHANGES = """
    SELECT name, field, old_value, new_value, date_trunc('second', seen_at) AS seen_at
    FROM launch_changes JOIN rocket_launches USING (launch_id) ORDER BY launch_changes.id;
"""
PAGE = "SELECT seen, added, changed FROM fetches WHERE url LIKE '%/upcoming/%' ORDER BY id DESC LIMIT 1"


class Run(NamedTuple):
    """What the stand-in for the Launch Library says in a run, and when that is, from its start."""

    title: str
    scenario: str
    at: timedelta


SITE = Path(os.environ.get("SITE") or ROOT / "site")  # what is published
LAUNCH = "Starlink Group 17-42"
T0 = timedelta(hours=3, minutes=20, seconds=30)
SLIPPED = T0 + timedelta(minutes=75)
RUNS = (
    Run("the launch is announced", "upcoming", timedelta()),
    Run("55 minutes before T-0", "upcoming", T0 - timedelta(minutes=55)),
    Run("half an hour before T-0, it has slipped", "slipped", T0 - timedelta(minutes=30)),
    Run("55 minutes before the new T-0", "slipped", SLIPPED - timedelta(minutes=55)),
    Run("15 minutes before T-0, the webcast is live", "live", SLIPPED - timedelta(minutes=15)),
    Run("half an hour after T-0, it was a success", "flown", SLIPPED + timedelta(minutes=30)),
    Run("ten minutes later, nothing has changed", "flown", SLIPPED + timedelta(minutes=40)),
)


@dataclass
class Stage:
    """What a run needs and leaves behind."""

    dag: Any  # airflow.sdk.DAG
    rebuild: Any  # the same
    crawl: Any  # the same
    publish: Any  # the same
    kept_in: Path  # the object store
    namespace: pods.Namespace
    postgres: Postgres
    library: LaunchLibrary
    discord: Discord
    services: services.Services
    site: str  # where it is served, if it is

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        with contextlib.closing(self.postgres.superuser()) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()


def main() -> int:
    """Run the demo or the replay; return 0, 1 if a step failed, 2 if there is nothing to run, 130 or 141 if stopped."""
    for stop in (signal.SIGINT, signal.SIGTERM):  # a shell's background job would ignore the first
        signal.signal(stop, signal.default_int_handler)
    source = os.environ.get("PAGES", "")
    try:
        pages = recorded_pages(Path(source)) if source else None
        with contextlib.ExitStack() as stack:
            stage = set_up(stack, replay=pages is not None)
            if os.environ.get("CHECK_CHANNELS"):
                return check_channels(stage)
            return replay(stage, source, pages) if pages else show(stage)
    except NoPages as error:
        print(error, file=sys.stderr)
        return 2
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
    served = stack.enter_context(serving(SITE)) if os.environ.get("SERVE") else ""
    # The object store: never the one of .env, which is no place for invented launches.
    kept_in = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rocket-launches-objects-")))
    settings = read_settings()
    chosen = services.choose(settings, library, discord, replay=replay)
    print(chosen.summary, flush=True)
    started = time.monotonic()
    postgres = stack.enter_context(Postgres())
    ready = time.monotonic()
    print(f"PostgreSQL has started ({ready - started:.1f} s).", flush=True)
    dags = pods.load_dags(
        stack.enter_context(tempfile.TemporaryDirectory(prefix="rocket-launches-airflow-")), served or SITE.as_uri()
    )
    print(f"Airflow has loaded {len(dags)} DAGs ({time.monotonic() - ready:.1f} s).", flush=True)
    settings |= {
        "LAUNCH_LIBRARY_URL": chosen.upcoming_url,
        "LAUNCH_LIBRARY_TOKEN": chosen.token,
        "DISCORD_WEBHOOK_URL": chosen.webhook_url,
        # Only what is on this machine is crawled.
        "CRAWL_CONTACT": "nobody@example.org",
        "CRAWL_NETWORKS": "127.0.0.0/8",
        # The demo has one channel; a check sends nothing.
        "CHANNELS": settings["CHANNELS"] if os.environ.get("CHECK_CHANNELS") else "",
        # No page of invented launches is linked.
        "PUBLIC_URL": "",
        # Never the one of .env: a demo that runs must not hide that the deployment does not.
        "HEARTBEAT_URL": "",
    }
    namespace = pods.Namespace(
        secrets={
            "settings": steps_settings(settings),
            **{
                f"objects-{user}": {"OBJECT_STORE": kept_in.as_uri()}
                for user in ("fetch", "notify", "crawl", "publish")
            },
            **{f"database-{step.replace('_', '-')}": postgres.env(role) for step, role in ROLES.items()},
        },
    )
    names = ("download_rocket_launches", "rebuild_rocket_launches", "crawl_launch_pages", "publish_launches")
    dag, rebuild, crawl, publish = (dags[name] for name in names)
    return Stage(dag, rebuild, crawl, publish, kept_in, namespace, postgres, library, discord, chosen, served)


def show(stage: Stage) -> int:
    """Run the DAG, once or through the hours of the stand-in's launch, and show what comes of it."""
    real = stage.services.real_library
    channel: dict[str, list[message.Version]] = {}
    if not real:
        print("For the steps, the runs are hours apart; the lines of their logs have the real time.")
    for number, (title, scenario, after) in enumerate(RUNS[:1] if real else RUNS, 1):
        at = datetime.now(UTC) if real else stage.library.started_at + after
        stage.library.scenario, stage.namespace.environment = scenario, {"NOW": at.isoformat()}
        if not run(stage, "Run" if real else f"Run {number}, {message.clock(at)}: {title}"):
            return 1
        for posted in stage.discord.messages:
            versions = channel.setdefault(posted.id, [])
            if not versions or versions[-1].body != posted.body:
                versions.append(message.Version(at, posted.body))
    heading(TABLE)
    print(stage.postgres.psql(TABLE), end="")
    heading("What changed")
    print(stage.postgres.psql(CHANGES), end="")
    if stage.services.real_webhook:
        channel = real_channel(stage)
    about = [versions for versions in channel.values() if real or LAUNCH in str(versions[0].body)]
    others = len(channel) - len(about)
    heading("The channel" + (f", without {others} messages about other launches" if others else ""))
    for versions in about:
        print(message.show(versions))
    return 0 if show_store(stage) and (real or show_links(stage)) and show_site(stage) else 1


def show_store(stage: Stage) -> bool:
    """Show what the object store has, and make the tables again from it; return whether that succeeded."""
    heading("The object store, a folder here: each answer as it was received, compressed")
    for path in sorted(stage.kept_in.rglob("*.zst")):
        print(f"{path.stat().st_size:7} bytes  {path.relative_to(stage.kept_in)}")
    print("The whole log of the launches can be made again from it: this is what rebuild_rocket_launches does.")
    return run(stage, "The tables, made again from the object store", stage.rebuild)


def show_links(stage: Stage) -> bool:
    """Crawl the stand-in's own site, and show what is known of it; return whether that succeeded."""
    if not run(stage, "What launches link to, asked for politely: five seconds apart", stage.crawl):
        return False
    heading("What is known of the launch's links")
    print(stage.postgres.psql(LINKS, OWNER), end="")
    return True


def show_site(stage: Stage) -> bool:
    """Publish the site into its folder, and say where it is; serve it if that is wanted, until it is stopped."""
    if not run(stage, "For everybody: pages, calendars and feeds", stage.publish):
        return False
    shutil.rmtree(SITE, ignore_errors=True)
    shutil.copytree(stage.kept_in / "public", SITE)
    print(f"\n{len([path for path in SITE.rglob('*') if path.is_file()])} files: {(SITE / 'index.html').as_uri()}")
    if stage.site:
        print(f"Served at {stage.site} until you press Ctrl-C.", flush=True)
        signal.pause()
    else:
        print("make demo SERVE=yes serves them on localhost, where the calendars have an address to subscribe to.")
    return True


def check_channels(stage: Stage) -> int:
    """Run the DAG up to notify_discord, and let that say what it would send."""
    stage.dag.get_task("notify_discord").arguments = ["--check"]
    return 0 if run(stage, "What each channel would be sent") else 1


def run(stage: Stage, title: str, dag: Any = None) -> bool:  # noqa: ANN401  # airflow.sdk.DAG
    """Run the DAG once, or another one, and show it; return whether no step failed."""
    heading(title)
    failed = None
    dag = dag or stage.dag
    for step in pods.run(dag, stage.namespace, lambda _task_id, line: print(f"    {dim(line)}", flush=True)):
        code = "not run" if step.exit_code is None else f"exit code {step.exit_code}"
        print(f"  {step.task_id:<22}{step.state:<17}{code:<14}{step.seconds:4.1f} s", flush=True)
        failed = failed or (step if step.state == "failed" else None)
    if failed:
        print(f"\n{failed.task_id} failed: {failed.reason}")
    return not failed


def real_channel(stage: Stage) -> dict[str, list[message.Version]]:
    """Return the messages as Discord gives them back."""
    address, _, query = stage.services.webhook_url.partition("?")
    channel = {}
    for message_id, at in stage.query("SELECT message_id, posted_at FROM notifications ORDER BY id"):
        try:
            answer = requests.get(f"{address}/messages/{message_id}", query, timeout=services.PROBE_SECONDS)
            channel[message_id] = [message.Version(at, answer.json())]
        except requests.RequestException as error:  # its own text has the address in it, which is a secret
            why = type(error).__name__
            print(f"\nDiscord does not give message {message_id} back ({why}): look into the channel.")
    return channel


def replay(stage: Stage, source: str, pages: Iterable[Page]) -> int:
    """Run the DAG once for each recorded page, a line each, and show the totals; return 1 if every run failed."""
    heading(f"The pages of {source}")
    failures: Counter[str] = Counter()
    seconds = []
    before = (0, 0)
    for page in pages:
        stage.library.page = page.body
        stage.namespace.environment = {"NOW": page.at.isoformat()}
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
        print(f"{page.at:%Y-%m-%dT%H:%M:%SZ} {seconds[-1]:5.2f} s  {result}", flush=True)

    heading("Totals")
    print(f"Runs:     {len(seconds)}, each {sum(seconds) / len(seconds):.2f} s, at most {max(seconds):.2f} s")
    print(f"Failed:   {failures.total()}" + "".join(f"; {n} {what}" for what, n in failures.items()))
    if failures.total() == len(seconds):
        return 1
    ((launches,),) = stage.query("SELECT count(*) FROM rocket_launches")
    changes = stage.query("SELECT field, count(*) FROM launch_changes GROUP BY field ORDER BY count(*) DESC, field")
    posted, edited = sent(stage.discord)
    print(f"Launches: {launches}")
    print(f"Changes:  {sum(n for _, n in changes)}" + "".join(f"; {n} {field}" for field, n in changes))
    print(f"Messages: {posted} posted; edits: {edited}")
    print(f"\n{table([Message(*row) for row in stage.query(TOLD)])}")
    return 0


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
