"""The launches for everybody: a site of pages, calendars and feeds, in the object store.

Follows each fetch that stored something, and each crawl, whose pictures it shows. Airflow has this DAG only where
`PUBLIC_URL`, the site's address, is set in its environment.
"""

import os
from datetime import UTC, datetime

from airflow.sdk import DAG, Asset

from steps import parameter, step

if address := os.environ.get("PUBLIC_URL"):
    with DAG(
        "publish_launches",
        description="Publishes the launches as pages, calendars and feeds",
        doc_md=__doc__,
        schedule=Asset("rocket_launches") | Asset("launch_links"),
        start_date=datetime(2025, 1, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=1,
        tags=["rocket-launches"],
    ) as dag:
        step(
            "publish",
            "publish_launches",
            parameter("PUBLIC_URL", address),
            doc="Writes those files of the site that have changed; what is named before what names it.",
            objects="publish",
            # Nothing has changed: shown as skipped.
            skip_on_exit_code=99,
        )
