"""Launches and their changes as a Kafka stream, for programs that want to react and not to poll.

Follows each fetch that stored something. Airflow has this DAG only where `KAFKA_BOOTSTRAP_SERVERS` is set in its
environment.
"""

import os
from datetime import UTC, datetime

from airflow.sdk import DAG, Asset, Param

from steps import parameter, step

if os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
    with DAG(
        "publish_launch_changes",
        description="Brings launches and their changes to Kafka",
        doc_md=__doc__,
        schedule=[Asset("rocket_launches")],
        start_date=datetime(2025, 1, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=1,
        params={
            "from_start": Param(
                default=False,
                type="boolean",
                title="From the start",
                description="Empty the topic of changes, and write all again: after the database was restored.",
            ),
        },
        tags=["rocket-launches"],
    ) as dag:
        step(
            "stream",
            "publish_launch_changes",
            parameter("FROM_START", "{{ params.from_start | lower }}"),
            doc="Writes what the topics do not have yet: the changes of a fetch together, each once.",
            egress="kafka",
            login="kafka-stream",
            # Nothing is new: shown as skipped.
            skip_on_exit_code=99,
        )
