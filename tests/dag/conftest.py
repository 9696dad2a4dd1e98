"""Airflow in a folder of its own. This runs before a test imports it, and Airflow reads its configuration only once."""

import os
import tempfile

_home = tempfile.TemporaryDirectory(prefix="rocket-launches-airflow-")  # gone when the tests end
os.environ["AIRFLOW_HOME"] = _home.name
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "WARNING"
