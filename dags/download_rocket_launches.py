"""Upcoming rocket launches, from the Launch Library into PostgreSQL and out to Discord.

Each step is its own container image and runs as a pod. This file says what runs and in what order; what every step's
pod is, with its limits and retries, is in steps.py. `SCHEDULE` in Airflow's environment is a cron expression, such as
`*/10 * * * *`; unset or empty, the DAG runs only when triggered.
"""

import os
from datetime import UTC, datetime

from airflow.sdk import DAG, Asset, Param

from steps import parameter, setting, step

# What follows from new launches is a DAG scheduled on this.
LAUNCHES = Asset("rocket_launches")

with DAG(
    "download_rocket_launches",
    description="Launch Library 2 to PostgreSQL to Discord, a pod a step",
    doc_md=__doc__,
    schedule=os.environ.get("SCHEDULE") or None,
    start_date=datetime(2025, 1, 1, tzinfo=UTC),
    # A page says what is true now: there is no past to catch up with, and nothing for two runs to do at once.
    catchup=False,
    max_active_runs=1,
    params={
        "pages": Param(
            "1",
            type="string",
            enum=["1", "all"],
            title="Pages to read",
            description="One page holds the nearest 100 launches. All pages take about four of the 15 requests "
            "that the Launch Library allows in an hour.",
        ),
        "notify": Param(
            default=True,
            type="boolean",
            title="Notify Discord",
            description="Off: store the launches and post nothing.",
        ),
    },
    tags=["rocket-launches"],
) as dag:
    initialize_schema = step(
        "init_schema",
        "initialize_schema",
        doc="Brings the database to the schema of this image. Running it again is harmless.",
    )
    fetch_and_store_data = step(
        "fetch",
        "fetch_and_store_data",
        setting("LAUNCH_LIBRARY_URL"),
        setting("LAUNCH_LIBRARY_TOKEN"),
        parameter("LAUNCH_LIBRARY_PAGES", "{{ params.pages }}"),
        # A scheduled run spends a request only where one is due; a run that somebody has triggered always does.
        parameter("RUN_TYPE", "{{ dag_run.run_type.value }}"),
        doc="Keeps the Launch Library's answers in the object store, and stores the launches, all of a run or nothing.",
        egress="web",
        objects="fetch",
        outlets=[LAUNCHES],
        # No request is due: shown as skipped.
        skip_on_exit_code=99,
    )
    notify_discord = step(
        "notify",
        "notify_discord",
        setting("DISCORD_WEBHOOK_URL"),
        setting("CHANNELS"),
        setting("ANNOUNCE_HOURS"),
        setting("REMINDERS"),
        setting("SLIP_MINUTES"),
        setting("PUBLIC_URL"),
        setting("HEARTBEAT_URL"),
        parameter("NOTIFY", "{{ params.notify | lower }}"),
        doc="Posts the next launch once, and edits the messages whose launch has changed.",
        egress="web",
        objects="notify",
        # Also after a fetch that was skipped: a message may be due all the same.
        trigger_rule="none_failed",
        # The step exits with 99 when there is nothing to say, or nobody to say it to: shown as skipped.
        skip_on_exit_code=99,
        # Another try does not help a message that Discord refuses, either; the next run has newer text.
        fail_on_exit_code=(65, 78),
    )
    initialize_schema >> fetch_and_store_data >> notify_discord
