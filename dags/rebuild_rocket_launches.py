"""The launches' tables, made again from the answers in the object store.

For when a newer image reads more of an answer, or reads it rightly, or when the tables are lost. Until the end, all
others see the tables as they were; a fetch that stores something meanwhile is taken in. Messages stay as they are.
"""

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, Param

from steps import parameter, step

with DAG(
    "rebuild_rocket_launches",
    description="Makes the launches' tables again from the object store",
    doc_md=__doc__,
    schedule=None,
    start_date=datetime(2025, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    params={
        "since": Param(
            None,
            type=["null", "string"],  # the form would ask for an empty string
            title="Since",
            description="Such as 2026-11-24 or 2026-11-24T19:00Z: what is older stays as it is. Empty: from the first "
            "answer on.",
        ),
        "dry_run": Param(
            default=False,
            type="boolean",
            title="Dry run",
            description="Say in the log what would differ, and change nothing.",
        ),
    },
    tags=["rocket-launches"],
) as dag:
    initialize_schema = step(
        "init_schema",
        "initialize_schema",
        doc="Brings the database to the schema of this image. Running it again is harmless.",
    )
    rebuild_from_store = step(
        "fetch",
        "rebuild_from_store",
        parameter("SINCE", "{{ params.since or '' }}"),
        parameter("DRY_RUN", "{{ params.dry_run | lower }}"),
        doc="Reads all answers again, and swaps the tables in one transaction. Its log says how far it is.",
        egress="web",
        objects="fetch",
        arguments=["--from-store"],
        # A year of answers, and more.
        active_deadline_seconds=6 * 3600,
        execution_timeout=timedelta(hours=7),
        # An answer that was altered is so at the next try, too.
        fail_on_exit_code=(65, 78),
    )
    initialize_schema >> rebuild_from_store
