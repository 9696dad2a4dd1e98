"""What the object store keeps, looked after once a day.

Answers in which nothing was new are deleted after `KEEP_DAYS`, if that is set, and all but the newest 14 backups. Then
each object is read and compared with its row.
"""

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG

from steps import setting, step

with DAG(
    "keep_rocket_launches",
    description="Thins the object store, and checks it",
    doc_md=__doc__,
    schedule="45 3 * * *",
    start_date=datetime(2025, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    tags=["rocket-launches"],
) as dag:
    # Airflow begins with a run of the night before, when there may be no table yet.
    initialize_schema = step(
        "init_schema",
        "initialize_schema",
        doc="Brings the database to the schema of this image. Running it again is harmless.",
    )
    thin_store = step(
        "fetch",
        "thin_store",
        setting("KEEP_DAYS"),
        doc="Deletes answers in which nothing was new, older than KEEP_DAYS, and old backups.",
        egress="web",
        objects="thin",
        arguments=["--thin-store"],
        skip_on_exit_code=99,  # no object store
    )
    check_store = step(
        "fetch",
        "check_store",
        doc="Reads each object and compares it with its row. Fails with a list of what is missing or was altered.",
        egress="web",
        objects="fetch",
        arguments=["--check-store"],
        active_deadline_seconds=3600,
        execution_timeout=timedelta(hours=2),
        trigger_rule="none_failed",
        skip_on_exit_code=99,
        fail_on_exit_code=(65, 78),
    )
    initialize_schema >> thin_store >> check_store
