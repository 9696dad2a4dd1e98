"""An index of all launches in OpenSearch or Elasticsearch, for people who search them.

Follows each fetch that stored something. Airflow has this DAG only where `SEARCH_URL` is set in its environment.
"""

import os
from datetime import UTC, datetime

from airflow.sdk import DAG, Asset

from steps import step

if os.environ.get("SEARCH_URL"):
    with DAG(
        "index_launches",
        description="Keeps an index of the launches",
        doc_md=__doc__,
        schedule=[Asset("rocket_launches")],
        start_date=datetime(2025, 1, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=1,
        tags=["rocket-launches"],
    ) as dag:
        step(
            "index",
            "index_launches",
            doc="Brings the index to what the tables say: each launch that differs, and no other.",
            egress="search",
            objects="index",
            login="search-index",
            # Nothing is new: shown as skipped.
            skip_on_exit_code=99,
        )
