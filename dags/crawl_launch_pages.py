"""The pictures and pages that launches link to, kept before they vanish.

Follows each fetch that stored something, so that a slow site never delays a message. Airflow has this DAG only where
`CRAWL_CONTACT` is set in its environment.
"""

import os
from datetime import UTC, datetime

from airflow.sdk import DAG, Asset

from steps import setting, step

if os.environ.get("CRAWL_CONTACT"):
    with DAG(
        "crawl_launch_pages",
        description="Keeps what launches link to",
        doc_md=__doc__,
        schedule=[Asset("rocket_launches")],
        start_date=datetime(2025, 1, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=1,
        tags=["rocket-launches"],
    ) as dag:
        step(
            "crawl",
            "crawl_launch_pages",
            setting("CRAWL_CONTACT"),
            setting("CRAWL_NETWORKS"),
            doc="Asks each site as it wants to be asked, keeps what comes in the object store, and reads what a page "
            "says of itself.",
            egress="web",
            objects="crawl",
            outlets=[Asset("launch_links")],
            # Nothing is due: shown as skipped.
            skip_on_exit_code=99,
        )
